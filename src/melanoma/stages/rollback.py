"""Command `rollback`: put the version back that held an alias before."""

import tempfile
from datetime import datetime
from pathlib import Path

from melanoma.errors import TrackingError
from melanoma.registry import ledger, moves, versions


def run(name: str, alias: str, *, by: str, reason: str, expected: int | None, started_at: datetime) -> str:
    """Move an alias back and record the move; return a report.

    Args:
        name: Name of the registered model.
        alias: `staging`, `production` or `staging-<clinic>`.
        by: Person who answers for the rollback.
        reason: Reason in words.
        expected: Version that must hold the alias; None accepts any unless the alias moved since
            `started_at`.
        started_at: Start of the command, UTC.

    Raises:
        TrackingError: There is no earlier version, its files were changed, or somebody else moved the alias.
    """
    with moves.exclusive(name) as repaired:
        current, target = _current_and_target(name, alias)
        if expected not in (None, current):
            raise TrackingError(
                f"The alias {alias} of {name} points to version {current}, expected version {expected}. "
                f"Nothing was moved. See `python -m pipelines.history {name}`."
            )
        if expected is None:
            last = ledger.moves(name, alias)[-1]
            is_repaired = last.run_id in {entry.run_id for entry in repaired}  # it was ended just now
            _require_older(last, last.at if is_repaired else last.ended_at, started_at)
        with tempfile.TemporaryDirectory(prefix="rollback-") as folder:
            versions.require_untouched(versions.get_version(name, target), Path(folder))
        moves.move_alias(
            name,
            alias,
            target,
            kind=ledger.ROLLBACK,
            by=by,
            reason=reason,
            evidence={"rolled_back_from": current},
        )
    return f"{name}: {alias} is version {target} again, version {current} before"


def _require_older(last: ledger.Entry, moved_at: datetime | None, started_at: datetime) -> None:
    """Refuse if the alias was moved after this rollback was started: two people mean the same step."""
    if moved_at is not None and moved_at >= started_at:
        tags = last.tags
        raise TrackingError(
            f"Nothing was moved: after this rollback was started, {tags['by']} moved the alias {last.alias} "
            f"of {tags['registered_model']} from version {last.previous} to version {last.version} "
            f"({last.kind}: {tags['reason']}). To go further back, run the same command again."
        )


def _current_and_target(name: str, alias: str) -> tuple[int, int]:
    holder, targets = moves.holder_of(name, alias), moves.rollback_targets(name, alias)
    if holder is None:
        raise TrackingError(f"No version of {name} has the alias {alias}, so there is nothing to roll back.")
    if not targets or targets[-1] != holder:
        recorded = f"version {targets[-1]}" if targets else "none"
        raise TrackingError(
            f"The alias {alias} of {name} points to version {holder}, but the ledger says {recorded}: it "
            "was moved outside this project. Nothing was moved. Release the version you want: `python -m "
            "pipelines.release`."
        )
    if len(targets) < 2:
        raise TrackingError(
            f"No version of {name} had the alias {alias} before version {holder}, so there is no version to "
            "go back to."
        )
    return holder, targets[-2]
