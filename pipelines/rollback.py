"""Put the version back that held an alias before, and enter who did it and why.

Run as `python -m pipelines.rollback melanoma-ph2 --by "A. Name" --reason "…"` (of `production`, unless
`--alias staging`). A second rollback goes further back, unless it was started before the first had ended.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from melanoma.errors import TrackingError
from melanoma.registry import ledger, moves, versions
from melanoma.stages import alias_moves
from pipelines import STARTED_AT, _cli


def main(argv: Sequence[str] | None = None, *, started_at: datetime | None = None) -> int:
    """Move the alias back, unless somebody moved it after `started_at` (by default, now)."""
    parser = _cli.parser(__doc__)
    alias_moves.add_who_and_why(parser)
    parser.add_argument(
        "--alias", choices=(versions.PRODUCTION, versions.STAGING), default=versions.PRODUCTION
    )
    parser.add_argument(
        "--from",
        dest="expected",
        type=int,
        metavar="VERSION",
        help="refuse unless this one holds the alias now",
    )
    args = parser.parse_args(argv)

    started_at = started_at or datetime.now(UTC)
    with moves.exclusive(args.model) as mended:
        current, target = _current_and_target(args.model, args.alias)
        _require_held(args, current)
        if args.expected is None:
            last = ledger.moves(args.model, args.alias)[-1]
            was_mended = last.run_id in {entry.run_id for entry in mended}  # its end is of just now
            _require_older(args, last, last.at if was_mended else last.ended_at, started_at)
        with tempfile.TemporaryDirectory(prefix="rollback-") as folder:
            versions.require_untouched(versions.get_version(args.model, target), Path(folder))
        moves.move_alias(
            args.model,
            args.alias,
            target,
            kind=ledger.ROLLBACK,
            by=args.by,
            reason=args.reason,
            evidence={"rolled_back_from": current},
        )
    _cli.say("rollback", f"{args.model}: {args.alias} is version {target} again, version {current} before")
    return 0


def _require_held(args: argparse.Namespace, current: int) -> None:
    if args.expected not in (None, current):
        raise TrackingError(
            f"The alias {args.alias} of {args.model} is held by version {current}, not by version "
            f"{args.expected}. Nothing was moved. See `python -m pipelines.history {args.model}`."
        )


def _require_older(
    args: argparse.Namespace, last: ledger.Entry, moved_at: datetime | None, started_at: datetime
) -> None:
    """Two people who roll back at once mean one step: the second one must learn of the first."""
    if moved_at is not None and moved_at >= started_at:
        raise TrackingError(
            f"Nothing was moved: after this rollback was started, {last.tags['by']} moved the alias "
            f"{args.alias} of {args.model} from version {last.previous} to version {last.version} "
            f"({last.kind}: {last.tags['reason']}). To go further back, run the same command again."
        )


def _current_and_target(name: str, alias: str) -> tuple[int, int]:
    holder, way = moves.holder_of(name, alias), moves.rollback_targets(name, alias)
    if holder is None:
        raise TrackingError(f"No version of {name} holds the alias {alias}: there is nothing to roll back.")
    if not way or way[-1] != holder:
        known = f"version {way[-1]}" if way else "none"
        raise TrackingError(
            f"The alias {alias} of {name} holds version {holder}, but the ledger says {known}: it was moved "
            "by other means. Nothing was moved. Release the version you want: `python -m pipelines.release`."
        )
    if len(way) < 2:
        raise TrackingError(
            f"Before version {holder} nothing held the alias {alias} of {name}: there is no way back."
        )
    return holder, way[-2]


if __name__ == "__main__":
    sys.exit(_cli.run(partial(main, started_at=STARTED_AT)))
