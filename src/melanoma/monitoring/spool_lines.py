"""Lines of a spool (`serving.records`): answers, and what a challenger answered beside them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from melanoma.serving.records import SCHEMA_VERSION

# Lines of a file are written in order, but threads may swap two; clocks of two machines are never equal.
CLOCK_BACK_SLACK, CLOCK_AHEAD_SLACK = timedelta(seconds=1), timedelta(minutes=1)
CLOCK_BACK = "kept records with an earlier time than the record before them (the server's clock went back)"
CLOCK_AHEAD = "kept records with a time in the future (the server's clock was ahead)"
CLOCK_PROBLEM = "clock_problem"
TORN, OTHER_SCHEMA = "torn or damaged lines", "lines of another schema version"
TEXTS_OF_BOTH = (  # fields of both kinds of lines
    "group_key",
    "image_sha256",
    "model_name",
    "model_version",
    "network_sha256",
    "decision",
    "reason",
)
ANSWER_ID, SHADOW_ID = "prediction_id", "shadow_of"  # the field that says what a line is
Line = dict[str, Any]


@dataclass
class Lines:
    """The content of a file of a spool.

    Attributes:
        answers: Records of answers and of refused rows, with a `clock_problem` if their time shows one.
        shadows: Answers of a challenger.
        problems: Number of unreadable lines by reason.
        unreadable: These lines.
    """

    answers: list[Line] = field(default_factory=list)
    shadows: list[Line] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    unreadable: bytes = b""


def parse(content: bytes) -> Lines:
    """The lines of a file of a spool by their kind."""
    found, before, now = Lines(), None, datetime.now(UTC)
    for line in content.splitlines(keepends=True):
        try:
            row = json.loads(line)
            at = datetime.fromisoformat(row["time"])
            is_line = (
                at.tzinfo is not None and line.endswith(b"\n") and (ANSWER_ID in row or SHADOW_ID in row)
            )
        except (ValueError, TypeError, KeyError):
            is_line = False
        if is_line and row.get("schema") == SCHEMA_VERSION and ANSWER_ID in row:
            found.answers.append(row | {CLOCK_PROBLEM: _clock_problem(at, before, now)})
            before = at
        elif is_line and row.get("schema") == SCHEMA_VERSION:
            found.shadows.append(row)
        else:
            found.problems[OTHER_SCHEMA if is_line else TORN] += 1
            found.unreadable += line
    return found


def _clock_problem(at: datetime, before: datetime | None, now: datetime) -> str | None:
    """What the time of a record shows, beside that of the record before it in its file."""
    if before is not None and at < before - CLOCK_BACK_SLACK:
        return CLOCK_BACK
    return CLOCK_AHEAD if at > now + CLOCK_AHEAD_SLACK else None


def frame(lines: Sequence[Line], *, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """One row per line: `time` (UTC), and fields that may be missing, as text or as float64."""
    rows = pd.DataFrame({"time": pd.to_datetime([one["time"] for one in lines], utc=True, format="ISO8601")})
    for name in texts:
        rows[name] = pd.array([one.get(name) for one in lines], dtype="str")
    for name in numbers:
        rows[name] = pd.array([one.get(name) for one in lines], dtype="float64")
    return rows
