"""Run a model with its own code in a separate process.

A process imports the package `melanoma` once. If that code differs from the code that travels with the model,
for instance in this project's scripts or if a notebook loads two models, the answers would be wrong.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from melanoma.errors import TrackingError
from melanoma.serving.refusals import RowsRefused

MAIN = Path(__file__).with_name("own_process_main.py")
IS_INSIDE = "MELANOMA_OWN_PROCESS"  # set in that process, so that it does not start another one
END_SECONDS = 5.0  # for a process that has closed its output to end
LOG_BYTES = 2000  # of the log of a process that ended


class OwnProcess:
    """A model in a process that has imported only the model's own code."""

    def __init__(self, model: Path) -> None:
        """Start the process; it ends with this process or with this object.

        Raises:
            TrackingError: The process cannot load the model.
        """
        self._model = model
        self._lock = threading.Lock()  # one question at a time
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(MAIN), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {IS_INSIDE: "1"},
        )
        self._receive()  # says that it is ready

    def predict(
        self,
        images: Sequence[bytes],
        image_ids: Sequence[str | None],
        params: Mapping[str, Any],
        *,
        group_ids: Sequence[str | None],
    ) -> dict[str, list[Any]]:
        """Columns of the answer, one row per image, in the order of `images`.

        Raises:
            MlflowException: The model refuses a row or a parameter.
            TrackingError: The process has ended.
        """
        asked = {
            "images": [base64.b64encode(encoded).decode() for encoded in images],
            "image_ids": list(image_ids),
            "group_ids": list(group_ids),
            "params": dict(params),
        }
        with self._lock:
            reply = self._ask(asked)
        if reply.get("reasons"):
            raise RowsRefused(reply["refusal"], {int(row): why for row, why in reply["reasons"].items()})
        if "refusal" in reply:
            raise MlflowException(reply["refusal"], error_code=ErrorCode.Value(reply["error_code"]))
        return dict(reply["columns"])

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        questions: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        try:
            questions.write(json.dumps(asked).encode() + b"\n")
            questions.flush()
        except OSError as error:
            raise self._ended() from error
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        answers: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        line = answers.readline()
        if not line:
            raise self._ended()
        return dict(json.loads(line))

    def _ended(self) -> TrackingError:
        try:
            code = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - LOG_BYTES))
        said = self._log.read().decode(errors="replace").strip()
        return TrackingError(
            f"{self._model} needs its own version of the code, and the process that runs it ended with exit "
            f"code {code}. Its last output: {said or 'none'}"
        )

    def __del__(self) -> None:
        """Close the input of the process, which ends it."""
        process = getattr(self, "_process", None)
        if process is not None:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            process.wait()
