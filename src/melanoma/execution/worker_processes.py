"""Slots that are processes of this machine, each pinned to its device before any library can look."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import Pipe
from threading import Lock
from typing import Any

from melanoma.errors import WorkerError
from melanoma.execution import worker_main
from melanoma.execution.calls import open_answer
from melanoma.execution.devices import device_settings, find_gpus, num_cores, thread_settings

EXIT_SECONDS = 10  # that a process without further tasks may take to end


class ProcessSlot:
    """Runs one task at a time in a process, which is replaced when it has died or done its share.

    The process is a fresh interpreter in a process group of its own: Ctrl-C reaches this process alone,
    which then decides.
    """

    def __init__(
        self, function: Callable[..., Any], *, environment: Mapping[str, str], tasks_per_process: int
    ) -> None:
        """A slot for `function`; no process is started yet."""
        self._function = pickle.dumps(function)
        self._environment = environment
        self._tasks_per_process = tasks_per_process
        self._worker: _Worker | None = None
        self._is_killed = False
        self._lock = Lock()  # between `kill` and a process that starts

    def run(self, task: Any) -> Any:
        """`function(task)`, with its result or error.

        Raises:
            WorkerError: The process died; the next task finds a new one.
        """
        message = pickle.dumps(task)
        if self._worker is not None and self._worker.num_tasks == self._tasks_per_process:
            self.close()
        worker = self._worker or self._start()
        try:
            answer = worker.ask(message)
        except (EOFError, ConnectionError) as error:
            self._worker = None
            raise WorkerError(_describe_end(worker.wait())) from error
        return open_answer(answer)

    def close(self) -> None:
        """End the process; it has no task."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def kill(self) -> None:
        """End the process at once, and with it the task, whose caller gets a `WorkerError`."""
        with self._lock:
            self._is_killed = True
            if (worker := self._worker) is not None:
                worker.process.kill()

    def _start(self) -> "_Worker":
        with self._lock:
            if self._is_killed:
                raise WorkerError("The workers are closed.")
            self._worker = _Worker(self._function, self._environment)
        return self._worker


class _Worker:
    """A process and the connection to it."""

    def __init__(self, function: bytes, environment: Mapping[str, str]) -> None:
        self.num_tasks = 0
        self._function: bytes | None = function
        self._connection, theirs = Pipe()
        search_path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", worker_main.__name__, str(theirs.fileno())],
                env={**os.environ, **environment, "PYTHONPATH": search_path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )

    def ask(self, message: bytes) -> bytes:
        """The answer to a task; `EOFError` or `ConnectionError` when the process dies."""
        if self._function is not None:
            self._connection.send_bytes(self._function)
            self._function = None
        self.num_tasks += 1
        self._connection.send_bytes(message)
        return self._connection.recv_bytes()

    def end(self) -> None:
        """Let it end by itself; it has no task."""
        with suppress(ConnectionError):  # it is dead already
            self._connection.send_bytes(b"")
        self.wait()

    def wait(self) -> int:
        """Wait for its end, and kill it when that takes long; its exit code."""
        try:
            return self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._connection.close()


def process_slots(
    function: Callable[..., Any], *, num_workers: int, workers_per_device: int, tasks_per_process: int
) -> list[ProcessSlot]:
    """A slot for each process; no process is started yet."""
    gpus = find_gpus()
    num_slots = num_workers or workers_per_device * len(gpus) or 1
    return [
        ProcessSlot(
            function,
            environment=pin(slot, num_slots=num_slots, gpus=gpus),
            tasks_per_process=tasks_per_process,
        )
        for slot in range(num_slots)
    ]


def pin(slot: int, *, num_slots: int, gpus: list[str]) -> dict[str, str]:
    """Environment of the process of a slot: its GPU and its share of it, or its share of the cores."""
    if gpus:
        settings = device_settings(num_sharing=-(-num_slots // len(gpus)))
        return settings | {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}
    num_threads = max(1, num_cores() // num_slots)
    return device_settings() | (thread_settings(num_threads) if num_slots > 1 else {})


def _describe_end(code: int) -> str:
    if code == -signal.SIGKILL:
        return (
            "The worker process was killed (SIGKILL), most likely because memory ran out. Lower the number "
            "of workers or the batch size."
        )
    if code < 0:
        return f"The worker process was stopped by signal {-code} ({signal.strsignal(-code)})."
    return f"The worker process ended with exit code {code} during its task; see its output above."
