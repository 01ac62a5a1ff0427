"""Count for Prometheus, and serve the metrics on a port of their own.

The processes of a server (`--workers`) count into files of one folder. The process that holds a lock there
serves the sum of all; if it dies, another one takes over within `LOOK_SECONDS`. All series are created at
the start, so the files do not grow on a disk that is full, and a rate is right from the first request on.
"""

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
    multiprocess,
    values,
)
from prometheus_client.exposition import ThreadingWSGIServer

from melanoma.serving.metrics import ABANDONED, DECISIONS, LANES, OTHER, REASONS, STATUSES, Metrics, reason_of
from melanoma.serving.metrics_folder import FOLDER, forget, forget_dead, open_folder
from melanoma.serving.posted import RequestError
from melanoma.serving.records import Recorded, Recorder
from melanoma.serving.shadow import Shadow

LOOK_SECONDS = 1.0  # between two looks at what is only sampled: load and records
COMPLAINT_SECONDS = 60.0  # between two log messages about the same fault
SHADOW_OUTCOMES = ("scored", "dropped", "failed")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)  # seconds
_log = logging.getLogger(__name__)


class Families:
    """The metrics of a server by name; each series exists from the start."""

    def __init__(self) -> None:
        """Create them."""
        self.requests = _counter(
            "melanoma_requests", "Requests to /invocations by HTTP status.", status=STATUSES
        )
        self.rows = _counter(
            "melanoma_rows",
            "Rows that were answered, or that made their request be refused.",
            outcome=("answered", "refused"),
        )
        self.refusals = _counter("melanoma_refusals", "Refused requests by reason.", reason=REASONS)
        self.decisions = _counter("melanoma_decisions", "Answered rows by decision.", decision=DECISIONS)
        self.seconds = Histogram(
            "melanoma_request_seconds",
            "Duration of scored requests by part: decode, forward (the network) and whole, with all else.",
            ["part"],
            registry=None,
            buckets=BUCKETS,
        )
        for part in ("decode", "forward", "whole"):
            self.seconds.labels(part)
        about = ("name", "version", "network_sha256")
        self.model = _gauge("melanoma_model_info", "The served model; always 1.", *about, mode="livemax")
        self.in_progress = _gauge(
            "melanoma_requests_in_progress", "Requests in progress by lane, waiting ones included.", "lane"
        )
        self.waiting = _gauge(
            "melanoma_requests_waiting", "Requests that wait for a thread, by lane.", "lane"
        )
        for lane in LANES:
            self.in_progress.labels(lane)
            self.waiting.labels(lane)
        self.connections = _gauge("melanoma_connections", "Open connections.")


class RecordFamilies:
    """The metrics of a server that records its answers."""

    def __init__(self, recorder: Recorder) -> None:
        """Create them."""
        self._recorder, self._told = recorder, {"written": 0, "lost": 0}
        self._counters = {
            "written": _counter("melanoma_records_written", "Records that were written."),
            "lost": _counter("melanoma_records_lost", "Records that could not be written."),
        }
        self._unsynced = _gauge(
            "melanoma_records_unsynced_seconds",
            "Age of the oldest record that is not on the disk yet.",
            mode="livemax",
        )

    def sample(self) -> None:
        """Take over what the recorder has counted."""
        counted = {"written": self._recorder.num_written, "lost": self._recorder.num_lost}
        for name, counter in self._counters.items():
            counter.inc(counted[name] - self._told[name])
        self._told = counted
        self._unsynced.set(self._recorder.unsynced_seconds)


class ShadowFamilies:
    """The metrics of a server that lets a challenger answer beside its model."""

    def __init__(self, shadow: Shadow) -> None:
        """Create them."""
        self._shadow = shadow
        self._told = dict.fromkeys((*SHADOW_OUTCOMES, "restarts"), 0)
        self._rows = _counter(
            "melanoma_shadow_rows",
            "Rows for the challenger by outcome: scored, dropped (it was too slow) or failed.",
            outcome=SHADOW_OUTCOMES,
        )
        self._restarts = _counter("melanoma_shadow_restarts", "Restarts of the challenger's process.")
        self._waiting = _gauge("melanoma_shadow_waiting", "Rows that wait for the challenger.")

    def sample(self) -> None:
        """Take over what the shadow has counted."""
        shadow = self._shadow
        counted = {
            "scored": shadow.num_scored,
            "dropped": shadow.num_dropped,
            "failed": shadow.num_failed,
            "restarts": shadow.num_restarts,
        }
        for outcome in SHADOW_OUTCOMES:
            self._rows.labels(outcome).inc(counted[outcome] - self._told[outcome])
        self._restarts.inc(counted["restarts"] - self._told["restarts"])
        self._told = counted
        self._waiting.set(shadow.num_waiting)


def _counter(name: str, words: str, **labels: Sequence[str]) -> Counter:
    """A counter with at most one label, and its series."""
    counter = Counter(name, words, list(labels), registry=None)
    for value in next(iter(labels.values()), ()):
        counter.labels(value)
    return counter


def _gauge(name: str, words: str, *labels: str, mode: Any = "livesum") -> Gauge:
    return Gauge(name, words, labels, registry=None, multiprocess_mode=mode)


class PrometheusMetrics(Metrics):
    """Counts for Prometheus, and serves the sum of all processes of the server."""

    def __init__(
        self,
        host: str,
        port: int,
        folder: Path,
        *,
        model: Recorded,
        recorder: Recorder | None,
        shadow: Shadow | None = None,
    ) -> None:
        """Create all series.

        Args:
            host: Address where metrics are served.
            port: Port.
            folder: Folder shared by the processes of the server.
            model: The served model.
            recorder: Recorder of the answers; None if they are not recorded.
            shadow: The challenger that answers beside the model; None without one.

        Raises:
            OSError: The folder cannot be written.
        """
        os.environ[FOLDER] = str(folder)
        # Chosen by the variable when it is imported, which another library may have done before.
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call, misc]
        forget(os.getpid(), folder)  # what a dead process with this id has left
        self._host, self._port, self._folder = host, port, folder
        self._server: ThreadingWSGIServer | None = None
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._complained = -COMPLAINT_SECONDS
        self._load: tuple[Mapping[str, Collection[object]], Sized, int] | None = None
        self._families = Families()
        self._families.model.labels(model.model_name or "", model.model_version, model.network_sha256).set(1)
        self._sampled: list[RecordFamilies | ShadowFamilies] = []
        if recorder is not None:
            self._sampled.append(RecordFamilies(recorder))
        if shadow is not None:
            self._sampled.append(ShadowFamilies(shadow))

    def scored(self, decisions: Sequence[str], seconds: Mapping[str, float]) -> None:
        """See `Metrics`."""
        self._families.rows.labels("answered").inc(len(decisions))
        for decision in decisions:
            self._families.decisions.labels(decision).inc()
        for part, value in seconds.items():
            self._families.seconds.labels(part).observe(value)

    def answered(self, seconds: float) -> None:
        """See `Metrics`."""
        self._families.requests.labels("200").inc()
        self._families.seconds.labels("whole").observe(seconds)

    def refused(self, error: RequestError) -> None:
        """See `Metrics`."""
        status = str(int(error.status))
        self._families.requests.labels(status if status in STATUSES else OTHER).inc()
        self._families.refusals.labels(reason_of(error)).inc()
        self._families.rows.labels("refused").inc(len(error.reasons))

    def abandoned(self) -> None:
        """See `Metrics`."""
        self._families.requests.labels(ABANDONED).inc()

    def watch(self, lanes: Mapping[str, Collection[object]], connections: Sized, *, num_threads: int) -> None:
        """See `Metrics`."""
        self._load = lanes, connections, num_threads

    # ---- in a thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the metrics as long as the process lives."""
        while True:
            try:
                self.look()
            except OSError as error:
                self._complain(error)
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Sample load and records; serve the metrics if no other process of this server does.

        Raises:
            OSError: The port is taken by another program, or the folder is gone.
        """
        self._sample()
        if self._server is None:
            with suppress(BlockingIOError):  # another process of this server serves them
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._server = _serve(self._host, self._port, self._folder)
        if self._server is not None:
            forget_dead(self._folder)

    def _sample(self) -> None:
        for families in self._sampled:
            families.sample()
        if self._load is not None:
            lanes, connections, num_threads = self._load
            for lane, works in lanes.items():
                self._families.in_progress.labels(lane).set(len(works))
                self._families.waiting.labels(lane).set(max(0, len(works) - num_threads))
            self._families.connections.set(len(connections))

    def _complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained >= COMPLAINT_SECONDS:
            self._complained = time.monotonic()
            _log.error("metrics cannot be served on port %d (%s); answers go on", self._port, error)


def start(
    host: str, port: int, model: Recorded, recorder: Recorder | None, shadow: Shadow | None
) -> PrometheusMetrics:
    """Count from now on, and serve the metrics from a thread.

    Args:
        host: Address where metrics are served.
        port: Port.
        model: The served model.
        recorder: Recorder of the answers; None if they are not recorded.
        shadow: The challenger that answers beside the model; None without one.

    Raises:
        OSError: The folder of the metrics cannot be used.
    """
    metrics = PrometheusMetrics(host, port, open_folder(port), model=model, recorder=recorder, shadow=shadow)
    threading.Thread(target=metrics.run, name="metrics", daemon=True).start()
    return metrics


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds for a client that sends nothing

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of its base
        """Log no scrapes."""


def _serve(host: str, port: int, folder: Path) -> ThreadingWSGIServer:
    """Answer scrapes with the sum over the files of the folder, in a thread.

    Raises:
        OSError: The port is taken.
    """

    class Server(ThreadingWSGIServer):
        address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        allow_reuse_port = False  # true in some versions of Python: two servers would share the port

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    server = make_server(host, port, make_wsgi_app(registry), Server, _Handler)
    threading.Thread(target=server.serve_forever, name="scrapes", daemon=True).start()
    return server
