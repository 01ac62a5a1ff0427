"""Metrics of a server: what is counted, and the words that it is counted by.

`MELANOMA_METRICS_PORT` turns them on; without it nothing is counted and `prometheus_client` is not imported.
Labels have few values: refusals are counted by the words of `REASONS`, never by the text of a message.
`metrics_prometheus` counts and serves.
"""

import os
import socket
from collections.abc import Collection, Mapping, Sequence, Sized

from melanoma.errors import TrackingError
from melanoma.serving.posted import RequestError
from melanoma.serving.records import Recorded, Recorder
from melanoma.serving.shadow import Shadow

# Environment of a server: the port of its metrics, and the address (by default only this machine's loopback).
METRICS_PORT, METRICS_HOST = "MELANOMA_METRICS_PORT", "MELANOMA_METRICS_HOST"
DECISIONS = ("negative", "refer", "positive")
LANES = ("quick", "slow")
OTHER, ABANDONED = "other", "abandoned"
STATUSES = ("200", "400", "408", "413", "415", "500", "503", "504", ABANDONED, OTHER)
BY_STATUS = {
    400: "invalid_request",
    408: "timeout",
    413: "too_large",
    415: "wrong_content_type",
    500: "internal_error",
    503: "overloaded",
    504: "timeout",
}
UNUSABLE = "unusable_image"
# Words in the reason of a refused row; the first that are found count.
BY_WORDS = (
    ("must be", "invalid_request"),  # base64, or the type of an id
    ("characters", "invalid_request"),  # of an id
    ("the bytes are not", "not_an_image"),
    ("does not look like dermoscopy", "not_dermoscopy"),
    ("decoding was stopped", UNUSABLE),
    ("pixels", "image_size"),
    ("truncated", "damaged_image"),
    ("damaged", "damaged_image"),
    ("cannot be decoded completely", "damaged_image"),
)
REASONS = (
    *dict.fromkeys((*BY_STATUS.values(), *(word for _, word in BY_WORDS), "invalid_json", "stopping", OTHER)),
)


class Metrics:
    """What a server counts. This class counts nothing: metrics are off."""

    def scored(self, decisions: Sequence[str], seconds: Mapping[str, float]) -> None:
        """Count the rows of an answer.

        Args:
            decisions: Decision of each row.
            seconds: Duration of the parts `decode` and `forward`.
        """

    def answered(self, seconds: float) -> None:
        """Count a request that was answered, with the seconds from its headers to its answer."""

    def refused(self, error: RequestError) -> None:
        """Count a refused request."""

    def abandoned(self) -> None:
        """Count a request whose client left."""

    def watch(self, lanes: Mapping[str, Collection[object]], connections: Sized, *, num_threads: int) -> None:
        """Sample the load of this process from now on.

        Args:
            lanes: Requests in progress by lane.
            connections: Open connections.
            num_threads: Requests of a lane that are worked on at once; the others wait.
        """


OFF = Metrics()


def open_metrics(model: Recorded, recorder: Recorder | None, shadow: Shadow | None = None) -> Metrics:
    """Metrics as the environment asks for them; they count nothing if `MELANOMA_METRICS_PORT` is not set.

    Args:
        model: The served model.
        recorder: Recorder of the answers; None if they are not recorded.
        shadow: The challenger that answers beside the model; None without one.

    Raises:
        TrackingError: The environment names no valid port or address, or the folder cannot be used.
    """
    given = os.environ.get(METRICS_PORT)
    if not given:
        return OFF
    host, port = address_of_metrics(given)
    from melanoma.serving import metrics_prometheus  # noqa: PLC0415  # prometheus_client is not always needed

    try:
        return metrics_prometheus.start(host, port, model, recorder, shadow)
    except OSError as error:
        raise TrackingError(
            f"The folder of the metrics cannot be used ({error}). Set PROMETHEUS_MULTIPROC_DIR to a folder "
            "that this server can write, or free some space."
        ) from error


def address_of_metrics(given: str) -> tuple[str, int]:
    """Address and port where metrics are served.

    Args:
        given: Value of `MELANOMA_METRICS_PORT`.

    Raises:
        TrackingError: No port, or an address that this machine does not know.
    """
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= 65535):
        raise TrackingError(f"{METRICS_PORT} must be a port, 1 to 65535, got {given!r}.")
    host = os.environ.get(METRICS_HOST) or "127.0.0.1"
    try:
        socket.getaddrinfo(host, int(given), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TrackingError(
            f"{METRICS_HOST} must be an address of this machine, got {host!r} ({error})."
        ) from error
    return host, int(given)


def reason_of(error: RequestError) -> str:
    """The word of `REASONS` for a refusal; that of its first row if rows are refused."""
    if not error.reasons:
        return error.kind or BY_STATUS.get(error.status, OTHER)
    reason = error.reasons[min(error.reasons)]
    return next((kind for words, kind in BY_WORDS if words in reason), UNUSABLE)
