"""Watching processes that are not ours to wait for."""

import time
from collections.abc import Callable

import psutil


def has_ended(number: int) -> bool:
    """Whether the process with this number does nothing more."""
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return True


def await_that(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait until `condition()` holds; an error when it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
