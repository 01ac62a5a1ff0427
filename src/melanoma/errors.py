"""Errors that a user can cause and fix; `pipelines._cli.run` turns them into a message and exit code 1."""

from collections.abc import Iterable

NUM_OFFENDERS_SHOWN = 5


class MelanomaError(Exception):
    """Base of all errors; a message says what happened, what was expected and how to fix it."""


class ConfigError(MelanomaError):
    """`params.yaml` holds an unknown key, a wrong type or a value out of range."""


class DataError(MelanomaError):
    """Images, metadata or files of an earlier stage are missing or contradict each other."""


class ImageError(MelanomaError):
    """Bytes that cannot be used as an image; the message is the reason."""


class WorkerError(MelanomaError):
    """A worker process ended before its work was done."""


class TrainingError(MelanomaError):
    """Training or search cannot continue with these data or parameters."""


class DivergenceError(TrainingError):
    """The loss of a training is nan; other hyperparameters may work."""


class TrackingError(MelanomaError):
    """The tracking store or the model registry does not hold what is needed."""


class StorageError(MelanomaError):
    """The object store does not answer, refuses, or does not hold the expected bytes."""


def first_offenders(offenders: Iterable[object]) -> str:
    """The first five offenders and how many more there are, for the end of a message.

    >>> first_offenders(["a", "b"])
    'a, b'
    >>> first_offenders(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    names = [str(offender) for offender in offenders]
    shown = ", ".join(names[:NUM_OFFENDERS_SHOWN])
    num_hidden = len(names) - NUM_OFFENDERS_SHOWN
    return f"{shown} and {num_hidden} more" if num_hidden > 0 else shown
