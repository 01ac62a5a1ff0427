"""What a benchmark found: rows with their spread, as a table and as JSON."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("keras", "tensorflow", "jax", "numpy", "opencv-python-headless", "pillow", "optuna")


@dataclass(frozen=True)
class Spread:
    """The median of some rounds and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Ratio(Spread):
    """A spread of ratios, each taken within one round, and what it should be.

    Attributes:
        to: What is divided by.
        at_least: Target, where there is one.
        at_most: Likewise.
    """

    to: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether the median meets the target; `None` without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most


@dataclass(frozen=True)
class Row:
    """One thing that was measured, or why it was not.

    Attributes:
        part: Part of the benchmark.
        name: What was measured.
        unit: Unit of `value`.
        value: `None` when not measured.
        ratio: Ratio to another row of the same rounds.
        note: How it was measured, or why not.
    """

    part: str
    name: str
    unit: str = ""
    value: Spread | None = None
    ratio: Ratio | None = None
    note: str = ""


def ratios(
    own: Sequence[float],
    others: Sequence[float],
    *,
    to: str,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Ratio:
    """`own / others`, round by round."""
    spread = Spread.of([mine / other for mine, other in zip(own, others, strict=True)])
    return Ratio(**asdict(spread), to=to, at_least=at_least, at_most=at_most)


def not_measured(part: str, name: str, why: str) -> Row:
    """A row that says why nothing stands in it."""
    return Row(part, name, note=f"not measured ({why})")


def print_rows(rows: Sequence[Row]) -> None:
    """A line a row: name, value with range, ratio with range, target, note."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        fields = [_value(row), _ratio(row.ratio), f"({row.note})" if row.value and row.note else row.note]
        print(f"  {row.name:{width}}  " + "  ".join(filter(None, fields)), flush=True)


def _value(row: Row) -> str:
    return "" if row.value is None else f"{_figures(row.value)} {row.unit}"


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    text = f"{ratio.median:.2f} times {ratio.to} ({ratio.low:.2f} to {ratio.high:.2f})"
    if ratio.at_least is not None:
        text += f", target at least {ratio.at_least:g}"
    elif ratio.at_most is not None:
        text += f", target at most {ratio.at_most:g}"
    return text if ratio.is_reached in (None, True) else f"{text}: MISSED"


def _figures(spread: Spread) -> str:
    digits = 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2
    if spread.low == spread.high:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain values; `ratio.is_reached` says whether a target was met."""
    described = [asdict(row) for row in rows]
    for row, plain in zip(rows, described, strict=True):
        if row.ratio is not None:
            plain["ratio"]["is_reached"] = row.ratio.is_reached
    return described


def missed(rows: Sequence[Row]) -> list[str]:
    """A phrase for each target that was missed."""
    return [
        f"{row.part}: {row.name}: {_ratio(row.ratio)}"
        for row in rows
        if row.ratio is not None and row.ratio.is_reached is False
    ]


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, load, versions and time: what figures of another day are held against."""
    return {
        "processor": _processor(),
        "num_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
