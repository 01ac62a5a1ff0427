"""Detect that a SQLite tracking store was moved or copied, and relocate it.

MLflow stores artifact folders as absolute paths. A moved or copied store would therefore not find its
artifacts, or write into the project that it came from. The table `melanoma_home` records the folder of the
store. Does not import MLflow: the check is cheap and runs before MLflow opens the file.
"""

import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from filelock import FileLock

from melanoma.errors import TrackingError, first_offenders

ARTIFACTS = "mlruns"  # folder beside the file
ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"  # by default MLflow uses `./mlruns` of the current folder
WAIT_SECONDS = 20.0  # wait for another writer, like MLflow
# Columns with artifact locations, by table of MLflow.
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
HOLDERS = ("runs", "logged_models", "model_versions")  # tables; a store without rows in them is empty
_threads = threading.Lock()  # environment variables are shared by all threads
# Table and column names in the queries below are from these constants or from SQLite: hence `noqa: S608`.


@contextmanager
def opening(file: Path) -> Iterator[None]:
    """Wrap MLflow's opening of a store: refuse a moved one, let one process create it, set its artifacts.

    Raises:
        TrackingError: See `require_at_home`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    require_at_home(file)
    with _creation_lock(file), _threads:
        before = os.environ.get(ARTIFACT_ROOT)
        os.environ[ARTIFACT_ROOT] = before or str(file.parent / ARTIFACTS)
        try:
            yield
        finally:
            if before is None:
                del os.environ[ARTIFACT_ROOT]
    record_home(file)


def _creation_lock(file: Path) -> AbstractContextManager[object]:
    """A lock if the store has to be created, which two processes must not do at once."""
    if not os.access(file.parent, os.W_OK) or (file.is_file() and _has_home(file)):
        return nullcontext()
    return FileLock(f"{file}.lock")


def _has_home(file: Path) -> bool:
    with _opened(file) as store:
        return _home(store) is not None


def require_at_home(file: Path) -> None:
    """Refuse a store that was moved or copied, without writing to it.

    An empty store is relocated at once, as nothing can be lost.

    Raises:
        TrackingError: The store names artifacts in another folder; names the command that relocates it.
    """
    if not file.is_file():
        return
    with _opened(file) as store:
        old = foreign_folders(store, file)
        if not old:
            return
        if _is_empty(store):
            _rewrite(store, file, old)
            return
    raise TrackingError(
        f"The tracking store {file} was moved or copied: its runs and models still refer to artifacts in "
        f"{first_offenders(folder / ARTIFACTS for folder in old)}. Nothing was written. Run `python -m "
        "pipelines.relocate --dry-run` to see what would change, then `python -m pipelines.relocate` to "
        f"change these paths to {file.parent / ARTIFACTS}. (A folder mounted under another path counts as "
        "moved: always use the same path, or set MLFLOW_TRACKING_URI to a server.)"
    )


def record_home(file: Path) -> None:
    """Record the folder of the store in it, unless it is recorded already or the file is read-only."""
    with _opened(file) as store, suppress(sqlite3.OperationalError):
        if _home(store) != _folder(file):
            with store:
                _note_home(store, file)


@dataclass(frozen=True)
class Relocation:
    """Changes that `relocate` made, or would make.

    Attributes:
        old: Previous project folders that the store named.
        num_changed: Number of changed paths by `table.column`.
        num_lost: Number of model folders that exist neither in the old nor in the new place.
        backup: Copy of the file before the change; None for a dry run or without changes.
    """

    old: list[Path]
    num_changed: dict[str, int]
    num_lost: int
    backup: Path | None


def relocate(file: Path, *, is_dry_run: bool) -> Relocation:
    """Let a moved or copied store name the artifacts beside it, in one transaction.

    Args:
        file: File of the SQLite store.
        is_dry_run: Whether to change nothing.

    Raises:
        TrackingError: Artifacts exist only in the old place, or the file cannot be read or written.
    """
    with _opened(file) as store:
        old = foreign_folders(store, file)
        moves = {path: new for path in _local_paths(store) if (new := _moved(path, file, old)) != path}
        _require_nothing_left(moves, file)
        num_lost = sum("models" in path.parts[-3:] and not new.exists() for path, new in moves.items())
        if is_dry_run or not old:
            return Relocation(old, _count(store, file, old), num_lost, None)
        backup = _back_up(store, file)
        return Relocation(old, _rewrite(store, file, old), num_lost, backup)


def _require_nothing_left(moves: dict[Path, Path], file: Path) -> None:
    left = [path for path, new in moves.items() if path.exists() and not new.exists()]
    if left:
        raise TrackingError(
            f"{len(left)} folders of artifacts exist only in the old place: {first_offenders(left)}. "
            f"Nothing was changed. Copy them to {file.parent / ARTIFACTS}, then run this again."
        )


def foreign_folders(store: sqlite3.Connection, file: Path) -> list[Path]:
    """Previous project folders in which the store names artifacts.

    A store with a recorded home has at most that folder; artifacts elsewhere were chosen by the user. A store
    without a recorded home is judged by the content of the folders that it names.
    """
    here, home = _folder(file), _home(store)
    if home == here:
        return []
    paths = _local_paths(store)
    if home is not None:
        return [home] if any(_is_of(path, home, here) for path in paths) else []
    outside = [path for path in paths if not path.is_relative_to(here)]
    return sorted({folder for path in outside if (folder := _left_folder(path, file)) is not None})


def _is_of(path: Path, old: Path, here: Path) -> bool:
    """Whether `path` belongs to the old place; for nested places the inner one counts."""
    if here.is_relative_to(old) and path.is_relative_to(here):
        return False
    return path.is_relative_to(old)


def _left_folder(path: Path, file: Path) -> Path | None:
    """The previous folder of this project that an artifact path belongs to, or None."""
    if ARTIFACTS not in path.parts:
        return None
    at = len(path.parts) - 1 - path.parts[::-1].index(ARTIFACTS)
    folder, rest = Path(*path.parts[:at]), Path(*path.parts[at:])
    if len(rest.parts) < 3:  # of an experiment, whose number other stores use too; run ids are unique
        return None
    is_here = (_folder(file) / rest).exists()
    return folder if is_here or _is_named(path, folder / file.name) else None


def _is_named(path: Path, other: Path) -> bool:
    """Whether another store exists and names the same path: then one is a copy of the other."""
    if not other.is_file():
        return False
    with _opened(other) as store:
        return path in _local_paths(store)


def _folder(file: Path) -> Path:
    return file.parent.resolve()


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(file, timeout=WAIT_SECONDS)) as store:
            yield store
    except sqlite3.Error as error:
        raise TrackingError(
            f"The tracking store {file} cannot be used: {error}. Expected a readable and writable SQLite "
            "file of MLflow. Restore it from a backup, or set MLFLOW_TRACKING_URI to another store."
        ) from error


def _home(store: sqlite3.Connection) -> Path | None:
    if "melanoma_home" not in _tables(store):
        return None
    found = store.execute("SELECT folder FROM melanoma_home").fetchone()
    return Path(found[0]) if found else None


def _note_home(store: sqlite3.Connection, file: Path) -> None:
    store.execute("CREATE TABLE IF NOT EXISTS melanoma_home (folder TEXT NOT NULL)")
    store.execute("DELETE FROM melanoma_home")
    store.execute("INSERT INTO melanoma_home VALUES (?)", (str(_folder(file)),))


def _tables(store: sqlite3.Connection) -> set[str]:
    return {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _columns(store: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables and columns with artifact locations that exist in this version of MLflow."""
    present = _tables(store) & PLACES.keys()
    return [
        (table, column)
        for table in sorted(present)
        for (_, column, *_rest) in store.execute(f"PRAGMA table_info({table})")
        if column in PLACES[table]
    ]


def _is_empty(store: sqlite3.Connection) -> bool:
    present = _tables(store)
    return not any(
        store.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608
        for table in HOLDERS
        if table in present
    )


def _local_paths(store: sqlite3.Connection) -> list[Path]:
    """All local folders that the store names, sorted."""
    values = {
        value
        for table, column in _columns(store)
        for (value,) in store.execute(f"SELECT DISTINCT {column} FROM {table}")  # noqa: S608
    }
    return sorted({path for value in values if (path := _local_path(value)) is not None})


def _local_path(value: object) -> Path | None:
    """Local folder of an artifact location: an absolute path or a `file:` address; else None."""
    if not isinstance(value, str):
        return None
    if value.startswith("file:"):
        value = unquote(re.sub(r"^file:(//)?", "", value))
    return Path(value) if value.startswith("/") else None


def _moved(path: Path, file: Path, old: list[Path]) -> Path:
    """`path` after the move: below the folder of `file` if it was below one of the old folders."""
    here = _folder(file)
    for folder in old:
        if _is_of(path, folder, here):
            return here / path.relative_to(folder)
    return path


def _relocated(value: Any, file: Path, old: list[Path]) -> Any:
    """An artifact location after the move, in its original form."""
    path = _local_path(value)
    if path is None or (new := _moved(path, file, old)) == path:
        return value
    scheme = re.match(r"(file:(?://)?)?", str(value))
    return f"{scheme[0]}{quote(str(new))}" if scheme and scheme[0] else str(new)


def _count(store: sqlite3.Connection, file: Path, old: list[Path]) -> dict[str, int]:
    """Number of values of each column that would change."""
    counted = {}
    for table, column in _columns(store):
        values = [value for (value,) in store.execute(f"SELECT {column} FROM {table}")]  # noqa: S608
        counted[f"{table}.{column}"] = sum(_relocated(value, file, old) != value for value in values)
    return counted


def _rewrite(store: sqlite3.Connection, file: Path, old: list[Path]) -> dict[str, int]:
    """Change all artifact locations and record the new home, in one transaction."""
    store.create_function("relocated", 1, lambda value: _relocated(value, file, old), deterministic=True)
    with store:
        store.execute("BEGIN IMMEDIATE")
        counted = _count(store, file, old)
        for table, column in _columns(store):
            store.execute(f"UPDATE {table} SET {column} = relocated({column})")  # noqa: S608
        _note_home(store, file)
    return counted


def _back_up(store: sqlite3.Connection, file: Path) -> Path:
    backup = file.with_name(f"{file.name}.before-relocate-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    backup.touch(mode=0o600)
    with closing(sqlite3.connect(backup)) as copy:
        store.backup(copy)
    shutil.copymode(file, backup)
    return backup
