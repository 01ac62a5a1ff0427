"""The served model: it maps encoded images to probabilities and decisions.

An MLflow pyfunc that needs ONNX Runtime, Pillow, numpy, SciPy, pandas and mlflow; no TensorFlow. Its code
travels with the model (see `export`).
"""

import base64
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from PIL import Image

from melanoma import schema
from melanoma.data import crops
from melanoma.data.plausibility import require_plausible
from melanoma.errors import ImageError, TrackingError
from melanoma.fingerprint import digest_of_code, travelling_code
from melanoma.scoring.diagnosis import beside_probability
from melanoma.scoring.occlusion import occlusion_map, overlay
from melanoma.scoring.unlike import Judgement, Unlike, refer
from melanoma.serving import server
from melanoma.serving.decoding import IN_PROCESS, Decoding, Job
from melanoma.serving.images_given import require_bytes
from melanoma.serving.metrics import OFF, Metrics, open_metrics
from melanoma.serving.network import Network
from melanoma.serving.own_process import IS_INSIDE, OwnProcess
from melanoma.serving.posted import MEGAPIXEL, RequestError, require_affordable, rows_refused
from melanoma.serving.records import Asked, Recorded, Recorder, open_recorder
from melanoma.serving.refusals import RowsRefused
from melanoma.serving.segmenter import Cutter, Segmenter
from melanoma.serving.settings import Settings, require_untouched
from melanoma.serving.shadow import Shadow, open_shadow
from melanoma.serving.verification import verify

# In the metadata of the MLflow model; older models have no `OPERATING_POINT`.
SETTINGS_DIGEST, OPERATING_POINT = "settings_sha256", "operating_point"
SYNTHETIC = "trained on synthetic images only: the answer says nothing about skin"
Taken = TypeVar("Taken")
MAY_BE_MISSING = ("prediction_id", "image_id", "reason")  # texts of the answer
UNCUT = "no lesion was found, so the whole image was scored"


class MelanomaScorer(PythonModel):
    """Scores JPEG, PNG, BMP or WebP bytes; holds the network while it is loaded."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load network, operating point and limits from the model's artifacts.

        If this process has imported other code than the model's own, the model is loaded in a separate
        process, which then answers.

        Raises:
            TrackingError: The files are not those that were registered or logged, the model's own code
                cannot be run, or the model needs images that are cropped with hand-drawn masks.
        """
        self._recorder: Recorder | None = None
        self._metrics: Metrics = OFF
        self._shadow: Shadow | None = None
        network, settings = (Path(context.artifacts[name]) for name in ("network", "settings"))
        model = _model_folder(network)
        self._own_process = _open_own_process(model)
        if self._own_process is not None:
            return
        self._verification = verify(model)
        metadata = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))["metadata"]
        require_untouched(settings, metadata[SETTINGS_DIGEST], what="settings")
        self._settings = Settings.read(settings)
        require_untouched(network, self._settings.network_sha256, what="network")
        self._network = Network(network, num_views=self._settings.num_views)
        self._unlike = _open_unlike(self._settings.unlike_sha256, context.artifacts)
        self._cutter = _open_cutter(self._settings.crop, context.artifacts)
        self._version = self._verification.version or self._settings.run_id
        notes = [schema.NOT_A_DEVICE, *([SYNTHETIC] if self._settings.is_synthetic else [])]
        self._note = "; ".join(notes)
        about = {
            "model_version": self._version,
            "verification": self._verification.words,
            "note": self._note,
            "positive_means": self._settings.positive_means,
            "operating_point": metadata.get(OPERATING_POINT),
        }
        self._recorded = Recorded(
            self._verification.name, self._version, self._settings.network_sha256, self._settings.num_views
        )
        self._recorder = open_recorder(self._recorded, keep_images=self._settings.keep_images)
        if server.is_scoring_server():
            self._shadow = open_shadow(self._recorder)
            self._metrics = open_metrics(self._recorded, self._recorder, self._shadow)
        server.guard(self._settings.limits, self.answer, self.record_refusal, about, self._metrics)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score all rows, or refuse the request with the reasons of the bad rows.

        Args:
            context: Not used after loading.
            model_input: Column `image` (bytes, bytearray or memoryview of an image file), optionally
                `image_id` and `group_id` (patient or lesion; only recorded, as a keyed hash).
            params: `threshold`, a probability, replaces the three-way decision by two answers at that
                threshold, except for images that are referred with a `reason`; `explain` requests an
                occlusion map.

        Returns:
            A row for each row of `model_input`, with its index. Columns `prediction_id` (of its record, see
            `records`; None if answers are not recorded), `image_id`, `image_sha256` (of the bytes),
            `probability` (calibrated, 0..1), `decision` (negative, refer, positive), `reason` (why the image
            is referred as unlike the training images, or None), `positive_means` (in words), `threshold`,
            `model_version`, `verification` (see `verification.Verification`), `note`; of a model that was
            trained with several classes also `diagnosis`, the probability of each class by its name; on
            request `saliency` (base64 of a PNG).

        Raises:
            MlflowException: Answered as 400: rows that are no usable images, by number and reason; no
                rows or too many; a threshold outside 0..1.
        """
        image_ids, group_ids = (_ids(model_input, name) for name in ("image_id", "group_id"))
        images = require_bytes(model_input["image"])
        answer = self.answer if self._own_process is None else self._own_process.predict
        columns = answer(images, image_ids, params or {}, group_ids=group_ids)
        rows = pd.DataFrame(columns, index=model_input.index)
        # As objects: JSON has no nan, which pandas would put where a text is missing.
        texts = [name for name in MAY_BE_MISSING if name in rows]  # models of earlier code have no reason
        return rows.assign(
            **{name: pd.Series(columns[name], dtype=object, index=rows.index) for name in texts}
        )

    def answer(
        self,
        images: Sequence[bytes],
        image_ids: Sequence[str | None],
        params: Mapping[str, Any],
        *,
        group_ids: Sequence[str | None] | None = None,
        decoding: Decoding = IN_PROCESS,
    ) -> dict[str, list[Any]]:
        """Columns of the answer of `predict`, as plain values; its rows are recorded.

        Args:
            images: Encoded images.
            image_ids: Id of each image, or None.
            params: See `predict`.
            group_ids: Patient or lesion of each image, or None.
            decoding: Where the images are decoded, and whether the answer is still wanted.

        Raises:
            MlflowException: See `predict`.
        """
        asked = Asked(images, image_ids, group_ids or [None] * len(images), time.monotonic())
        try:
            with nullcontext() if self._shadow is None else self._shadow.standing_still():
                return self._score(asked, params, decoding)[0]
        except RowsRefused as error:
            self.record_refusal(images, image_ids, asked.group_ids, error.reasons)
            raise

    def in_shadow(self, image: bytes, threshold: float | None) -> dict[str, Any]:
        """The answer to one image as the line of a challenger records it, see `shadow`.

        Args:
            image: Encoded image.
            threshold: As the parameter of `predict`; None for the operating point.

        Raises:
            MlflowException: The model refuses the image.
        """
        asked = Asked([image], [None], [None], time.monotonic())
        columns, scores = self._score(asked, {"threshold": threshold}, IN_PROCESS)
        return {
            "model_name": self._recorded.model_name,
            "model_version": self._recorded.model_version,
            "network_sha256": self._recorded.network_sha256,
            "score": float(scores[0]),
            **{name: columns[name][0] for name in ("probability", "decision", "reason")},
        }

    def record_refusal(
        self,
        images: Sequence[bytes],
        image_ids: Sequence[str | None],
        group_ids: Sequence[str | None],
        reasons: Mapping[int, str],
    ) -> None:
        """Record the rows that made a request be refused, if answers are recorded; see `records`."""
        if self._recorder is not None:
            self._recorder.refused(Asked(images, image_ids, group_ids, time.monotonic()), reasons)

    def _score(
        self, asked: Asked, params: Mapping[str, Any], decoding: Decoding
    ) -> tuple[dict[str, list[Any]], np.ndarray]:
        """Columns of the answer, and the scores before calibration, `(num_rows,)`."""
        images = asked.images
        limits = self._settings.limits
        threshold, is_explained = _asked_threshold(params), bool(params.get("explain"))
        _require_count(len(images), limits["max_explained_rows" if is_explained else "max_rows"])
        pixels, is_whole = _decode(images, self._network.image_size, limits, self._cutter, decoding)
        decoded = time.monotonic()
        point = self._settings.operating_point
        wanted = decoding.require_wanted
        is_recorded = self._recorder is not None and self._network.has_features
        with_features = self._unlike is not None or is_recorded
        scored = self._network.answer(pixels, with_features=with_features, before_each=wanted)
        passed = time.monotonic()
        found = self._judge(pixels, scored.features)
        reasons = [one.reason for one in found]
        probability = point.calibration.apply(scored.score)
        columns: dict[str, list[Any]] = {
            "prediction_id": [None] * len(images),
            "image_id": list(asked.image_ids),
            "image_sha256": [hashlib.sha256(encoded).hexdigest() for encoded in images],
            "probability": probability.tolist(),
            "decision": refer(point.decide(probability, threshold), reasons).tolist(),
            "reason": reasons,
            "positive_means": [self._settings.positive_means] * len(images),
            "threshold": [point.threshold if threshold is None else threshold] * len(images),
            "model_version": [self._version] * len(images),
            "verification": [self._verification.words] * len(images),
            "note": [f"{UNCUT}; {self._note}" if whole else self._note for whole in is_whole],
        }
        if scored.classes is not None:
            columns["diagnosis"] = self._by_class(scored.classes, probability)
        if is_explained:
            columns["saliency"] = [self._explain(image, wanted) for image in pixels]
        seconds = {"decode": decoded - asked.started, "forward": passed - decoded}
        self._metrics.scored(columns["decision"], seconds)
        if self._recorder is not None:
            written = self._recorder.answered(
                asked,
                columns,
                scores=scored.score,
                facts=[one.facts for one in found],
                features=scored.features,
                seconds=seconds | {"whole": time.monotonic() - asked.started},
            )
            columns["prediction_id"] = [one.prediction_id for one in written]
            if self._shadow is not None:
                self._shadow.offer(images, written, threshold)
        return columns, scored.score

    def _by_class(self, softmax: np.ndarray, probability: np.ndarray) -> list[dict[str, float]]:
        """Probability of each class by its name, one object per image."""
        names = self._network.classes
        positive = [names.index(name) for name in self._network.positive_classes]
        rows = beside_probability(softmax, probability, positive=positive)
        return [dict(zip(names, row, strict=True)) for row in rows.tolist()]

    def _judge(self, pixels: np.ndarray, features: np.ndarray | None) -> list[Judgement]:
        """Facts of each image, and why it is referred as unlike the training images."""
        if self._unlike is None or features is None:
            return [Judgement(None, {})] * len(pixels)
        return self._unlike.judge(pixels, features)

    def _explain(self, image: np.ndarray, wanted: Callable[[], None]) -> str:
        """Base64 of a PNG with the occlusion map of an image; of its first view, because it takes long."""
        num_steps = self._settings.limits["num_occlusion_steps"]
        score = partial(self._network.with_views(1).score, before_each=wanted)
        saliency = occlusion_map(image, score, num_steps=num_steps)
        stream = io.BytesIO()
        Image.fromarray(overlay(image, saliency)).save(stream, "PNG")
        return base64.b64encode(stream.getvalue()).decode()


def _ids(rows: pd.DataFrame, name: str) -> list[str | None]:
    """A column of ids, None where one is missing."""
    given = rows[name] if name in rows else [None] * len(rows)
    return [None if pd.isna(one) else one for one in given]


def _asked_threshold(params: Mapping[str, Any]) -> float | None:
    asked = params.get("threshold")
    if asked is None:
        return None
    if not 0 <= asked <= 1:  # nan neither
        raise _refusal(f"params.threshold must be between 0 and 1, got {asked}")
    return float(asked)


def _require_count(num_rows: int, max_rows: int) -> None:
    if not 1 <= num_rows <= max_rows:
        raise _refusal(f"expected 1 to {max_rows} rows, got {num_rows}")


def _open_own_process(model: Path) -> OwnProcess | None:
    """A process with the model's own code; None if this process has imported the same code."""
    own, here = digest_of_code(travelling_code(model)), digest_of_code()
    if own == here:
        return None
    if server.is_scoring_server() or os.environ.get(IS_INSIDE):
        raise TrackingError(
            f"The code stored with {model} (digest {own}) is not the code that was imported (digest "
            f"{here}). Remove other copies of the package melanoma from PYTHONPATH."
        )
    return OwnProcess(model)


def _open_unlike(sha256: str | None, artifacts: Mapping[str, str]) -> Unlike | None:
    """Description of the training images; None if unlike images are not referred."""
    if sha256 is None:
        return None
    path = Path(artifacts["unlike"])
    require_untouched(path, sha256, what="description of the training images")
    return Unlike.load(path)


def _open_cutter(crop: crops.Crop | None, artifacts: Mapping[str, str]) -> Cutter | None:
    """Cutter of the images; None if they stay whole."""
    if crop is None:
        return None
    if crop.kind == crops.MASK:
        raise TrackingError(
            "This model was trained on images cropped by hand-drawn masks, which new images do not have, so "
            "it cannot be served. Set pack.crop to unet or none, then run `dvc repro`."
        )
    path = Path(artifacts["segmenter"])
    require_untouched(path, str(crop.segmenter_sha256), what="segmenter")
    return Cutter(Segmenter(path), crop)


def _decode(
    encoded: Sequence[bytes],
    size: int,
    limits: Mapping[str, int],
    cutter: Cutter | None,
    decoding: Decoding,
) -> tuple[np.ndarray, list[bool]]:
    """Pixels `(n, size, size, 3)`, uint8, and whether each image stayed whole because no lesion was found."""
    _require_affordable(encoded, limits)
    job = partial(Job, max_pixels=limits["max_image_megapixels"] * MEGAPIXEL)
    if cutter is None:
        squares = _require_all(map(_plausible, decoding.squares([job(one, size) for one in encoded])))
        return np.stack(squares), [False] * len(squares)
    sizes = (size, cutter.segmenter.image_size)
    both = decoding.squares([job(one, side) for side in sizes for one in encoded])  # at once: it is quicker
    _require_all(map(_plausible, both[: len(encoded)]))
    boxes = []
    for picture in _require_all(both[len(encoded) :]):
        decoding.require_wanted()
        boxes.append(cutter.find_box(picture))
    margin = cutter.crop.margin_fraction
    jobs = [job(one, size, box=box, margin_fraction=margin) for one, box in zip(encoded, boxes, strict=True)]
    return np.stack(_require_all(decoding.squares(jobs))), [box is None for box in boxes]


def _require_affordable(encoded: Sequence[bytes], limits: Mapping[str, int]) -> None:
    """Refuse images by their length and their headers, before any is decoded."""
    try:
        require_affordable(encoded, limits)
    except RequestError as error:
        raise RowsRefused(str(error), error.reasons) from error


def _plausible(pixels: np.ndarray | ImageError) -> np.ndarray | ImageError:
    if isinstance(pixels, ImageError):
        return pixels
    try:
        require_plausible(pixels)
    except ImageError as error:
        return error
    return pixels


def _require_all(loaded: Iterable[Taken | ImageError]) -> list[Taken]:
    """The values of all rows, or a refusal with the first bad rows."""
    rows = list(loaded)
    reasons = {number: str(one) for number, one in enumerate(rows) if isinstance(one, ImageError)}
    if reasons:
        refusal = rows_refused(reasons, len(rows))
        raise RowsRefused(str(refusal), reasons)
    return [one for one in rows if not isinstance(one, ImageError)]


def _refusal(message: str) -> MlflowException:
    """Error that the scoring server answers with status 400; other errors would show a stack trace."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def _model_folder(artifact: Path) -> Path:
    """Folder of the MLflow model that contains an artifact."""
    return next(folder for folder in artifact.parents if (folder / "MLmodel").exists())
