"""A registry of its own for a test: a real store with versions of a tiny model."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from melanoma import tracking
from melanoma.fingerprint import FILES_TAG, digest_of_files, sha256_of_file
from melanoma.registry import ledger, moves, versions

NAME = "melanoma-ph2"


class Who(TypedDict):
    """Who moves an alias, and why."""

    by: str
    reason: str


WHO: Who = {"by": "A. Name", "reason": "tried by hand"}


@dataclass(frozen=True)
class Shelf:
    """The store in `folder`, which is the current one."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"

    def register(self, name: str = NAME, **tags: str | None) -> int:
        """A version with files of its own and all tags that `promote` gives; a tag of None is left out."""
        store = tracking.client()
        run = store.create_run(tracking.experiment_id(store, "models"))
        model = self.folder / "models" / run.info.run_id
        (model / "artifacts").mkdir(parents=True)
        (model / "artifacts" / "model.onnx").write_text(f"network of {run.info.run_id}")
        (model / "code" / "melanoma").mkdir(parents=True)
        (model / "code" / "melanoma" / "schema.py").write_text("CLASSES = ()")
        (model / "artifacts" / "settings.json").write_text(f'{{"run": "{run.info.run_id}"}}')
        store.log_artifacts(run.info.run_id, str(model), "model")
        store.set_terminated(run.info.run_id)
        all_tags = {
            "gate": "passed",
            "run_id": run.info.run_id,
            versions.NETWORK_TAG: sha256_of_file(model / "artifacts" / "model.onnx"),
            versions.SETTINGS_TAG: sha256_of_file(model / "artifacts" / "settings.json"),
            FILES_TAG: digest_of_files(model),
        } | tags
        if not store.search_registered_models(f"name = '{name}'"):
            store.create_registered_model(name)
        made = store.create_model_version(
            name,
            f"{run.info.artifact_uri}/model",
            run_id=run.info.run_id,
            tags={key: value for key, value in all_tags.items() if value is not None},
        )
        return int(made.version)

    def model(self, number: int) -> Path:
        """Where a version lies in the artifact store."""
        source = tracking.client().get_model_version(NAME, str(number)).source
        return Path(source.removeprefix("file://"))

    def artifact(self, number: int, file: str) -> Path:
        """Where a file of a version lies in the artifact store."""
        return self.model(number) / "artifacts" / file

    def move(self, number: int, *, alias: str = versions.STAGING, kind: str = ledger.PROMOTE) -> int | None:
        with moves.exclusive(NAME):
            return moves.move_alias(NAME, alias, number, kind=kind, evidence={}, **WHO)

    def enter_unfinished(self, number: int, *, alias: str = versions.STAGING) -> str:
        """As a move leaves it that a kill interrupted before the alias was moved."""
        tags = {"alias": alias, "version": number, "previous_version": moves.holder_of(NAME, alias)}
        return ledger.add(NAME, ledger.PROMOTE, tags=tags, evidence={}, is_over=False, **WHO)

    def set_time(self, run_id: str, at: datetime) -> None:
        """Let an entry have been made at another time, which no call of MLflow can."""
        with closing(sqlite3.connect(self.database)) as database, database:
            milliseconds = int(at.timestamp() * 1000)
            query = "UPDATE runs SET start_time = ? WHERE run_uuid = ?"
            assert database.execute(query, (milliseconds, run_id)).rowcount == 1
