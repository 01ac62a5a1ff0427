"""Run an exported network with ONNX Runtime: the same code for evaluation, promotion and the server."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from melanoma.errors import TrackingError

# Images at once. More are no faster on a CPU, and the runtime keeps the memory of the largest batch that
# each thread ever ran: after six threads at once 110 MB with 4 images of 150 x 150, 1,510 MB with 64.
BATCH_SIZE = 4


class Network:
    """A loaded `model.onnx`; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Raises:
            TrackingError: The file is missing or no network.
        """
        try:
            self._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own that it does not export
            raise TrackingError(f"{path} cannot be loaded as an ONNX network: {error}") from error
        (self._input,) = self._session.get_inputs()

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the network takes."""
        return int(self._input.shape[1])

    def score(self, images: np.ndarray, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Scores in 0..1, `(n,)` float64, of `(n, size, size, 3)` uint8 images; higher = more malignant."""
        parts = [
            self._session.run(None, {self._input.name: images[start : start + batch_size]})[0]
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate([np.empty(0), *(part.ravel() for part in parts)]).astype(np.float64)
