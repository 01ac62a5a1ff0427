"""Append-only ledger of registered models: each entry is a run of the experiment `registry-ledger`.

MLflow keeps no history of aliases. A move is recorded as RUNNING before the alias moves and ended afterwards;
an ended entry is never changed.
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run, ViewType

from melanoma import tracking
from melanoma.lineage import commit_tags
from melanoma.tracking import (
    FAILED,
    FINISHED,
    NAME_TAG,
    PAGE,
    RUNNING,
    client,
    experiment_id,
)
from melanoma.tracking_fields import own_fields

EXPERIMENT = "registry-ledger"
LOOK, REFUSAL = "look", "refusal"
MONITOR, PROPOSAL = "monitor", "proposal"
PROMOTE, ACCEPT, RELEASE, ROLLBACK = "promote", "accept", "release", "rollback"
RECALIBRATE = "recalibrate"
MOVES = (PROMOTE, ACCEPT, RELEASE, ROLLBACK, RECALIBRATE)
EVIDENCE = "evidence.json"


@dataclass(frozen=True)
class Entry:
    """An entry of the ledger.

    Attributes:
        run_id: MLflow run of the entry; its artifact `evidence.json` holds the evidence.
        kind: `promote`, `accept`, `release`, `rollback`, `recalibrate` (moves of an alias), `refusal`,
            `look`, `monitor` or `proposal`.
        at: Time of the record, UTC.
        status: `RUNNING` (a move in progress, or one that a kill interrupted), `FINISHED` or `FAILED`.
        tags: Content of the entry.
        ended_at: Time of the end, UTC; None while the entry is running.
    """

    run_id: str
    kind: str
    at: datetime
    status: str
    tags: Mapping[str, str]
    ended_at: datetime | None = None

    @property
    def alias(self) -> str:
        """The alias that moves; empty for other kinds."""
        return self.tags.get("alias", "")

    @property
    def version(self) -> int | None:
        """The version concerned: after a move, it holds the alias."""
        return _number(self.tags.get("version", ""))

    @property
    def previous(self) -> int | None:
        """The version that held the alias before a move; None if there was none."""
        return _number(self.tags.get("previous_version", ""))

    @property
    def host(self) -> str:
        """Machine and user of the process that recorded the entry, see `here`."""
        return self.tags.get("host", "")


def _number(text: str) -> int | None:
    return int(text) if text else None


def add(
    name: str,
    kind: str,
    *,
    by: str,
    reason: str,
    tags: Mapping[str, object],
    evidence: Mapping[str, Any],
    is_over: bool = True,
) -> str:
    """Add an entry.

    Args:
        name: Name of the registered model.
        kind: See `Entry`.
        by: Person or script.
        reason: Reason in words.
        tags: Searchable content; None becomes an empty text.
        evidence: Evidence, written as JSON.
        is_over: Whether to end the entry now; otherwise it stays RUNNING until `end`.

    Returns:
        Run id of the entry.

    Raises:
        TrackingError: The store does not answer, or the ledger was deleted there.
    """
    store = client()
    title = _title(kind, tags)
    said = {
        **own_fields(f"{name}: {title}, by {by}. Reason: {reason}."),
        NAME_TAG: title,
        "kind": kind,
        "registered_model": name,
        "by": by,
        "reason": reason,
        "host": here(),
        **commit_tags(),
        **{key: "" if value is None else value for key, value in tags.items()},
    }
    texts = {key: str(value)[:5000] for key, value in said.items()}
    run = store.create_run(experiment_id(store, EXPERIMENT), tags=texts)
    store.log_text(run.info.run_id, json.dumps(evidence, indent=2, default=str), EVIDENCE)
    if is_over:
        end(run.info.run_id)
    return str(run.info.run_id)


def _title(kind: str, tags: Mapping[str, object]) -> str:
    """What an entry is about: `promote version 3 to staging`, `look evaluate baseline`."""
    version = f"version {tags.get('version')}"
    titles = {
        LOOK: f"{LOOK} {tags.get('purpose')} {tags.get('model')}",
        PROMOTE: f"{PROMOTE} {version} to {tags.get('alias')}",
        ACCEPT: f"{ACCEPT} {version} to {tags.get('alias')}",
        RECALIBRATE: f"{RECALIBRATE} version {tags.get('recalibrated_from')} for {tags.get('clinic')}",
        ROLLBACK: f"{ROLLBACK} to {version}",
    }
    return titles.get(kind, f"{kind} {version}")


def here() -> str:
    """This machine and user; a lock file excludes only their processes."""
    return f"{platform.node()} (user {os.getuid()})"


def end(run_id: str, *, problem: str | None = None) -> None:
    """End an entry: FINISHED, or FAILED with the problem in words."""
    store = client()
    if problem is not None:
        store.set_tag(run_id, "problem", problem)
    store.set_terminated(run_id, FINISHED if problem is None else FAILED)


def entries(name: str | None = None, *, is_deleted: bool = False, **tags: str) -> list[Entry]:
    """Entries of a registered model, or of all models, oldest first.

    Args:
        name: Name of the registered model; None returns entries of all models.
        is_deleted: Return entries that were deleted in the store instead of the others.
        tags: Tags that the entries must have.
    """
    view = ViewType.DELETED_ONLY if is_deleted else ViewType.ACTIVE_ONLY
    store = client()
    ledger = experiment_id(store, EXPERIMENT)
    wanted = tags | ({"registered_model": name} if name else {})
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
    found: list[Entry] = []
    token: str | None = ""
    while token is not None:
        page = store.search_runs([ledger], query, view, PAGE, ["start_time ASC"], page_token=token or None)
        found += [_entry(run) for run in page]
        token = page.token or None
    return found


def _entry(run: Run) -> Entry:
    at, end = datetime.fromtimestamp(run.info.start_time / 1000, UTC), run.info.end_time
    ended_at = None if end is None else datetime.fromtimestamp(end / 1000, UTC)
    return Entry(run.info.run_id, run.data.tags["kind"], at, run.info.status, run.data.tags, ended_at)


def evidence(run_id: str) -> Any:
    """The evidence of an entry, read from JSON.

    Raises:
        TrackingError: The artifact is gone.
    """
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        return json.loads(
            tracking.download_run_file(run_id, EVIDENCE, Path(folder)).read_text(encoding="utf-8")
        )


def moves(name: str, alias: str | None = None, *, status: str = FINISHED) -> list[Entry]:
    """Moves of a model's aliases with a status, oldest first. `alias` selects one alias."""
    return [
        entry
        for entry in entries(name)
        if entry.kind in MOVES and entry.status == status and alias in (None, entry.alias)
    ]


def unfinished(name: str) -> list[Entry]:
    """Moves that were recorded but not ended."""
    return moves(name, status=RUNNING)
