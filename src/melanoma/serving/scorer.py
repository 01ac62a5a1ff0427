"""The served model: encoded images in, probability and decision out.

A pyfunc that needs ONNX Runtime, Pillow, numpy, pandas and mlflow; no TensorFlow. Its code travels
with the model (see `export`).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from melanoma.data.images import load_square
from melanoma.errors import ImageError, first_offenders
from melanoma.serving.network import Network

MAX_ROWS = 1024
BENIGN, MALIGNANT = "benign", "malignant"


def decide(probability: np.ndarray, threshold: float) -> np.ndarray:
    """`malignant` where the probability reaches the threshold, else `benign`."""
    return np.where(probability >= threshold, MALIGNANT, BENIGN)


class MelanomaScorer(PythonModel):
    """Scores JPEG, PNG, BMP or WebP bytes; holds the network while it is loaded."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load network and operating point from the model's artifacts."""
        network = Path(context.artifacts["network"])
        self._network = Network(network)
        settings = json.loads(Path(context.artifacts["settings"]).read_text(encoding="utf-8"))
        self._threshold = float(settings["threshold"])
        self._version = _registered_version(network) or str(settings["run_id"])

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
            params: `threshold` replaces the operating point for this call; a negative one or none does not.

        Returns:
            Columns `image_id`, `probability` (0..1), `decision` (benign, malignant), `threshold`,
            `model_version`.

        Raises:
            MlflowException: Answered as 400: rows that are no usable images, by number and reason; no
                rows or too many; a threshold above 1.
        """
        threshold = self._chosen_threshold(params or {})
        images = _decode_rows(model_input, self._network.image_size)
        probability = self._network.score(images)
        ids = model_input["image_id"] if "image_id" in model_input else [None] * len(images)
        return pd.DataFrame(
            {
                "image_id": list(ids),
                "probability": probability,
                "decision": decide(probability, threshold),
                "threshold": threshold,
                "model_version": self._version,
            }
        )

    def _chosen_threshold(self, params: dict[str, Any]) -> float:
        given = params.get("threshold")  # null in JSON arrives as None
        asked = -1.0 if given is None else float(given)
        if asked > 1 or np.isnan(asked):
            raise _refusal(f"params.threshold must lie in 0..1, got {asked}")
        return self._threshold if asked < 0 else asked


def _decode_rows(rows: pd.DataFrame, size: int) -> np.ndarray:
    """Pixels `(n, size, size, 3)` uint8 of column `image`."""
    if not 1 <= len(rows) <= MAX_ROWS:
        raise _refusal(f"expected 1 to {MAX_ROWS} rows, got {len(rows)}")
    images, refused = [], []
    for number, encoded in enumerate(rows["image"]):
        try:
            images.append(load_square(_as_bytes(encoded), size))
        except ImageError as error:
            refused.append(f"row {number}: {error}")
    if refused:
        raise _refusal(f"{len(refused)} of {len(rows)} rows refused: {first_offenders(refused)}")
    return np.stack(images)


def _as_bytes(encoded: object) -> bytes:
    if not isinstance(encoded, bytes):
        raise ImageError(f"image must be base64 of an image file, got {type(encoded).__name__}")
    return encoded


def _refusal(message: str) -> MlflowException:
    """Answered by the scoring server as 400 with this message; a plain error would show its trace."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def _registered_version(artifact: Path) -> str | None:
    """Version in the registry, from the file that MLflow lays into a model it loads from there."""
    for folder in artifact.parents:
        if (folder / "MLmodel").exists():
            meta = folder / "registered_model_meta"
            content = yaml.safe_load(meta.read_text(encoding="utf-8")) if meta.exists() else {}
            number = content.get("model_version")  # null when not loaded from the registry
            return None if number is None else str(number)
    return None
