"""Run an exported network with ONNX Runtime: the same code for evaluation, promotion and the server."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from melanoma.errors import TrackingError
from melanoma.schema import CLASSES
from melanoma.serving.sessions import open_session

# Larger batches are no faster on a CPU, and the runtime keeps the memory of the largest batch of each thread:
# with six threads 110 MB for 4 images of 150 x 150, 1,510 MB for 64.
BATCH_SIZE = 4


class Network:
    """A loaded `model.onnx`; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Raises:
            TrackingError: The file is missing or is not a network.
        """
        self._session = open_session(path)
        (self._input,) = self._session.get_inputs()
        first, *others = self._session.get_outputs()
        self._score, self._classes = first.name, others[0].name if others else None
        if others and (len(others) > 1 or others[0].shape[1:] != [len(CLASSES)]):
            found = [(output.name, output.shape) for output in others]
            raise TrackingError(
                f"{path} has the outputs {found} next to the score; expected the probabilities of "
                f"{list(CLASSES)}. Train the network again with this version."
            )

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the network takes."""
        return int(self._input.shape[1])

    def score(
        self,
        images: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        before_each: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Scores in 0..1, `(n,)` float64, of `(n, size, size, 3)` uint8 images; higher = more positive.

        `before_each` is called before each batch, and may raise an error to stop.
        """
        return self._run(images, [self._score], batch_size, before_each).ravel()

    @property
    def tells_classes(self) -> bool:
        """Whether the network was trained with `schema.CLASSES` as targets."""
        return self._classes is not None

    def score_classes(
        self,
        images: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        before_each: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """The softmax over `schema.CLASSES`, `(n, 4)` float64; its melanoma column is what `score` gives.

        Raises:
            TrackingError: The network has the classes positive and negative only.
        """
        if self._classes is None:
            raise TrackingError(
                "This network has no class probabilities: it was trained with model.target: positive."
            )
        return self._run(images, [self._classes], batch_size, before_each)

    def _run(
        self, images: np.ndarray, outputs: list[str], batch_size: int, before_each: Callable[[], None]
    ) -> np.ndarray:
        """One output for all images, `(n, width)`, float64."""
        parts = []
        for start in range(0, len(images), batch_size):
            before_each()
            batch = {self._input.name: images[start : start + batch_size]}
            parts.append(self._session.run(outputs, batch)[0])
        if not parts:
            return np.empty((0, len(CLASSES) if outputs == [self._classes] else 1))
        return np.concatenate(parts).astype(np.float64)
