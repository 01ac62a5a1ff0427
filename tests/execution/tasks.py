"""What workers of these tests do; importable by name in any process."""

import os
import signal
import sys
import time
from pathlib import Path

from melanoma.errors import DataError

PINNED = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_NUM_INTRAOP_THREADS",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)
initialized: list[int] = []


def square(number: int) -> int:
    return number * number


def initialize() -> None:
    initialized.append(os.getpid())


def num_initialized(number: int) -> int:
    return len(initialized)


def process_id(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def nap(number: int, *, seconds: float, num_bytes: int) -> bytes:
    """So many bytes, later: as many as a cluster keeps on the node that made them."""
    time.sleep(seconds)
    return bytes([number]) * num_bytes


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("three is refused")
    return number


def lose_connection(task: object) -> None:
    raise ConnectionResetError("the database is gone")


class PeculiarError(Exception):
    """Cannot be unpickled: it wants two arguments and keeps one."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def fail_peculiarly(task: object) -> None:
    raise PeculiarError("salt", "pepper")


def die(code: int) -> int:
    """By signal -`code` if it is negative, with this exit code if it is positive; 0 lives."""
    if code < 0:
        os.kill(os.getpid(), -code)
    if code > 0:
        sys.exit(code)
    return os.getpid()


def die_once(mark: Path) -> int:
    """Kills its process unless it has done so before."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def settings(task: object) -> dict[str, str | None]:
    """What libraries for machine learning look at; with whether one has been imported already."""
    seen: dict[str, str | None] = {name: os.environ.get(name) for name in PINNED}
    return seen | {"tensorflow": "loaded" if "tensorflow" in sys.modules else None}


def surroundings(name: str) -> tuple[str, str | None]:
    return str(Path.cwd()), os.environ.get(name)


def announce(mark: Path) -> None:
    mark.with_suffix(".part").write_text(str(os.getpid()))
    mark.with_suffix(".part").rename(mark)


def announce_and_sleep(mark: Path) -> None:
    """Write the own process number to a file, then go on for minutes."""
    announce(mark)
    time.sleep(300)


def sleep_or_fail(mark: Path) -> None:
    """The one called `fails` waits until another has announced itself, then fails."""
    if mark.name != "fails":
        announce_and_sleep(mark)
    while not any(mark.parent.glob("*.pid")):
        time.sleep(0.05)
    raise DataError("fails is refused")


def unpicklable_if(task: bool) -> object:
    return (lambda: task) if task else None


def announce_and_wait(mark: Path) -> int:
    """Write the own process number to a file, then wait for a file `go` beside it."""
    announce(mark)
    while not (mark.parent / "go").exists():
        time.sleep(0.05)
    return os.getpid()
