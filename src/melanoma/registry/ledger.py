"""What was done with registered models, in order, for ever: one run an entry in an experiment of its own.

MLflow keeps no history of aliases. Entries are only ever added: a move is entered as RUNNING before the
alias moves, and ended afterwards; an ended entry is not touched again.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import Run, ViewType

from melanoma.lineage import commit_tags
from melanoma.tracking import FAILED, FINISHED, NAME_TAG, PAGE, RUNNING, client, experiment_id

EXPERIMENT = "registry-ledger"
LOOK, REFUSAL = "look", "refusal"
PROMOTE, RELEASE, ROLLBACK = "promote", "release", "rollback"
MOVES = (PROMOTE, RELEASE, ROLLBACK)
CHOOSING = "promote"  # the purpose of looks by which a model is chosen
EVIDENCE = "evidence.json"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        run_id: Of the run that holds it; its artifact `evidence.json` is what it rests on.
        kind: `promote`, `release`, `rollback` (moves of an alias), `refusal` or `look`.
        at: When it was entered, UTC.
        status: `RUNNING` (a move under way, or one that a kill cut off), `FINISHED`, or `FAILED`.
        tags: All that it says, as words.
        ended_at: When it was ended, UTC; None while it is under way.
    """

    run_id: str
    kind: str
    at: datetime
    status: str
    tags: Mapping[str, str]
    ended_at: datetime | None = None

    @property
    def alias(self) -> str:
        """The alias that moves; empty where none does."""
        return self.tags.get("alias", "")

    @property
    def version(self) -> int | None:
        """The version that it is about: of a move, the one that holds the alias afterwards."""
        return _number(self.tags.get("version", ""))

    @property
    def previous(self) -> int | None:
        """Of a move: the version that held the alias before, if any."""
        return _number(self.tags.get("previous_version", ""))

    @property
    def host(self) -> str:
        """The machine and user that entered it, see `here`."""
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
    """Enter something.

    Args:
        name: Of the registered model.
        kind: See `Entry`.
        by: Who did it, a person or a script.
        reason: In words.
        tags: What is searched for; None becomes empty.
        evidence: What it rests on, for JSON.
        is_over: Otherwise the entry stays RUNNING until `end`.

    Returns:
        The id of its run.

    Raises:
        TrackingError: The store does not answer, or the ledger was deleted there.
    """
    store = client()
    said = {
        NAME_TAG: f"{kind} {name}",
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


def here() -> str:
    """This machine and user: whose processes one lock file keeps apart."""
    return f"{platform.node()} (user {os.getuid()})"


def end(run_id: str, *, problem: str | None = None) -> None:
    """Close an entry: FINISHED, or FAILED with the problem in words."""
    store = client()
    if problem is not None:
        store.set_tag(run_id, "problem", problem)
    store.set_terminated(run_id, FINISHED if problem is None else FAILED)


def entries(name: str | None = None, *, is_deleted: bool = False, **tags: str) -> list[Entry]:
    """Entries of one registered model, or of all; the oldest first.

    Args:
        name: Of the registered model.
        is_deleted: Those that somebody deleted in the store, instead of the others.
        tags: Which they must have.
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


def moves(name: str, alias: str | None = None, *, status: str = FINISHED) -> list[Entry]:
    """Moves of a model's aliases, or of one, that have this status; the oldest first."""
    return [
        entry
        for entry in entries(name)
        if entry.kind in MOVES and entry.status == status and alias in (None, entry.alias)
    ]


def unfinished(name: str) -> list[Entry]:
    """Moves that were entered and not ended."""
    return moves(name, status=RUNNING)


def test_digest(image_ids: Iterable[str]) -> str:
    """What a test split is recognised by, whatever the model: its images."""
    return hashlib.sha256("\n".join(sorted(image_ids)).encode()).hexdigest()


@dataclass(frozen=True)
class Looks:
    """How often a test split has been looked at.

    Attributes:
        num_looks: All of them.
        num_models: Different models that were looked at.
        num_choices: Looks by which a model was promoted or refused.
    """

    num_looks: int
    num_models: int
    num_choices: int


def record_look(name: str, *, test_digest: str, model_digest: str, purpose: str, run_id: str) -> None:
    """Enter that a model was scored on a test split.

    Args:
        name: Of the registered model.
        test_digest: From `test_digest`.
        model_digest: Which model: the same one twice is one model, two looks.
        purpose: `evaluate` or `promote`.
        run_id: Of the model.
    """
    tags = {"test_digest": test_digest, "model_digest": model_digest, "purpose": purpose, "run_id": run_id}
    add(name, LOOK, by=f"pipelines.{purpose}", reason=f"scored to {purpose}", tags=tags, evidence={})


def count_looks(test_digest: str) -> Looks:
    """Over all models and cohorts that were tested on just these images."""
    found = entries(kind=LOOK, test_digest=test_digest)
    return Looks(
        num_looks=len(found),
        num_models=len({entry.tags["model_digest"] for entry in found}),
        num_choices=sum(entry.tags["purpose"] == CHOOSING for entry in found),
    )
