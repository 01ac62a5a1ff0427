"""Open an exported network with ONNX Runtime."""

from pathlib import Path

import onnxruntime as ort

from melanoma.errors import TrackingError


def open_session(path: Path) -> ort.InferenceSession:
    """A session of a `model.onnx`, on the CPU; safe to call from several threads.

    Raises:
        TrackingError: The file is missing or no network.
    """
    try:
        return ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own that it does not export
        raise TrackingError(f"{path} cannot be loaded as an ONNX network: {error}") from error
