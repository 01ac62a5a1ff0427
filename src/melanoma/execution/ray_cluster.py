"""Tasks on a Ray cluster: of this machine alone, or of many that see the same files at the same paths.

Imported only where `execution.backend` is ray.
"""

import logging
import os
import pickle
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

from melanoma.errors import ConfigError, WorkerError, first_offenders
from melanoma.execution.calls import answer, open_answer
from melanoma.execution.devices import device_settings, num_cores, thread_settings
from melanoma.execution.processes import CHUNKS_AT_HAND

try:
    import ray
except ModuleNotFoundError as error:
    raise ConfigError(
        "execution.backend is ray, which is not installed. Run `uv pip install '.[ray]'`."
    ) from error

PASSED_ON = ("AWS_", "JAX_", "KERAS_", "MLFLOW_", "PG", "TF_", "XLA_")  # prefixes of environment variables
CONNECT_SECONDS = 5  # Ray itself would try for minutes
LOOK_SECONDS = 0.2  # interval at which a waiting slot checks whether it is closed
CHUNK_RETRIES = 3  # of a chunk whose node or process died


@dataclass(frozen=True)
class WorkerEnvironment:
    """Folder, search path and environment variables of this process, applied in workers before a task."""

    folder: Path
    search_path: tuple[str, ...]
    environment: dict[str, str]

    @classmethod
    def capture(cls, **settings: str) -> "WorkerEnvironment":
        """The environment of this process with some more environment variables."""
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        return cls(Path.cwd(), tuple(sys.path), settings | passed_on)

    def apply(self) -> None:
        """Apply it to this process.

        Raises:
            ConfigError: The folder does not exist.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ConfigError(
                f"The Ray node {socket.gethostname()} has no folder {self.folder}. Every node needs the same "
                "checkout, with the same data, at the same path."
            ) from error
        os.environ.update(self.environment)
        sys.path.extend(place for place in self.search_path if place not in sys.path)


@contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Join the cluster at `address`, or start one on this machine and stop it again.

    What still runs there for this process is killed when the context ends.

    Args:
        address: `host:port`, `auto` for the one that runs on this machine, or None to start one.

    Raises:
        ConfigError: No cluster answers there, or one of other versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address is None:
            ray.init(
                "local",
                num_cpus=num_cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            _require_reachable(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (Exception, SystemExit) as error:  # a node that starts too slowly is a plain Exception of Ray
        raise ConfigError(
            f"The Ray cluster at execution.ray_address {address!r} cannot be used: {error}. Start one with "
            "`ray start --head`; set RAY_AUTH_MODE=token if it needs a token; or set the address to null to "
            "use this machine only."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Ray would try for three minutes, then end this process."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("expected host:port, auto or null")
    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


class RaySlot:
    """Runs one task at a time, wherever the cluster has room.

    A task that is given up goes on until this process leaves the cluster. Ray could cancel it, but was seen
    to abort the whole process then: "Tried to complete task that was not pending" (2.60, tasks cancelled with
    `force` while results arrived; a race of the kind that ray#54798 mended elsewhere).
    """

    def __init__(self, function: Callable[..., Any], remote: Any, environment: WorkerEnvironment) -> None:
        """A slot for `function`, which `remote` runs in `environment`."""
        self._function = function
        self._remote = remote
        self._environment = environment
        self._is_killed = Event()

    def run(self, task: Any) -> Any:
        """`function(task)`, with its result or error.

        Raises:
            WorkerError: The process or its node died.
        """
        running = None
        while not self._is_killed.is_set():
            if running is None:
                message = pickle.dumps((self._function, task))
                running = self._remote.remote(self._environment, message)
            if ray.wait([running], timeout=LOOK_SECONDS)[0]:
                return fetch(running)
        raise WorkerError("The workers are closed.")

    def close(self) -> None:
        """Ray itself ends processes."""

    def kill(self) -> None:
        """Give the task up at once; its caller gets a `WorkerError`."""
        self._is_killed.set()


def ray_slots(
    function: Callable[..., Any],
    *,
    num_workers: int,
    workers_per_device: int,
    tasks_per_process: int,
    cpus_per_task: int,
) -> list[RaySlot]:
    """Slots on the cluster that this process is connected to; see `workers.open_workers`.

    A process that has used a GPU ends after one task: the next may get another GPU, which a library that
    has started cannot change to.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_gpus = any(node.get("GPU") for node in nodes)
    num_slots = count_slots(nodes, workers_per_device=workers_per_device, cpus_per_task=cpus_per_task)
    if num_slots == 0:
        raise ConfigError(
            f"No node of the Ray cluster has {cpus_per_task} CPUs, as a task needs. Lower "
            "tune.cpus_per_trial."
        )
    remote = ray.remote(
        num_cpus=cpus_per_task,
        num_gpus=1 / workers_per_device if has_gpus else 0,
        max_retries=0,
        max_calls=1 if has_gpus else tasks_per_process,
    )(_call)
    settings = device_settings(workers_per_device) | thread_settings(cpus_per_task)
    environment = WorkerEnvironment.capture(**settings)
    return [RaySlot(function, remote, environment) for _ in range(num_workers or num_slots)]


def count_slots(nodes: list[dict[str, float]], *, workers_per_device: int, cpus_per_task: int) -> int:
    """Tasks that nodes with these resources can run at once; on those with GPUs only, if there are any."""
    has_gpus = any(node.get("GPU") for node in nodes)
    return sum(
        int(min(node.get("CPU", 0) // cpus_per_task, node.get("GPU", 0) * workers_per_device))
        if has_gpus
        else int(node.get("CPU", 0) // cpus_per_task)
        for node in nodes
    )


def num_cpus() -> int:
    """CPUs of the cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def imap_chunks(
    map_chunk: Callable[[list[Any]], Any],
    chunks: Iterator[list[Any]],
    *,
    num_workers: int,
    initializer: Callable[[], object] | None,
) -> Iterator[Any]:
    """Yield `map_chunk(chunk)` of each chunk, in order, one CPU each.

    Chunks of a process or node that died are done again: they depend on nothing but themselves. After an
    error those that are under way end when this process leaves the cluster.

    Args:
        map_chunk: Importable by name, or a `partial` of such a one.
        chunks: Taken as results are.
        num_workers: Chunks at once; 0 takes all CPUs of the cluster.
        initializer: Called once in each new process.

    Raises:
        WorkerError: A chunk's process died every time; names its items.
    """
    num_at_hand = num_workers or CHUNKS_AT_HAND * num_cpus()
    remote = ray.remote(num_cpus=1, max_retries=CHUNK_RETRIES)(_call)
    environment = WorkerEnvironment.capture()
    call = partial(_initialize_and_call, initializer, map_chunk)
    at_hand: deque[tuple[list[Any], Any]] = deque()
    while True:
        for chunk in islice(chunks, num_at_hand - len(at_hand)):
            at_hand.append((chunk, remote.remote(environment, pickle.dumps((call, chunk)))))
        if not at_hand:
            return
        yield fetch(at_hand[0][1], at_hand[0][0])
        at_hand.popleft()


def fetch(task: Any, items: list[Any] | None = None) -> Any:
    """The result of a task of ours, or its error.

    Args:
        task: What Ray gave for it.
        items: What it worked on, for the message.

    Raises:
        WorkerError: Its process or its node died.
    """
    try:
        message = ray.get(task)
    except ray.exceptions.RayError as error:
        doing = f" It worked on one of {len(items)} items: {first_offenders(items)}." if items else ""
        lines = str(error).strip().splitlines() or [""]
        reason = lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0]
        raise WorkerError(f"Ray lost a task ({type(error).__name__}): {reason}{doing}") from error
    return open_answer(message)


def _call(environment: WorkerEnvironment, message: bytes) -> bytes:
    """The body of every task."""
    return answer(partial(_apply_and_call, environment, message))


def _apply_and_call(environment: WorkerEnvironment, message: bytes) -> Any:
    environment.apply()
    function, argument = pickle.loads(message)  # noqa: S301  # from our driver
    return function(argument)


def _initialize_and_call(
    initializer: Callable[[], object] | None, function: Callable[[Any], Any], argument: Any
) -> Any:
    if initializer is not None:
        _initialize(initializer)
    return function(argument)


@cache  # once in a process
def _initialize(initializer: Callable[[], object]) -> None:
    initializer()
