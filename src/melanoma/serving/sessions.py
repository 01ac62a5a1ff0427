"""Open an exported network with ONNX Runtime."""

from pathlib import Path

import onnxruntime as ort

from melanoma.errors import TrackingError


def open_session(path: Path, *, waits_busily: bool = True) -> ort.InferenceSession:
    """A session of a `model.onnx`, on the CPU; safe to call from several threads.

    Args:
        path: The file.
        waits_busily: Whether its threads keep their cores for a while after a run, which makes the next run
            faster but takes the cores from other work.

    Raises:
        TrackingError: The file is missing or is not a network.
    """
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(waits_busily)))
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own that it does not export
        raise TrackingError(f"{path} cannot be loaded as an ONNX network: {error}") from error
