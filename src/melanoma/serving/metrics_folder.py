"""The folder into which the processes of a server count: one file for each process and kind of metric."""

import os
import shutil
import tempfile
from pathlib import Path

from prometheus_client import multiprocess

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of prometheus_client; by default a temporary folder
PREFIX = "melanoma-metrics"
SPACE_BYTES = 4 * 2**16  # of the files of a process


def open_folder(port: int) -> Path:
    """The folder of the processes of one server, which have the same parent and port.

    Folders of servers that have ended are removed.

    Args:
        port: Port of the metrics.

    Raises:
        OSError: The folder cannot be made, belongs to somebody else, or has no space left.
    """
    named = os.environ.get(FOLDER)
    folder = _temporary_folder(port) if named is None else Path(named)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_space(folder)
    return folder


def _temporary_folder(port: int) -> Path:
    parent, temporary = os.getppid(), Path(tempfile.gettempdir())
    mine = f"{PREFIX}-{os.getuid()}"
    folder = temporary / f"{mine}-{port}-{_start_of(parent)}-{parent}"
    for other in temporary.glob(f"{mine}-*-[0-9]*"):
        if not other.name.rpartition("-")[2].isdecimal():
            continue
        processes = {int(other.name.rpartition("-")[2]), *_processes(other)}
        if other != folder and not any(map(_is_alive, processes)):
            shutil.rmtree(other, ignore_errors=True)
    if os.path.lexists(folder) and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def _require_space(folder: Path) -> None:
    """Refuse a full disk: writing to a file that is mapped to memory would end the process without a word."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        os.posix_fallocate(probe.fileno(), 0, SPACE_BYTES)


def forget_dead(folder: Path) -> None:
    """Remove what dead processes say about the present; what they counted stays part of the sums."""
    for process in _processes(folder):
        if not _is_alive(process):
            forget(process, folder)


def forget(process: int, folder: Path) -> None:
    """Remove what a process says about the present."""
    multiprocess.mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]


def _start_of(process: int) -> str:
    """When a process began, in ticks since the system did: process ids are used again."""
    return (_state(process) or ["0"] * 20)[19]


def _state(process: int) -> list[str]:
    """The fields of `/proc/<process>/stat` from the third on, a letter; empty if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # ended, or no Linux
        return []


def _processes(folder: Path) -> set[int]:
    """The processes that have counted in a folder."""
    names = (path.stem.rpartition("_")[2] for path in folder.glob("*.db"))
    return {int(name) for name in names if name.isdecimal()}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(process)[:1] != ["Z"]  # dead, but its parent has not noticed
