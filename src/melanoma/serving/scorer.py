"""The served model: encoded images in, probability and decision out.

A pyfunc that needs ONNX Runtime, Pillow, numpy, pandas and mlflow; no TensorFlow. Its code travels
with the model (see `export`).
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from melanoma import schema
from melanoma.data.images import load_square, open_image
from melanoma.data.plausibility import require_plausible
from melanoma.errors import ImageError, first_offenders
from melanoma.serving import server
from melanoma.serving.network import Network
from melanoma.serving.posted import MEGABYTE
from melanoma.serving.settings import Settings, require_untouched

SETTINGS_DIGEST = "settings_sha256"  # in the metadata of the MLflow model
SYNTHETIC = "trained on drawn images only: its answers say nothing about skin"
# Pillow decodes outside of Python's lock. A pool without work has no threads yet.
_POOL = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


class MelanomaScorer(PythonModel):
    """Scores JPEG, PNG, BMP or WebP bytes; holds the network while it is loaded."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load network, operating point and limits from the model's artifacts.

        Raises:
            TrackingError: They are not those that were logged.
        """
        network, settings = (Path(context.artifacts[name]) for name in ("network", "settings"))
        model = _model_folder(network)
        metadata = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))["metadata"]
        require_untouched(settings, metadata[SETTINGS_DIGEST], what="settings")
        self._settings = Settings.read(settings)
        require_untouched(network, self._settings.network_sha256, what="network")
        self._network = Network(network)
        self._version = _registered_version(model) or self._settings.run_id
        notes = [schema.NOT_A_DEVICE, *([SYNTHETIC] if self._settings.is_synthetic else [])]
        self._note = "; ".join(notes)
        server.guard(self._settings.limits)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score every row, or refuse all with the reasons of the bad ones.

        Args:
            context: Not used after loading.
            model_input: Column `image` (bytes), optionally `image_id`.
            params: `threshold`, a probability, asks for two answers at that threshold; None does not.

        Returns:
            Columns `image_id`, `probability` (calibrated, 0..1), `decision` (benign, refer, malignant),
            `threshold`, `model_version`, `note`.

        Raises:
            MlflowException: Answered as 400: rows that are no usable images, by number and reason; no
                rows or too many; a threshold outside 0..1.
        """
        asked = _asked_threshold(params or {})
        images = _decode_rows(model_input, self._network.image_size, self._settings.limits)
        point = self._settings.operating_point
        probability = point.calibration.apply(self._network.score(images))
        return pd.DataFrame(
            {
                "image_id": _image_ids(model_input),
                "probability": probability,
                "decision": point.decide(probability, asked),
                "threshold": point.threshold if asked is None else asked,
                "model_version": self._version,
                "note": self._note,
            }
        )


def _asked_threshold(params: dict[str, Any]) -> float | None:
    asked = params.get("threshold")
    if asked is not None and not 0 <= asked <= 1:  # nan neither
        raise _refusal(f"params.threshold must lie in 0..1, got {asked}")
    return asked


def _image_ids(rows: pd.DataFrame) -> pd.Series:
    """Of each row, None where it has none: JSON has no nan, which pandas would put there."""
    ids = rows["image_id"] if "image_id" in rows else [None] * len(rows)
    return pd.Series([None if pd.isna(image_id) else image_id for image_id in ids], dtype=object)


def _decode_rows(rows: pd.DataFrame, size: int, limits: Mapping[str, int]) -> np.ndarray:
    """Pixels `(n, size, size, 3)` uint8 of column `image`."""
    max_rows, most = limits["max_rows"], limits["max_request_megabytes"] * MEGABYTE
    if not 1 <= len(rows) <= max_rows:
        raise _refusal(f"expected 1 to {max_rows} rows, got {len(rows)}")
    num_bytes = sum(len(encoded) for encoded in rows["image"] if isinstance(encoded, bytes))
    if num_bytes > most:
        raise _refusal(f"the images have {num_bytes:,} bytes together, at most {most:,} are taken")
    load = partial(_load, size=size, min_side=limits["min_image_side"])
    loaded = list(_POOL.map(load, rows["image"]) if len(rows) > 1 else map(load, rows["image"]))
    refused = [f"row {number}: {one}" for number, one in enumerate(loaded) if isinstance(one, ImageError)]
    if refused:
        raise _refusal(f"{len(refused)} of {len(rows)} rows refused: {first_offenders(refused)}")
    return np.stack([one for one in loaded if isinstance(one, np.ndarray)])


def _load(encoded: object, *, size: int, min_side: int) -> np.ndarray | ImageError:
    """Pixels for the network, or why there are none."""
    if not isinstance(encoded, bytes):
        return ImageError(f"image must be base64 of an image file, got {type(encoded).__name__}")
    try:
        width, height = open_image(encoded).size
        if min(width, height) < min_side:
            raise ImageError(f"the image has {width} x {height} pixels, each side needs {min_side}")
        pixels = load_square(encoded, size)
        require_plausible(pixels)
    except ImageError as error:
        return error
    return pixels


def _refusal(message: str) -> MlflowException:
    """Answered by the scoring server as 400 with this message; a plain error would show its trace."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def _model_folder(artifact: Path) -> Path:
    """The folder of the MLflow model that `artifact` lies in."""
    return next(folder for folder in artifact.parents if (folder / "MLmodel").exists())


def _registered_version(model: Path) -> str | None:
    """Version in the registry, from the file that MLflow lays into a model it loads from there."""
    meta = model / "registered_model_meta"
    content = yaml.safe_load(meta.read_text(encoding="utf-8")) if meta.exists() else {}
    number = content.get("model_version")  # null when not loaded from the registry
    return None if number is None else str(number)
