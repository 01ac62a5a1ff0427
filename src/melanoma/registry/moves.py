"""Moving an alias so that it and the ledger agree, whatever is killed and whoever else moves.

A move is entered, then carried out, then its entry ended. On one machine a lock lets one process of a user
at a time in; a move that another machine or user has under way is seen by its entry. Two that enter at the
same instant are the limit: each sees the other's entry and gives up. So are containers of one host name that
share no temporary folder: they take each other's moves for cut off.
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
from melanoma.tracking import clear_errors, client

WAIT_SECONDS = 900.0  # for another process of this machine: a promotion takes less than a minute
STALE_AFTER = timedelta(minutes=15)  # a move of another machine that has not ended by then was cut off


@contextmanager
def exclusive(name: str, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[list[ledger.Entry]]:
    """Be the only one who changes aliases of a registered model, and first mend what a kill left behind.

    Yields:
        The entries that were mended.

    Raises:
        TrackingError: Another process or machine is at it and does not come to an end.
    """
    path = _lock_path(name)
    try:
        with FileLock(path, timeout=wait_seconds), clear_errors(f"aliases of {name} were changed"):
            yield repair(name)
    except Timeout as error:
        raise TrackingError(
            f"Another process has been changing aliases of {name} for more than {wait_seconds:g} s and holds "
            f"{path}. Wait for it, or stop it, then run the same command again: what it left is mended then."
        ) from error


def _lock_path(name: str) -> Path:
    """One for each model of each store; a folder a user, as no user may lock the files of another."""
    store = client().tracking_uri
    if (file := file_of(store)) is not None:  # one file, whichever way it is named
        store = str(file.resolve())
    folder = Path(tempfile.gettempdir()) / f"melanoma-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{hashlib.sha256(f'{store} {name}'.encode()).hexdigest()[:16]}.lock"


def repair(name: str) -> list[ledger.Entry]:
    """End entries of moves that were cut off: as carried out where the alias shows it, else as failed.

    Returns:
        The entries.

    Raises:
        TrackingError: A move of another machine is under way.
    """
    found = ledger.unfinished(name)
    for entry in found:
        _require_cut_off(name, entry)
        holder = holder_of(name, entry.alias)
        is_done = holder is not None and holder == entry.version
        ledger.end(entry.run_id, problem=None if is_done else "cut off before the alias moved")
    return found


def _require_cut_off(name: str, entry: ledger.Entry) -> None:
    """Those of this machine and user are: the lock is ours."""
    is_ours = entry.host == ledger.here()
    if not is_ours and datetime.now(UTC) - entry.at < STALE_AFTER:
        raise TrackingError(
            f"{entry.host} has been moving the alias {entry.alias} of {name} to version {entry.version} "
            f"since {entry.at:%H:%M:%S} UTC. Wait until it is done, then run the same command again. A move "
            f"that takes longer than {STALE_AFTER.seconds // 60} minutes counts as cut off."
        )


def holder_of(name: str, alias: str) -> int | None:
    """The number of the version that holds an alias now."""
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
) -> int | None:
    """Let `alias` point to `version` and enter it; call it inside `exclusive`.

    Args:
        name: Of the registered model.
        alias: `staging` or `production`.
        version: Its number.
        kind: Of `ledger.MOVES`.
        by: Who moves it.
        reason: In words.
        evidence: What it rests on.

    Returns:
        The version that held the alias before. Where `version` holds it already nothing is entered, unless
        somebody moved it outside the ledger.

    Raises:
        TrackingError: The store does not answer, or somebody else moved the alias meanwhile.
    """
    previous = holder_of(name, alias)
    last = ledger.moves(name, alias)[-1:]
    if previous == version and last and last[0].version == version:
        return previous
    digest = versions.get_version(name, version).tags.get(FILES_TAG)
    tags = {"alias": alias, "version": version, "previous_version": previous, FILES_TAG: digest}
    entered = ledger.add(name, kind, by=by, reason=reason, tags=tags, evidence=evidence, is_over=False)
    rivals = [entry for entry in ledger.unfinished(name) if entry.run_id != entered]
    if rivals or holder_of(name, alias) != previous:
        problem = f"another move of {name} came in between"
        ledger.end(entered, problem=problem)
        raise TrackingError(f"The alias {alias} was not moved: {problem}. Run the same command again.")
    versions.set_alias(name, alias, str(version))
    if holder_of(name, alias) != version:
        ledger.end(entered, problem="the alias held another version right after it was set")
        raise TrackingError(
            f"The alias {alias} of {name} was set to version {version}, but somebody moved it at once. See "
            f"`python -m pipelines.history {name}`, then run the same command again."
        )
    ledger.end(entered)
    return previous


def rollback_targets(name: str, alias: str) -> list[int]:
    """The versions that rollbacks of an alias lead back to, the one that holds it now last.

    A rollback takes the last one away, any other move adds one.
    """
    way: list[int] = []
    for entry in ledger.moves(name, alias):
        if entry.kind == ledger.ROLLBACK and len(way) > 1:
            way.pop()
            continue
        if entry.previous != (way[-1] if way else None):  # it was moved outside the ledger in between
            way = [] if entry.previous is None else [entry.previous]
        if entry.version is not None:
            way.append(entry.version)
    return way
