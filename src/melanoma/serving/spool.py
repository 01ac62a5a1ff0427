"""Append lines to files that survive a kill of this process; see `records`."""

import fcntl
import os
import secrets
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

SUFFIX = ".jsonl"
SYNC_SECONDS = 1.0
ROLL_BYTES, ROLL_SECONDS = 16 * 2**20, 3600.0  # a larger or older file is closed, and another one begun


class Spool:
    """Files of lines in a folder, of which this process has one open."""

    def __init__(self, folder: Path) -> None:
        """Begin no file yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size, self._opened = 0, 0.0
        # Since when lines wait for the disk: those of the running or failed sync, and later ones.
        self._syncing: float | None = None
        self._unsynced: float | None = None

    @property
    def unsynced_seconds(self) -> float:
        """Age of the oldest line that the disk does not have yet; 0 if it has all."""
        since = min(filter(None, (self._syncing, self._unsynced)), default=None)
        return 0.0 if since is None else time.monotonic() - since

    def append(self, lines: bytes) -> None:
        """Add lines, all or none; they survive a kill of this process.

        Raises:
            OSError: The disk is full, missing or read-only.
        """
        with self._lock:
            file = self._writable()
            try:
                _write_all(file, lines)
            except OSError:
                os.ftruncate(file, self._size)  # a part of a line would spoil the next one
                raise
            self._size += len(lines)
            self._unsynced = self._unsynced or time.monotonic()

    def sync(self) -> None:
        """Wait until the disk has all lines; close a file that is old, so that it can be compacted.

        Raises:
            OSError: The disk is gone.
        """
        with self._lock:
            if self._file is not None and self._is_old():
                self._close()
            self._syncing, self._unsynced = self._syncing or self._unsynced, None
            if self._syncing is None or self._file is None:
                return
            file = os.dup(self._file)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        self._syncing = None

    def close(self) -> None:
        """Close the open file, so that it can be compacted."""
        with self._lock:
            self._close()

    def _writable(self) -> int:
        if self._file is not None and (self._is_old() or os.fstat(self._file).st_nlink == 0):
            self._close()
        if self._file is None:
            self._file = self._open()
        return self._file

    def _is_old(self) -> bool:
        return self._size >= ROLL_BYTES or time.monotonic() - self._opened >= ROLL_SECONDS

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._locked_file()
        while os.fstat(file).st_nlink == 0:  # compacted, as an empty file, before it was locked
            os.close(file)
            file = self._locked_file()
        self._size, self._opened, self._syncing, self._unsynced = 0, time.monotonic(), None, None
        return file

    def _locked_file(self) -> int:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        path = self._folder / name
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        return file

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None


def _write_all(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
