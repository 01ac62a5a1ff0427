"""Decoder processes of a server: decoding can be stopped, and cannot exhaust the server's memory.

A decoding thread cannot be stopped, but a process can be killed. So each decoder is a separate process with
limits on its memory and on the processor time of a job, and the server kills it when the answer is no longer
wanted. A killed decoder is replaced at once.
"""

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import melanoma
from melanoma.errors import ImageError
from melanoma.serving.admission import Work
from melanoma.serving.decoder_main import receive, send
from melanoma.serving.decoding import Job

PROGRAM = "melanoma.serving.decoder_main"
BASE_BYTES = 768 * 2**20  # address space of Python, numpy and Pillow, and of the largest encoded image
BYTES_PER_PIXEL = 24  # coefficients of a progressive JPEG, its pixels, and rotated and converted copies
KEPT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "TMPDIR",
    "VIRTUAL_ENV",
)  # environment variables of a decoder; no credentials
LOOK_SECONDS = 0.05  # interval at which a waiting thread checks whether the answer is still wanted
GONE = "decoding was stopped: the image needs too much memory or time, or it is damaged"
_log = logging.getLogger(__name__)


class Decoder:
    """One decoder process; used by one thread at a time."""

    def __init__(self, *, memory_bytes: int, job_seconds: int, niceness: int) -> None:
        """Start the process; it is ready after about 0.3 s, and may be asked before."""
        ours, theirs = socket.socketpair()
        limits = map(str, (memory_bytes, job_seconds, niceness))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", PROGRAM, *limits],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                # Ctrl-C is for the server, which then ends its decoders. In a session of its own, Linux
                # would ignore the niceness.
                process_group=0,
            )
        self._connection = ours

    def ask(self, job: Job, work: Work) -> np.ndarray | ImageError:
        """Send a job and wait for its answer.

        Raises:
            WorkEnded: The answer is no longer wanted. The process has to be closed.
            OSError: The process is gone.
            EOFError: The process has closed its connection.
        """
        fields = asdict(job) | {"box": None if job.box is None else list(asdict(job.box).values())}
        del fields["encoded"]
        self._connection.settimeout(max(work.seconds_left, LOOK_SECONDS))
        send(self._connection, fields, job.encoded)
        self._connection.settimeout(LOOK_SECONDS)
        while not self._has_answer():
            work.require_wanted()
        self._connection.settimeout(max(work.seconds_left, LOOK_SECONDS))
        message = receive(self._connection)
        if message is None:
            raise EOFError
        answer, pixels = message
        if "refused" in answer:
            return ImageError(str(answer["refused"]))
        return np.frombuffer(pixels, np.uint8).reshape(job.size, job.size, 3)

    def _has_answer(self) -> bool:
        try:
            first = self._connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        if not first:
            raise EOFError
        return True

    def close(self) -> None:
        """Kill the process."""
        self._connection.close()
        self.process.kill()
        self.process.wait()


def _environment() -> dict[str, str]:
    """Environment of a decoder: the code that travels with the model, and no threads of numpy."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    code = str(Path(melanoma.__file__).parents[1])
    return kept | {"PYTHONPATH": code, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class DecoderPool:
    """Decoders shared by all requests; safe to use from several threads."""

    def __init__(self, num_decoders: int, *, max_pixels: int, job_seconds: int, niceness: int = 0) -> None:
        """Configure the pool; decoders are started later.

        Args:
            num_decoders: Number of processes.
            max_pixels: Largest image in pixels; bounds the memory of a process.
            job_seconds: Maximum processor time of one image.
            niceness: Increment of the niceness of this process.
        """
        memory_bytes = BASE_BYTES + BYTES_PER_PIXEL * max_pixels
        self._options: dict[str, Any] = {
            "memory_bytes": memory_bytes,
            "job_seconds": job_seconds,
            "niceness": niceness,
        }
        self.num_decoders = num_decoders
        self._threads = ThreadPoolExecutor(num_decoders, thread_name_prefix="decoders")
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        self._is_closed = False
        self._starting = threading.Lock()
        self.decoders: set[Decoder] = set()

    def start(self) -> None:
        """Start the decoders if they are not running; otherwise the first job starts them."""
        with self._starting:
            for _ in range(self.num_decoders - len(self.decoders)):
                self._add()

    def _add(self) -> None:
        decoder = Decoder(**self._options)
        self.decoders.add(decoder)
        self._idle.put(decoder)

    def squares(self, jobs: Sequence[Job], work: Work) -> list[np.ndarray | ImageError]:
        """Decode jobs, see `Decoding`; a few at a time, so that requests take turns.

        Raises:
            WorkEnded: The answer is no longer wanted; its decoders were killed.
        """
        if not self.decoders:
            self.start()
        if len(jobs) == 1:
            return [self._one(jobs[0], work)]
        found: list[np.ndarray | ImageError] = []
        for start in range(0, len(jobs), self.num_decoders):
            wave = jobs[start : start + self.num_decoders]
            found += self._threads.map(lambda job: self._one(job, work), wave)
        return found

    def _one(self, job: Job, work: Work) -> np.ndarray | ImageError:
        decoder = self._take(work)
        try:
            answer = decoder.ask(job, work)
        except (OSError, EOFError):
            self._replace(decoder)
            work.require_wanted()
            return ImageError(GONE)
        except BaseException:
            self._replace(decoder)
            raise
        self._idle.put(decoder)
        return answer

    def _take(self, work: Work) -> Decoder:
        while True:
            work.require_wanted()
            with suppress(queue.Empty):
                return self._idle.get(timeout=LOOK_SECONDS)

    def _replace(self, decoder: Decoder) -> None:
        decoder.close()
        self.decoders.discard(decoder)
        while not self._is_closed:
            try:
                self._add()
            except OSError:  # no memory or no processes left
                _log.exception("a decoder process cannot be started")
                time.sleep(1)
            else:
                return

    def close(self) -> None:
        """Kill all decoders; waiting jobs end with an error."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for decoder in list(self.decoders):
            decoder.close()


class PoolDecoding:
    """The `Decoding` of one request of a server."""

    def __init__(self, pool: DecoderPool, work: Work) -> None:
        """Decode with `pool` as long as `work` is wanted."""
        self._pool, self._work = pool, work

    def squares(self, jobs: Sequence[Job]) -> list[np.ndarray | ImageError]:
        """See `Decoding`."""
        return self._pool.squares(jobs, self._work)

    def require_wanted(self) -> None:
        """See `Decoding`."""
        self._work.require_wanted()
