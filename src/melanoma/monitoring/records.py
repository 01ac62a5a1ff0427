"""Read the records of served answers, and keep them in order: compact, expire, erase.

A server writes JSON lines into its spool (`serving.records`). `compact` turns the files that no process has
open into Parquet, one file for each day and file of the spool: `answers/<day>/<name>.parquet`, and
`shadows/<day>/<name>.parquet` for what a challenger answered. It may be interrupted and repeated. Lines that
cannot be read, for instance the torn last one after a power failure, are kept in `unreadable/` and counted.
`erased/` names the keyed hash of each patient that was erased.

A record whose time shows that the clock of a server was wrong is kept with its time, and marked in the column
`clock_problem`.
"""

import base64
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files
from melanoma.errors import DataError, first_offenders
from melanoma.monitoring import shadows
from melanoma.monitoring.shadows import SHADOWS
from melanoma.monitoring.spool_lines import ANSWER_ID, CLOCK_PROBLEM, SHADOW_ID, TEXTS_OF_BOTH, frame, parse
from melanoma.serving.records import IMAGES
from melanoma.serving.spool import SUFFIX

ANSWERS, UNREADABLE, ERASED = "answers", "unreadable", "erased"
LOCK = ".lock"
ORPHAN_SECONDS = 3600  # after which an image without a record is removed from the spool
REPEATED = "repeated rows"
FACT, MILLISECONDS = "fact_", "milliseconds_"  # prefixes of columns
TEXTS = (ANSWER_ID, "image_id", *TEXTS_OF_BOTH, "refusal", CLOCK_PROBLEM)
NUMBERS = ("num_bytes", "width", "height", "num_views", "score", "probability", "threshold")


@dataclass
class Records:
    """Records of a period.

    Attributes:
        rows: One row per record by time, with the columns `time` (UTC), `TEXTS`, `NUMBERS`, `embedding`
            (bytes of float16, little-endian), those with the prefixes `FACT` and `MILLISECONDS`, and those
            that `shadows.join` adds. Rows with a `refusal` have neither score nor decision. `clock_problem`
            is empty, `spool_lines.CLOCK_BACK` or `CLOCK_AHEAD`.
        problems: Number of lines or rows by their problem. Only those with a problem of the clock are in
            `rows`.
    """

    rows: pd.DataFrame
    problems: Counter[str] = field(default_factory=Counter)

    def describe(self) -> list[str]:
        """A line for each problem; those of the clock with the first five records that have it."""
        return _describe(self.problems, clock_problems(self.rows))


@dataclass(frozen=True)
class Compacted:
    """What `compact` did.

    Attributes:
        num_rows: Number of records that are in Parquet now.
        num_files: Number of files of the spool that they came from.
        num_in_use: Number of files that a process has open.
        problems: Number of lines that could not be read, and of records with a problem of the clock.
        clocks: Ids of these records, by the problem.
    """

    num_rows: int
    num_files: int
    num_in_use: int
    problems: Counter[str]
    clocks: dict[str, list[str]] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """A line for each problem; those of the clock with the first five records that have it."""
        return _describe(self.problems, self.clocks)


def read(
    folder: Path,
    *,
    spool: Path | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Records:
    """The records of a period, also those that are not compacted yet.

    Args:
        folder: Folder of the compacted records.
        spool: Folder of the spool; None reads compacted records only.
        since: First time, with a time zone; None for all.
        until: Time before which a record lies, with a time zone; None for all.

    Raises:
        DataError: The folder does not exist, or a file is not one of records.
    """
    require_folder(folder)
    # The spool first: a file that is compacted meanwhile is then read once more, and none is missed.
    contents = [] if spool is None else [_content(path) for path in sorted(spool.glob(f"*{SUFFIX}"))]
    contents += [_content(path) for path in sorted(folder.glob(f"{UNREADABLE}/[!.]*"))]
    lines = [parse(content) for content in contents]
    problems = sum((one.problems for one in lines), Counter[str]())
    tables, beside = (
        [_read_parquet(path) for path in _compacted(folder, kind) if _may_hold(path, since, until)]
        for kind in (ANSWERS, SHADOWS)
    )
    tables += [table(one.answers) for one in lines]
    beside += [shadows.table(one.shadows) for one in lines]
    found = _of_period([table([]), *tables], folder, since, until)
    # A file of the spool that was compacted a moment ago, or whose compaction was interrupted, is in both.
    is_again = found["prediction_id"].duplicated()
    if is_again.any():
        problems[REPEATED] += int(is_again.sum())
    found = found[~is_again].sort_values("time", kind="stable", ignore_index=True)
    problems.update({problem: len(ids) for problem, ids in clock_problems(found).items()})
    rows, left_out = shadows.join(found, _of_period([shadows.table([]), *beside], folder, since, until))
    return Records(rows, problems + left_out)


def clock_problems(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The ids of the records with a problem of the clock, by the problem."""
    return {str(name): list(ids) for name, ids in rows.groupby(CLOCK_PROBLEM)["prediction_id"]}


def _describe(problems: Counter[str], clocks: dict[str, list[str]]) -> list[str]:
    names = {problem: f": {first_offenders(ids)}" for problem, ids in clocks.items()}
    return [f"{number} {problem}{names.get(problem, '')}" for problem, number in sorted(problems.items())]


def _of_period(
    tables: Sequence[pd.DataFrame], folder: Path, since: datetime | None, until: datetime | None
) -> pd.DataFrame:
    """The rows of all tables in a period, without those that were erased."""
    found = without_erased(pd.concat(tables, ignore_index=True), folder)
    if since is not None:
        found = found[found["time"] >= since]
    if until is not None:
        found = found[found["time"] < until]
    return found


def require_folder(folder: Path) -> None:
    """Raise a `DataError` if a folder of records does not exist."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder of records. A server writes them if MELANOMA_RECORDS names a folder."
        )


def table(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per record, with the columns of `Records.rows`."""
    rows = frame(records, texts=TEXTS, numbers=NUMBERS)
    for prefix, name in ((FACT, "facts"), (MILLISECONDS, "milliseconds")):
        found = pd.DataFrame([one.get(name) or {} for one in records], index=rows.index, dtype="float64")
        rows = rows.join(found.add_prefix(prefix))
    coded = [one.get("embedding") for one in records]
    decoded = [None if text is None else base64.b64decode(text) for text in coded]
    return rows.assign(embedding=pd.Series(decoded, index=rows.index, dtype=object))


def compact(spool: Path, folder: Path) -> Compacted:
    """Turn the files of a spool that no process has open into Parquet, and remove them; move kept images.

    Args:
        spool: Folder of the spool.
        folder: Folder of the compacted records.

    Raises:
        DataError: Another process compacts this spool.
    """
    num_rows = num_files = num_in_use = 0
    problems, named = Counter[str](), set[str]()
    clocks: dict[str, list[str]] = {}
    with files.exclusive_lock(spool / LOCK, f"the records in {spool}"):
        for path in sorted(spool.glob(f"*{SUFFIX}")):
            with _unused(path) as is_unused:
                if not is_unused:
                    num_in_use += 1
                    continue
                lines = parse(path.read_bytes())
                problems += lines.problems
                if lines.unreadable:
                    files.write_bytes(lines.unreadable, folder / UNREADABLE / path.name)
                left = without_erased(table(lines.answers), folder)
                for problem, ids in clock_problems(left).items():
                    clocks.setdefault(problem, []).extend(ids)
                    problems[problem] += len(ids)
                _write(left, folder / ANSWERS, path.stem)
                _write(without_erased(shadows.table(lines.shadows), folder), folder / SHADOWS, path.stem)
                named |= set(left["image_sha256"])
                path.unlink()
                num_rows, num_files = num_rows + len(lines.answers), num_files + 1
        _move_images(spool, folder, named)
    return Compacted(num_rows, num_files, num_in_use, problems, clocks)


def expire(folder: Path, before: date, *, spool: Path | None = None) -> int:
    """Remove all compacted records of days before a date, and the images that no record is left of.

    Returns:
        The number of records removed.
    """
    num_rows = 0
    for path in _compacted(folder, ANSWERS, SHADOWS):
        if date.fromisoformat(path.parent.name) < before:
            num_rows += len(_read_parquet(path)) if _is_answers(path) else 0
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    for path in folder.glob(f"{UNREADABLE}/[!.]*"):
        if datetime.fromtimestamp(path.stat().st_mtime, UTC).date() < before:
            path.unlink()
    _remove_images(folder, spool)
    return num_rows


def erase(folder: Path, *, group_key: str, now: datetime, spool: Path | None = None) -> int:
    """Remove all records of a patient or lesion until now, and their images.

    Records in files that a server has open are left out by `read` at once, and removed when they are
    compacted. Records whose time lies in the future, because a clock was ahead, are removed, too.

    Args:
        folder: Folder of the compacted records.
        group_key: Keyed hash of the group id, see `serving.records.group_key`.
        now: Time, with a time zone; records written later stay, unless a clock was ahead of their time.
        spool: Folder of the spool.

    Returns:
        The number of compacted records removed.

    Raises:
        DataError: Another process compacts the spool.
    """
    require_folder(folder)
    rows = read(folder, spool=spool).rows
    until = max([now, *rows.loc[rows["group_key"] == group_key, "time"]])
    files.write_text(until.isoformat(), folder / ERASED / group_key)
    with nullcontext() if spool is None else files.exclusive_lock(spool / LOCK, f"the records in {spool}"):
        num_rows = apply_erasures(folder)
        for path in folder.glob(f"{UNREADABLE}/[!.]*"):
            lines = path.read_bytes().splitlines(keepends=True)
            left = [line for line in lines if group_key.encode() not in line]
            if len(left) < len(lines):
                files.write_bytes(b"".join(left), path)
        _remove_images(folder, spool)
    return num_rows


def apply_erasures(folder: Path) -> int:
    """Remove the compacted records of all erased groups; returns their number."""
    num_rows = 0
    for path in _compacted(folder, ANSWERS, SHADOWS):
        rows = _read_parquet(path)
        left = without_erased(rows, folder)
        if len(left) < len(rows):
            num_rows += len(rows) - len(left) if _is_answers(path) else 0
            files.write_parquet(left, path)
    return num_rows


def without_erased(rows: pd.DataFrame, folder: Path, *, name: str = "group_key") -> pd.DataFrame:
    """The rows but those of groups that were erased after them.

    Args:
        rows: Rows with a `time`.
        folder: Folder of the compacted records.
        name: Column of the group key.
    """
    is_erased = pd.Series(False, index=rows.index)
    for path in folder.glob(f"{ERASED}/[!.]*"):
        until = datetime.fromisoformat(path.read_text(encoding="utf-8"))
        is_erased |= rows[name].eq(path.name).fillna(False).astype(bool) & (rows["time"] <= until)
    return rows[~is_erased].reset_index(drop=True)


def _compacted(folder: Path, *kinds: str) -> list[Path]:
    return sorted(path for kind in kinds for path in folder.glob(f"{kind}/*/[!.]*.parquet"))


def _is_answers(path: Path) -> bool:
    return path.parents[1].name == ANSWERS


def _move_images(spool: Path, folder: Path, named: set[str]) -> None:
    """Move the images that compacted records name; remove old ones that no record in the spool names."""
    in_use = [table(parse(_content(path)).answers)["image_sha256"] for path in spool.glob(f"*{SUFFIX}")]
    waiting = {name for names in in_use for name in names}
    for path in (spool / IMAGES).glob("*"):
        if path.name in named:
            files.write_bytes(path.read_bytes(), folder / IMAGES / path.name)
        is_old = time.time() - path.stat().st_mtime > ORPHAN_SECONDS  # a server may be writing it
        if path.name not in waiting and (path.name in named or is_old):
            path.unlink()


def _content(path: Path) -> bytes:
    """The content of a file; nothing if it was compacted or removed meanwhile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _remove_images(folder: Path, spool: Path | None) -> None:
    """Remove the image files that no record names."""
    places = [place / IMAGES for place in (folder, spool) if place is not None]
    kept = [path for place in places for path in place.glob("[!.]*")]
    if kept:
        named = set(read(folder, spool=spool).rows["image_sha256"])
        for path in kept:
            if path.name not in named:
                path.unlink()


def _write(rows: pd.DataFrame, folder: Path, stem: str) -> None:
    for day, of_day in rows.groupby(rows["time"].dt.date):
        files.write_parquet(of_day.reset_index(drop=True), folder / str(day) / f"{stem}.parquet")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as records: {error}") from error
    name = ANSWER_ID if _is_answers(path) else SHADOW_ID
    if name not in rows or "time" not in rows:
        raise DataError(f"{path} holds no records: it has no columns {name} and time.")
    # Parquet gives another object for UTC than `table`, and pandas would mix both to a column of objects.
    return rows.assign(time=rows["time"].dt.tz_convert(UTC))


def _may_hold(path: Path, since: datetime | None, until: datetime | None) -> bool:
    """Whether a file may hold records of a period, by the day that its folder names."""
    day = date.fromisoformat(path.parent.name)
    starts_late = until is not None and day > until.astimezone(UTC).date()
    return not starts_late and (since is None or day >= since.astimezone(UTC).date())


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Whether no process has a file of the spool open; none writes to it while the block runs."""
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(file)
