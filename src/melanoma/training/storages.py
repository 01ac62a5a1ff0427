"""Storage of studies: a journal file on this machine, or a PostgreSQL database.

A journal is safe for several processes of one machine. SQLite is not (optuna#820), nor is a journal on a
network file system, so a cluster shares a database.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import SQLAlchemyError

from melanoma.errors import TrainingError

CONNECT_SECONDS = 10  # a server that answers takes milliseconds; without a limit, minutes would pass
LOCK_SECONDS = 30  # an older lock was left by an interrupted process: an entry takes milliseconds


def open_storage(storage: str) -> BaseStorage:
    """The storage behind `params.yaml: tune.storage`: the URL of a database, or the path of a journal.

    Raises:
        TrainingError: It is down, holds no studies, or is of a kind that several processes cannot share.
    """
    return _open_database(storage) if "://" in storage else _open_journal(Path(storage).absolute())


def _open_database(url: str) -> RDBStorage:
    if not url.startswith(("postgresql://", "postgresql+psycopg://")):
        raise TrainingError(
            "tune.storage must be a file or a PostgreSQL database, because several processes share it; got "
            f"{hide_password(url)}. Give a path, or postgresql://user@host/database."
        )
    try:
        return RDBStorage(
            url, engine_kwargs={"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
        )
    except (
        ValueError,
        ImportError,
        RuntimeError,
        AssertionError,
    ) as error:  # a URL or tables of another kind
        raise TrainingError(
            f"The Optuna storage {hide_password(url)} cannot be used: {hide_password(str(error))} Set "
            "params.yaml: tune.storage to the URL of a PostgreSQL database that nothing else uses."
        ) from error


def _open_journal(path: Path) -> JournalStorage:
    """The journal at an absolute path.

    Its lock is a symbolic link to it. A lock left by an interrupted process is recognised by its age, but
    only where the link has a target: a relative path would have none, and the next process would wait for
    ever.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _require_whole(path)
        lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_SECONDS)
        return JournalStorage(JournalFileBackend(str(path), lock))
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise TrainingError(
            f"{path} is not an Optuna journal ({type(error).__name__}: {error}). Set params.yaml: "
            "tune.storage to another file, or move this one away."
        ) from error


def _require_whole(path: Path) -> None:
    """Raise if the last entry is incomplete; Optuna would skip it and append the next one to it."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        last = b"".join(deque(lines, maxlen=1))
    if last and not last.endswith(b"\n"):
        raise TrainingError(
            f"The last line of {path} is incomplete: the disk was full, or it is not an Optuna journal. "
            "Remove that line, or set params.yaml: tune.storage to another file."
        )
    if last:
        json.loads(last)


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Turn database errors into one that names the database and how to fix it."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise TrainingError(
            f"The Optuna storage {hide_password(storage)} does not answer: {hide_password(_cause(error))}. "
            "Start it, or set params.yaml: tune.storage to another, then run the same command again."
        ) from error


def _cause(error: BaseException) -> str:
    """First line of the root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def hide_password(url: str) -> str:
    """The text with the passwords of its URLs replaced by stars.

    >>> hide_password("postgresql://me:secret@host/studies?password=secret")
    'postgresql://me:***@host/studies?password=***'
    """
    shown = re.sub(r"(://[^:/@\s]*):[^\s/]*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&\s]*", r"\1***", shown)
