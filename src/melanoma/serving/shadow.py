"""Let a challenger answer beside the served model: its answers are recorded, and never returned.

`MELANOMA_SHADOW` names the challenger. Each process of a server starts one for it (`shadow_main`), which has
idle priority and is stopped (SIGSTOP) while its server process works on a request: idle work beside an answer
costs time, too, because both share caches and memory. Answered rows wait for it in a bounded queue, and a row
that finds no place is dropped. So a challenger that is slow, fails, hangs or cannot be loaded changes no
answer. A process that ended or hung is started again, after pauses that grow.
"""

import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from melanoma.errors import TrackingError
from melanoma.serving.own_process import IS_INSIDE
from melanoma.serving.records import RECORDS, Recorder, Written

SHADOW = "MELANOMA_SHADOW"  # environment of a server: MLflow URI of the challenger
MAIN = Path(__file__).with_name("shadow_main.py")
MAX_ROWS, MAX_BYTES = 256, 64 * 2**20  # of the queue
START_SECONDS, ANSWER_SECONDS = 600.0, 60.0  # after which a challenger that may work hangs
LOOK_SECONDS = 1.0  # interval at which it is seen whether it may
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds before a challenger is started again
COMPLAINT_SECONDS = 60.0  # between two log messages about rows
MAX_REPLY_BYTES = 2**20
# With these the process would record, count or serve by itself. The second is `server.MODEL_PATH`.
OF_A_SERVER = ("PROMETHEUS_MULTIPROC_DIR", "__pyfunc_model_path__")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """An answered row.

    Attributes:
        image: Encoded image.
        threshold: Threshold that the request asked for; None for the operating point.
        answer: Record of the answer.
    """

    image: bytes
    threshold: float | None
    answer: Written


class ChallengerError(Exception):
    """The process of a challenger ended, hangs, or cannot load its model; the message says which."""


class Waiting:
    """Rows that wait for a challenger, a bounded number; safe to use from several threads."""

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        """Wait for rows.

        Args:
            max_rows: Maximum number of rows.
            max_bytes: Maximum number of bytes of their images.
        """
        self.num_dropped = 0
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._rows: deque[Row] = deque()
        self._num_bytes = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """The number of rows that wait."""
        return len(self._rows)

    def put(self, row: Row) -> bool:
        """Add a row; drop and count it if there is no place. Returns whether it was added."""
        with self._changed:
            num_bytes = self._num_bytes + len(row.image)
            if len(self._rows) >= self._max_rows or num_bytes > self._max_bytes:
                self.num_dropped += 1
                return False
            self._rows.append(row)
            self._num_bytes = num_bytes
            self._changed.notify()
            return True

    def take(self) -> Row:
        """The row that waited longest; waits until there is one."""
        with self._changed:
            self._changed.wait_for(self._rows.__len__)
            row = self._rows.popleft()
            self._num_bytes -= len(row.image)
            return row


class Challenger:
    """The process of a challenger; used by one thread, but for `stop` and `go_on`.

    Attributes:
        process: The process.
        is_stopped: Whether it is stopped.
    """

    def __init__(self, uri: str, *, program: Path, start_seconds: float, answer_seconds: float) -> None:
        """Start the process and wait until its model is loaded.

        Args:
            uri: MLflow URI of the model.
            program: The program, `MAIN`.
            start_seconds: Maximum time until the model is loaded.
            answer_seconds: Maximum time until a row is answered, while it is not stopped.

        Raises:
            ChallengerError: The model cannot be loaded.
        """
        self._answer_seconds = answer_seconds
        self.is_stopped = False
        ours, theirs = socket.socketpair()
        limit = struct.pack("ll", int(answer_seconds), int(answer_seconds % 1 * 1e6))
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # a stopped process reads and sends nothing
            ours.setsockopt(socket.SOL_SOCKET, option, limit)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(program), uri],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,  # standard error is the log of the server
                env=_environment(),
                process_group=0,  # Ctrl-C is for the server; in a session of its own, Linux ignores nice
            )
        self._connection = Connection(ours.detach())
        try:
            ready = self._receive(start_seconds)
            if "error" in ready:
                raise ChallengerError(ready["error"])
        except ChallengerError:
            self.close()
            raise

    def ask(self, row: Row) -> dict[str, Any]:
        """Model and answer of the challenger, or `error`.

        Raises:
            ChallengerError: The process has ended or hangs.
        """
        try:
            self._connection.send_bytes(json.dumps({"threshold": row.threshold}).encode())
            self._connection.send_bytes(row.image)
        except OSError as error:
            raise self._failed() from error
        return self._receive(self._answer_seconds)

    def _receive(self, seconds: float) -> dict[str, Any]:
        left = seconds
        try:
            while left > 0:
                if self._connection.poll(min(left, LOOK_SECONDS)):
                    return dict(json.loads(self._connection.recv_bytes(MAX_REPLY_BYTES)))
                left -= 0 if self.is_stopped else LOOK_SECONDS
        except (OSError, EOFError, ValueError) as error:
            raise self._failed() from error
        raise ChallengerError(f"it hangs: no answer in {seconds:g} seconds")

    def _failed(self) -> ChallengerError:
        """What became of the process."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return ChallengerError(
                f"it hangs, or answers nonsense: no answer in {self._answer_seconds:g} seconds"
            )
        return ChallengerError(f"its process ended with exit code {code}")

    def stop(self) -> None:
        """Let the process stand still."""
        self.is_stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.is_stopped = False
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        self._connection.close()
        self.process.wait()


def _environment() -> dict[str, str]:
    """Environment of the process: that of the server without what makes it one, and no key of records."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MELANOMA_") and name not in OF_A_SERVER
    }
    return kept | ONE_THREAD | {IS_INSIDE: "1"}


class Shadow:
    """Hands answered rows over to a challenger, and records its answers, in a thread.

    Attributes:
        num_scored: Number of rows whose answers were recorded.
        num_failed: Number of rows that the challenger could not answer, or whose answer was not recorded.
        num_restarts: Number of starts after the first one.
    """

    def __init__(
        self,
        uri: str,
        recorder: Recorder,
        *,
        program: Path = MAIN,
        waiting: Waiting | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """Start the thread.

        Args:
            uri: MLflow URI of the challenger.
            recorder: Recorder of the answers.
            program: Program of the challenger's process.
            waiting: The queue; by default of `MAX_ROWS` rows and `MAX_BYTES` bytes.
            answer_seconds: See `Challenger`.
            first_pause: Seconds before a challenger is started again; doubled until it answers.
        """
        self.num_scored = self.num_failed = self.num_restarts = 0
        self._uri, self._recorder, self._program = uri, recorder, program
        if waiting is None:
            waiting = Waiting(max_rows=MAX_ROWS, max_bytes=MAX_BYTES)
        self._waiting = waiting
        self._answer_seconds, self._first_pause = answer_seconds, first_pause
        self._closing = threading.Event()
        self._challenger: Challenger | None = None
        self._num_working, self._lock = 0, threading.Lock()
        self._complained = -COMPLAINT_SECONDS
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    @property
    def num_dropped(self) -> int:
        """Number of rows for which the queue had no place."""
        return self._waiting.num_dropped

    @property
    def num_waiting(self) -> int:
        """Number of rows in the queue."""
        return len(self._waiting)

    def offer(self, images: Sequence[bytes], answers: Sequence[Written], threshold: float | None) -> None:
        """Hand over the rows of an answer, or drop those for which there is no place; does not wait.

        Args:
            images: Encoded images.
            answers: What was recorded of each.
            threshold: Threshold that the request asked for; None for the operating point.
        """
        for image, answer in zip(images, answers, strict=True):
            self._waiting.put(Row(image, threshold, answer))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The challenger stands still while the block runs; several threads may run one."""
        with self._lock:
            self._num_working += 1
            if self._num_working == 1 and self._challenger is not None:
                self._challenger.stop()
        try:
            yield
        finally:
            with self._lock:
                self._num_working -= 1
                if self._num_working == 0 and self._challenger is not None:
                    self._challenger.go_on()

    def close(self) -> None:
        """Kill the process of the challenger, and start no other one."""
        self._closing.set()
        challenger = self._challenger
        if challenger is not None:
            challenger.process.kill()
            challenger.process.wait()

    # ---- in a thread -------------------------------------------------------------------------

    def _run(self) -> None:
        pause = self._first_pause
        while not self._closing.is_set():
            before = self.num_scored
            try:
                self._follow()
            except ChallengerError as error:
                why = str(error)
            except Exception as error:  # noqa: BLE001  # nothing that happens here may end the thread
                _log.exception("the shadow of the server failed")
                why = repr(error)
            if self._closing.is_set():
                return
            if self.num_scored > before:
                pause = self._first_pause
            _log.error(
                "the challenger %s gives no answers: %s. It is started again in %g seconds; the answers of "
                "the served model do not depend on it.",
                *(self._uri, why, pause),
            )
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.num_restarts += 1

    def _follow(self) -> None:
        """Start the challenger and let it answer until it fails."""
        challenger = Challenger(
            self._uri,
            program=self._program,
            start_seconds=START_SECONDS,
            answer_seconds=self._answer_seconds,
        )
        with closing(challenger):
            with self._lock:
                self._challenger = challenger
                if self._num_working:
                    challenger.stop()
            while not self._closing.is_set():
                self._answer(challenger, self._waiting.take())

    def _answer(self, challenger: Challenger, row: Row) -> None:
        is_recorded = False
        try:
            answer = challenger.ask(row)
            if "error" in answer:
                self._complain(answer["error"])
            else:
                is_recorded = self._recorder.shadowed(row.answer, answer)
        finally:
            self.num_scored += is_recorded
            self.num_failed += not is_recorded

    def _complain(self, error: str) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_SECONDS:
            self._complained = now
            number = self.num_failed + 1
            _log.error("the challenger %s could not answer %d rows so far (%s)", self._uri, number, error)


def open_shadow(recorder: Recorder | None) -> Shadow | None:
    """The challenger that the environment names; None if it names none.

    Args:
        recorder: Recorder of the answers; None if they are not recorded.

    Raises:
        TrackingError: The answers are not recorded.
    """
    uri = os.environ.get(SHADOW)
    if not uri:
        return None
    if recorder is None:
        raise TrackingError(
            f"{SHADOW} is {uri}, but {RECORDS} is not set. The answers of a challenger are only recorded, so "
            f"set {RECORDS} to a folder or s3://bucket/folder, or unset {SHADOW}."
        )
    return Shadow(uri, recorder)
