"""Real servers, `mlflow models serve`, and what their starts take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.end_to_end import clone

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Server:
    """A server that runs, and what its starts took.

    Attributes:
        url: Its address.
        process: `mlflow models serve`, parent of what serves.
        seconds: Seconds from each start to the first answer.
        mebibytes: Resident memory of the serving process after each start.
        all_mebibytes: The same with `mlflow models serve` itself, which only waits.
    """

    url: str
    process: psutil.Process
    seconds: list[float]
    mebibytes: list[float]
    all_mebibytes: list[float]


@contextmanager
def start(folder: Path, uri: str, settings: dict[str, str], num_starts: int) -> Iterator[Server]:
    """Start a server several times; the last one stays."""
    seconds: list[float] = []
    mebibytes: list[float] = []
    all_mebibytes: list[float] = []
    for number in range(num_starts):
        port = clone.free_port()
        url = f"http://127.0.0.1:{port}"
        command = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--port", str(port)]
        start = time.perf_counter()
        with clone.server(folder, *command, url=f"{url}/ping", settings=settings):
            seconds.append(time.perf_counter() - start)
            process = _of_port(port)
            mebibytes.append(memory(process.children()[0]))
            all_mebibytes.append(memory(process))
            if number == num_starts - 1:
                yield Server(url, process, seconds, mebibytes, all_mebibytes)


def _of_port(port: int) -> psutil.Process:
    """The oldest process of ours whose command names the port."""
    of_port = [one for one in psutil.Process().children(recursive=True) if str(port) in one.cmdline()]
    return min(of_port, key=lambda one: one.create_time())


def memory(process: psutil.Process) -> float:
    """Resident MiB of a process and all that it started."""
    family = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in family) / MEBIBYTE


def memory_alone(process: psutil.Process) -> float:
    """Resident MiB of a process without those that it started."""
    return float(process.memory_info().rss / MEBIBYTE)


def processor_seconds(process: psutil.Process) -> float:
    """Processor time so far of a process and all that it started."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))
