"""What `pipelines.monitor` found about a registered model, read from the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from melanoma.errors import TrackingError
from melanoma.registry import ledger

EXPERIMENT = "melanoma-monitoring"


@dataclass(frozen=True)
class Window:
    """A window that was monitored.

    Attributes:
        at: When it was monitored, UTC.
        result: Content of its `window.json`. If that is gone, what the tags of the entry say: `version`,
            `since`, `until` and `alarms`.
    """

    at: datetime
    result: Mapping[str, Any]


def read(name: str, *, version: int | None = None, limit: int | None = None) -> list[Window]:
    """The monitored windows of a model, by their end; of a repeated one the newest result.

    Args:
        name: Name of the registered model.
        version: Number of a version; None reads the windows of all versions.
        limit: Number of windows, the latest ones; None reads all.
    """
    newest = {
        (entry.version, entry.tags["since"], entry.tags["until"]): entry
        for entry in ledger.entries(name, kind=ledger.MONITOR)
        if version in (None, entry.version)
    }
    by_end = sorted(
        newest.values(), key=lambda entry: (datetime.fromisoformat(entry.tags["until"]), entry.at)
    )
    first = 0 if limit is None else max(0, len(by_end) - limit)
    return [Window(entry.at, _result(entry)) for entry in by_end[first:]]


def _result(entry: ledger.Entry) -> Mapping[str, Any]:
    try:
        return ledger.evidence(entry.run_id)
    except TrackingError:
        said = {name: entry.tags[name] for name in ("version", "since", "until")}
        return said | {"alarms": [entry.tags["reason"]] if entry.tags["is_alarm"] == "true" else []}
