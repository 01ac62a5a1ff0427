"""The section "What is served now": aliases with their version, monitored windows and open alarms."""

from typing import Any

from melanoma.page.registered import CHALLENGER, Model, Version
from melanoma.page.tables import make

WINDOW_TITLES = [
    *("version", "since", "until", "rows", "refused", "p of the shift test", "sensitivity in use"),
    *("calibration in use", "alarms"),
]


def view(model: Model) -> dict[str, Any]:
    """What the template shows of a model: the table of aliases, the windows and the open alarms.

    An alarm is open if the last window of a version that holds an alias has it.
    """
    versions = {version.number: version for version in model.versions}
    holders = [holder for holder in model.holders if holder.alias != CHALLENGER]
    served = {holder.number for holder in holders}
    last = {window.version: window for window in model.windows}
    rows = [
        [
            holder.alias,
            str(holder.number),
            holder.since or "not in the ledger",
            _images(versions[holder.number]),
        ]
        for holder in holders
    ]
    windows = [
        [
            *(str(window.version), window.since, window.until, window.num_rows, window.num_refused),
            *(window.p_value, window.sensitivity, window.calibration, "; ".join(window.alarms) or "none"),
        ]
        for window in reversed(model.windows)
    ]
    return {
        "name": model.name,
        "is_synthetic": any(versions[number].is_synthetic for number in served),
        "aliases": make(f"Served versions of {model.name}", ["alias", "version", "since", "images"], rows),
        "windows": make(f"Monitored windows of {model.name}, the latest first", WINDOW_TITLES, windows),
        "alarms": [
            f"version {number}, {last[number].since} to {last[number].until}: {words}"
            for number in sorted(served & last.keys())
            for words in last[number].alarms
        ],
    }


def _images(version: Version) -> str:
    return {True: "synthetic", False: "real", None: "not said"}[version.is_synthetic]
