"""Run an exported network with ONNX Runtime: the same code for evaluation, promotion and the server."""

import json
import os
import threading
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from melanoma.errors import TrackingError
from melanoma.scoring import views
from melanoma.serving.sessions import open_session

# Views of images that are scored at once. More are no faster on a CPU, and each thread holds the memory of
# its batch: two EfficientNet-Lite0 at 224 px need 15 MB for one view, 60 MB for four. One at a time also
# makes a score independent of the other images.
BATCH_SIZE = 1
SCORE, DIAGNOSIS, FEATURES = "score", "diagnosis", "features"  # outputs, see `training.saving`


@dataclass(frozen=True)
class Answer:
    """What a network says about images.

    Attributes:
        score: Shape `(n,)`, float64 in 0..1; higher = more likely positive.
        classes: Shape `(n, num_classes)`, float64; rows add to 1. None if the network has no classes.
        features: Shape `(n, num_features)`, float64; None if they were not asked for.
    """

    score: np.ndarray
    classes: np.ndarray | None
    features: np.ndarray | None


class Network:
    """A loaded `model.onnx`; safe to call from several threads."""

    def __init__(self, path: Path, *, num_views: int = 1) -> None:
        """Load the network.

        Args:
            path: The file.
            num_views: Number of orientations of each image, the mean of whose logits is the score: 1, 4 or 8.

        Raises:
            TrackingError: The file is missing or is not a network.
            ValueError: There is no such number of views.
        """
        views.require_number(num_views)
        self._path, self.num_views = path, num_views
        self._session = open_session(path)
        # More threads at a time would not be faster, and each needs memory.
        self._turns = threading.Semaphore(os.cpu_count() or 1)
        (self._input,) = self._session.get_inputs()
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        # Networks that were exported earlier have outputs of other names, the score first.
        self._score = SCORE if SCORE in outputs else next(iter(outputs))
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.classes, self.positive_classes = (
            tuple(json.loads(metadata.get(name, "[]"))) for name in ("classes", "positive")
        )
        if self._score == SCORE and outputs.get(DIAGNOSIS, [0, 0])[1:] != [len(self.classes)]:
            raise TrackingError(
                f"{path} has the outputs {outputs} and the classes {list(self.classes)}; expected an output "
                f"{DIAGNOSIS} with a probability of each class. Train the network again."
            )
        self.has_features = FEATURES in outputs

    def with_views(self, num_views: int) -> "Network":
        """The same loaded network with another number of views, see `__init__`."""
        views.require_number(num_views)
        other = copy(self)
        other.num_views = num_views
        return other

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the network takes."""
        return int(self._input.shape[1])

    @property
    def tells_classes(self) -> bool:
        """Whether the network has class probabilities, of `classes`."""
        return bool(self.classes)

    def score(
        self,
        images: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        before_each: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Scores in 0..1, `(n,)` float64, of `(n, size, size, 3)` uint8 images; see `answer`."""
        return self.answer(images, batch_size=batch_size, before_each=before_each).score

    def score_classes(
        self,
        images: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        before_each: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """The softmax over `classes`, `(n, num_classes)` float64; see `answer`.

        Raises:
            TrackingError: The network has no class probabilities.
        """
        classes = self.answer(images, batch_size=batch_size, before_each=before_each).classes
        if classes is None:
            raise TrackingError(
                "This network has no class probabilities: it was trained with model.target: positive."
            )
        return classes

    def features(
        self,
        images: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        before_each: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Pooled features, `(n, num_features)` float64, of the images as they are; see `answer`.

        Raises:
            TrackingError: The file was exported by an earlier version, without features.
        """
        self._require_features()
        return self._run(images, [FEATURES], batch_size, before_each)[0]

    def answer(
        self,
        images: np.ndarray,
        *,
        with_features: bool = False,
        batch_size: int = BATCH_SIZE,
        before_each: Callable[[], None] = lambda: None,
    ) -> Answer:
        """All that the network says about images, in one pass.

        Score and classes are the sigmoid or softmax of the mean logit over `num_views` views; features are
        those of the first view, the image as it is.

        Args:
            images: Shape `(n, size, size, 3)`, uint8.
            with_features: Whether to return the features.
            batch_size: Number of views that are scored at once, at least 1.
            before_each: Called before each batch; may raise an error to stop.

        Raises:
            TrackingError: The file was exported by an earlier version, without the features asked for.
        """
        if with_features:
            self._require_features()
        names = [self._score, *[DIAGNOSIS] * self.tells_classes, *[FEATURES] * with_features]
        step = max(1, batch_size // self.num_views)
        blocks = [images[start : start + step] for start in range(0, len(images), step)] or [images]
        parts = []
        for block in blocks:
            squares = views.views(block, self.num_views)
            found = self._run(squares.reshape(-1, *images.shape[1:]), names, batch_size, before_each)
            by_view = [one.reshape(len(block), self.num_views, one.shape[1]) for one in found]
            parts.append(self._over_views(dict(zip(names, by_view, strict=True))))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
        return Answer(joined[self._score], joined.get(DIAGNOSIS), joined.get(FEATURES))

    def _over_views(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Each output, `(n, num_views, width)`, as that of the mean logit; the features of the first view."""
        scores = outputs[self._score][..., 0]
        over = {self._score: views.mean_score(scores)}
        if DIAGNOSIS in outputs:
            over[DIAGNOSIS] = softmax = views.mean_classes(outputs[DIAGNOSIS])
            if self.num_views > 1:
                positive = [self.classes.index(name) for name in self.positive_classes]
                over[self._score] = softmax[:, positive].sum(1)
        if FEATURES in outputs:
            over[FEATURES] = outputs[FEATURES][:, 0]
        return over

    def _run(
        self, squares: np.ndarray, names: list[str], batch_size: int, before_each: Callable[[], None]
    ) -> list[np.ndarray]:
        """Outputs for all squares, each `(n, width)`, float64."""
        parts = []
        for start in range(0, len(squares), batch_size):
            before_each()
            batch = {self._input.name: squares[start : start + batch_size]}
            with self._turns:
                parts.append(self._session.run(names, batch))
        if not parts:
            widths = {output.name: output.shape[1] for output in self._session.get_outputs()}
            return [np.empty((0, widths[name])) for name in names]
        return [np.concatenate(found).astype(np.float64) for found in zip(*parts, strict=True)]

    def _require_features(self) -> None:
        if not self.has_features:
            raise TrackingError(
                f"{self._path} has no output {FEATURES}: an earlier version exported it. Train the network "
                "again with this version."
            )
