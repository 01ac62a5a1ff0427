"""Program of `shadow`: load a challenger with its own code and answer the images that a server hands over.

Run as `python -P shadow_main.py MODEL_URI`. It must not import this package before the model is loaded.
Standard input is a socket: a question is a JSON object and the image, an answer is a JSON object. The process
only gets processor time that nobody else wants, and ends when the server does, whatever it is doing.
"""

import json
import os
import queue
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

NICENESS = 19
Question = tuple[dict[str, Any], bytes]


def main(uri: str) -> int:
    """Answer until the server closes the connection; the exit code if the model cannot be loaded."""
    _yield_to_others()
    connection = Connection(os.dup(0))
    asked: queue.SimpleQueue[Question] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, asked), daemon=True).start()
    try:
        scorer = _load(uri)
    except Exception as error:  # noqa: BLE001  # any code of the model may fail
        traceback.print_exc()
        _say(connection, {"error": f"it cannot be loaded: {type(error).__name__}: {error}"})
        return 1
    _say(connection, {"is_ready": True})
    while True:
        fields, image = asked.get()
        _say(connection, _reply(scorer, image, fields["threshold"]))


def _yield_to_others() -> None:
    """Lowest priority, for this thread and those that it starts."""
    os.nice(NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _receive(connection: Connection, asked: "queue.SimpleQueue[Question]") -> None:
    """Read questions; end the process as soon as the connection is closed, whatever it is doing."""
    with suppress(EOFError, OSError):
        while True:
            fields = json.loads(connection.recv_bytes())
            asked.put((fields, connection.recv_bytes()))
    os._exit(0)


def _load(uri: str) -> Any:
    import mlflow  # noqa: PLC0415  # takes seconds, and the server may end meanwhile
    import onnxruntime  # noqa: PLC0415

    class OneThread(onnxruntime.SessionOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = 1

    onnxruntime.SessionOptions = OneThread  # whatever the code of the model asks for
    scorer = mlflow.pyfunc.load_model(uri).unwrap_python_model()
    if not hasattr(scorer, "in_shadow"):
        raise TypeError("it was made by other or earlier code, which cannot answer in shadow")
    return scorer


def _reply(scorer: Any, image: bytes, threshold: float | None) -> dict[str, Any]:
    try:
        return dict(scorer.in_shadow(image, threshold))
    except Exception as error:  # noqa: BLE001  # one image is no reason to end
        return {"error": f"{type(error).__name__}: {error}"}


def _say(connection: Connection, fields: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(fields).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
