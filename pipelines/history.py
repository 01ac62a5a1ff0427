"""Print who moved which alias of a registered model when and why, and what was served on a day.

Run as `python -m pipelines.history melanoma-ph2 [--alias production] [--on 2026-05-17]`. Changes nothing.
Days are those of UTC.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from rich.console import Console
from rich.table import Table

from melanoma.errors import DataError, first_offenders
from melanoma.registry import ledger, moves, versions
from melanoma.stages import alias_moves
from pipelines import _cli

ALIASES = (versions.STAGING, versions.PRODUCTION)
SHOWN_WIDTH = 160  # where no terminal says how wide it is


def main(argv: Sequence[str] | None = None) -> int:
    """Print the ledger of a model."""
    parser = _cli.parser(__doc__)
    alias_moves.add_model(parser)
    parser.add_argument("--alias", choices=ALIASES, help="only this one")
    parser.add_argument(
        "--on", type=date.fromisoformat, metavar="YYYY-MM-DD", help="what was served that day"
    )
    args = parser.parse_args(argv)

    width = None if sys.stdout.isatty() else SHOWN_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)  # reasons are shown as written
    _require_past(args.on)
    entries = ledger.entries(args.model)
    _warn_of_deleted(console, args.model)
    if not entries:
        versions.require_model(args.model)
    if args.on is None:
        console.print(_table(args.model, [entry for entry in entries if args.alias in (None, entry.alias)]))
        console.print(_looks(entries))
    for alias in ALIASES if args.alias is None else (args.alias,):
        done = ledger.moves(args.model, alias)
        if args.on is not None:
            for line in _served(alias, done, args.on):
                console.print(line, soft_wrap=True)
        _warn(console, args.model, alias, done)
    return 0


def _table(name: str, entries: list[ledger.Entry]) -> Table:
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


def _looks(entries: list[ledger.Entry]) -> str:
    digests = sorted({entry.tags["test_digest"] for entry in entries if entry.kind == ledger.LOOK})
    lines = [f"test split {digest[:12]}: {_in_words(ledger.count_looks(digest))}" for digest in digests]
    return "\n".join(lines) or "no look at a test split was entered"


def _in_words(looks: ledger.Looks) -> str:
    return f"{looks.num_looks} looks at {looks.num_models} models, {looks.num_choices} of them to choose"


def _served(alias: str, done: list[ledger.Entry], day: date) -> list[str]:
    """The versions that held an alias at any time of a day, with from and to."""
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


def _require_past(day: date | None) -> None:
    if day is not None and day > datetime.now(UTC).date():
        raise DataError(f"{day} lies in the future: nothing was served then. Name a day up to today (UTC).")


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"


def _warn_of_deleted(console: Console, name: str) -> None:
    deleted = ledger.entries(name, is_deleted=True)
    if deleted:
        console.print(
            f"warning: {len(deleted)} entries were deleted in the tracking store, so what follows is not the "
            "whole history. Bring each back with `mlflow runs restore --run-id <id>`: "
            f"{first_offenders(entry.run_id for entry in deleted)}",
            soft_wrap=True,
        )


def _warn(console: Console, name: str, alias: str, done: list[ledger.Entry]) -> None:
    holder, last = moves.holder_of(name, alias), done[-1].version if done else None
    if holder != last:
        console.print(
            f"warning: {alias} holds {_version(holder)}, but the ledger's last entry says {_version(last)}: "
            "it was moved by other means",
            soft_wrap=True,
        )


if __name__ == "__main__":
    sys.exit(_cli.run(main))
