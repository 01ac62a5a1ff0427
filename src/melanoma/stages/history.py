"""Command `history`: print the ledger of a registered model, or the versions served on a day."""

import sys
from datetime import UTC, date, datetime, time, timedelta

from rich.console import Console
from rich.table import Table

from melanoma.errors import DataError, first_offenders
from melanoma.evaluation.headline import looks_in_words
from melanoma.registry import ledger, looks, moves, versions

SHOWN_WIDTH = 160  # columns, where standard output is not a terminal


def print_history(name: str, *, alias: str | None, day: date | None) -> None:
    """Print moves, refusals and looks at test sets; with `day`, which versions were served on it.

    Args:
        name: Name of the registered model.
        alias: `staging`, `production` or `staging-<clinic>`; None shows all.
        day: A day in UTC.

    Raises:
        DataError: `day` lies in the future.
        TrackingError: There is no such model.
    """
    if day is not None and day > datetime.now(UTC).date():
        raise DataError(f"{day} is in the future; expected a day up to today (UTC).")
    width = None if sys.stdout.isatty() else SHOWN_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)  # reasons are shown as written
    entries = ledger.entries(name)
    _warn_of_deleted_entries(console, name)
    if not entries:
        versions.require_model(name)
    if day is None:
        shown = [entry for entry in entries if alias in (None, entry.alias)]
        console.print(_ledger_table(name, shown))
        console.print(_looks(name))
    of_clinics = {entry.alias for entry in entries if entry.kind == ledger.RECALIBRATE}
    every = (versions.STAGING, versions.PRODUCTION, *sorted(of_clinics))
    for one in every if alias is None else (alias,):
        done = ledger.moves(name, one)
        if day is not None:
            for line in _served_on(one, done, day):
                console.print(line, soft_wrap=True)
        _warn_of_other_moves(console, name, one, done)


def _ledger_table(name: str, entries: list[ledger.Entry]) -> Table:
    table = Table(title=f"{name}: moves and refusals, oldest first (UTC)")
    for column in ("when", "what", "alias", "from", "to", "by", "reason", "outcome"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        if entry.kind == ledger.LOOK:
            continue
        outcome = entry.tags.get("problem", "under way" if entry.status == "RUNNING" else "done")
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            entry.kind,
            entry.alias,
            "" if entry.previous is None else str(entry.previous),
            "" if entry.version is None else str(entry.version),
            entry.tags["by"],
            entry.tags["reason"],
            outcome,
        )
    return table


def _looks(name: str) -> str:
    found = looks.count_by_set(name)
    lines = [f"test set {digest[:12]}: {looks_in_words(vars(count))}" for digest, count in found.items()]
    return "\n".join(lines) or "no use of a test set is recorded"


def _served_on(alias: str, done: list[ledger.Entry], day: date) -> list[str]:
    """The versions that held an alias at any time of a day, each with its period."""
    begin = datetime.combine(day, time(), UTC)
    end = begin + timedelta(days=1)
    ends = [*(entry.at for entry in done[1:]), min(end, datetime.now(UTC))]
    lines = [
        f"{alias} on {day}: version {entry.version} from {max(entry.at, begin):%H:%M:%S} to "
        f"{'24:00:00' if until >= end else f'{until:%H:%M:%S}'} UTC ({entry.kind} by {entry.tags['by']})"
        for entry, until in zip(done, ends, strict=False)
        if entry.at < end and until > begin
    ]
    if done and done[0].previous is not None and done[0].at > begin:
        until = f"{done[0].at:%H:%M:%S}" if done[0].at < end else "24:00:00"
        lines.insert(0, f"{alias} on {day}: perhaps version {done[0].previous} until {until} UTC (no entry)")
    return lines or [f"{alias} on {day}: no version"]


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"


def _warn_of_deleted_entries(console: Console, name: str) -> None:
    deleted = ledger.entries(name, is_deleted=True)
    if deleted:
        console.print(
            f"warning: {len(deleted)} entries were deleted in the tracking store, so this history is "
            "incomplete. Restore each with `mlflow runs restore --run-id <id>`: "
            f"{first_offenders(entry.run_id for entry in deleted)}",
            soft_wrap=True,
        )


def _warn_of_other_moves(console: Console, name: str, alias: str, done: list[ledger.Entry]) -> None:
    holder, last = moves.holder_of(name, alias), done[-1].version if done else None
    if holder != last:
        console.print(
            f"warning: {alias} points to {_version(holder)}, but the last entry of the ledger is "
            f"{_version(last)}: the alias was moved outside this project",
            soft_wrap=True,
        )
