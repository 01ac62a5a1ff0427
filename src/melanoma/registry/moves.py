"""Move an alias so that it agrees with the ledger, also after kills and with several writers.

A move is recorded, carried out, and then its entry is ended. A lock file admits one process of a user and
machine at a time; moves of other machines and users are seen by their running entries. Two limits remain:
when two moves are recorded at the same instant, both see each other and give up; and containers with the same
host name but without a common temporary folder take each other's moves for interrupted.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from melanoma.errors import TrackingError
from melanoma.fingerprint import FILES_TAG
from melanoma.project import file_of
from melanoma.registry import ledger, versions
from melanoma.tracking import client, explain_errors

WAIT_SECONDS = 900.0  # for another process of this machine; a promotion takes less than a minute
STALE_AFTER = timedelta(minutes=15)  # a move of another machine that has not ended by then was interrupted


@contextmanager
def exclusive(name: str, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[list[ledger.Entry]]:
    """Exclude others from changing aliases of a registered model; interrupted moves are repaired first.

    Yields:
        The repaired entries.

    Raises:
        TrackingError: Another process or machine has not finished in time.
    """
    path = _lock_path(name)
    try:
        with FileLock(path, timeout=wait_seconds), explain_errors(f"aliases of {name} were changed"):
            yield repair(name)
    except Timeout as error:
        raise TrackingError(
            f"Another process has held the lock {path} for more than {wait_seconds:g} s to change aliases "
            f"of {name}. Wait for it or stop it, then run the same command again: unfinished moves are "
            "repaired then."
        ) from error


def _lock_path(name: str) -> Path:
    """One lock per model and store, in a folder per user: users cannot lock each other's files."""
    store = client().tracking_uri
    if (file := file_of(store)) is not None:  # one file, whichever way it is named
        store = str(file.resolve())
    folder = Path(tempfile.gettempdir()) / f"melanoma-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{hashlib.sha256(f'{store} {name}'.encode()).hexdigest()[:16]}.lock"


def repair(name: str) -> list[ledger.Entry]:
    """End entries of interrupted moves: as finished if the alias has moved, else as failed.

    Returns:
        The entries.

    Raises:
        TrackingError: A move of another machine is in progress.
    """
    found = ledger.unfinished(name)
    for entry in found:
        _require_interrupted(name, entry)
        holder = holder_of(name, entry.alias)
        is_done = holder is not None and holder == entry.version
        ledger.end(entry.run_id, problem=None if is_done else "interrupted before the alias was moved")
    return found


def _require_interrupted(name: str, entry: ledger.Entry) -> None:
    """Refuse a recent move of another machine; one of this machine was interrupted, as we hold the lock."""
    is_ours = entry.host == ledger.here()
    if not is_ours and datetime.now(UTC) - entry.at < STALE_AFTER:
        raise TrackingError(
            f"{entry.host} has been moving the alias {entry.alias} of {name} to version {entry.version} "
            f"since {entry.at:%H:%M:%S} UTC. Wait until it is done, then run the same command again. After "
            f"{STALE_AFTER.seconds // 60} minutes a move counts as interrupted."
        )


def holder_of(name: str, alias: str) -> int | None:
    """Number of the version that holds an alias; None if none does."""
    version = versions.find_version(name, alias)
    return None if version is None else int(version.version)


def move_alias(
    name: str,
    alias: str,
    version: int,
    *,
    kind: str,
    by: str,
    reason: str,
    evidence: Mapping[str, Any],
    tags: Mapping[str, object] | None = None,
) -> int | None:
    """Let an alias point to a version and record the move; call it inside `exclusive`.

    Args:
        name: Name of the registered model.
        alias: `staging`, `production` or that of a clinic, `versions.staging_of`.
        version: Number of the version.
        kind: One of `ledger.MOVES`.
        by: Person or script.
        reason: Reason in words.
        evidence: Evidence for the ledger.
        tags: Further tags of the entry.

    Returns:
        The version that held the alias before. If `version` already holds it, nothing is recorded, unless the
        alias was moved outside the ledger.

    Raises:
        TrackingError: The store does not answer, or somebody else moved the alias in the meantime.
    """
    previous = holder_of(name, alias)
    last = ledger.moves(name, alias)[-1:]
    if previous == version and last and last[0].version == version:
        return previous
    digest = versions.get_version(name, version).tags.get(FILES_TAG)
    said = {
        **(tags or {}),
        "alias": alias,
        "version": version,
        "previous_version": previous,
        FILES_TAG: digest,
    }
    entered = ledger.add(name, kind, by=by, reason=reason, tags=said, evidence=evidence, is_over=False)
    rivals = [entry for entry in ledger.unfinished(name) if entry.run_id != entered]
    if rivals or holder_of(name, alias) != previous:
        problem = f"another process moved an alias of {name} at the same time"
        ledger.end(entered, problem=problem)
        raise TrackingError(f"The alias {alias} was not moved: {problem}. Run the same command again.")
    versions.set_alias(name, alias, str(version))
    if holder_of(name, alias) != version:
        ledger.end(entered, problem="another process moved the alias right after it was set")
        raise TrackingError(
            f"The alias {alias} of {name} was set to version {version}, but another process moved it right "
            f"after. See `python -m pipelines.history {name}`, then run the same command again."
        )
    ledger.end(entered)
    return previous


def rollback_targets(name: str, alias: str) -> list[int]:
    """The versions that rollbacks of an alias return to; the last one holds it now.

    A rollback removes the last version, any other move appends one.
    """
    targets: list[int] = []
    for entry in ledger.moves(name, alias):
        if entry.kind == ledger.ROLLBACK and len(targets) > 1:
            targets.pop()
            continue
        if entry.previous != (targets[-1] if targets else None):  # it was moved outside the ledger in between
            targets = [] if entry.previous is None else [entry.previous]
        if entry.version is not None:
            targets.append(entry.version)
    return targets
