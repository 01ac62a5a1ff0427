"""Results and errors of calls in other processes, pickled."""

import pickle
import traceback
from collections.abc import Callable
from typing import Any


def answer(call: Callable[[], Any]) -> bytes:
    """Make the call; its pickled result, or its error with the traceback as a note."""
    try:
        return pickle.dumps((True, call()))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is raised by `open_answer`
        return pickle.dumps((False, _portable(error)))


def open_answer(message: bytes) -> Any:
    """The result of the call, or its error raised."""
    succeeded, outcome = pickle.loads(message)  # noqa: S301  # from a process of ours
    if not succeeded:
        raise outcome
    return outcome


def _portable(error: Exception) -> Exception:
    """The error itself, or a `RuntimeError` with its message if it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # noqa: BLE001  # an error class may fail in any way here
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In the worker:\n{trace}")
    return error
