"""MLflow runs and their artifacts.

The store is `MLFLOW_TRACKING_URI`, or `mlflow.db` in the project's top folder with artifacts in `mlruns`
beside it (see `project`). Runs are always addressed by id: MLflow's active run is global to a process, and
under `mlflow run` every stage would inherit one run and log into it.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.utils.time import get_current_time_millis
from sqlalchemy.exc import SQLAlchemyError

from melanoma import metric_names, project, store_home, store_server
from melanoma.errors import TrackingError
from melanoma.tracking_fields import Dataset, own_fields

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
# Without it, MLflow 3 shows an experiment as one of language models and hides its runs.
SHOWN_AS = {"mlflow.experimentKind": "custom_model_development"}
REFERRING_TAGS = ("run_id", "tuning_run_id", PARENT_TAG)  # tags that name another run
PAGE = 1000  # runs per request
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"  # status of a run


def client() -> MlflowClient:
    """A client of the configured store, which becomes the default store of MLflow.

    Raises:
        TrackingError: The store does not answer within seconds, or it was moved or copied.
    """
    uri = project.tracking_uri()
    file = project.file_of(uri)
    mlflow.set_tracking_uri(uri)
    try:
        store_server.require_answer(uri)
        with nullcontext() if file is None else store_home.opening(file):
            store = MlflowClient(uri)
            store.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(
            f"The tracking store {uri} does not answer: {error}. Start it, or set MLFLOW_TRACKING_URI to "
            f"another one (the default is {project.STORE} in the project's top folder)."
        ) from error
    return store


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """Turn errors of the store into a `TrackingError` that says what was being done."""
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingError(
            f"The tracking store failed while {what}: {error}. When it answers again, run the same command "
            "again: unfinished work is repaired then."
        ) from error


@dataclass(frozen=True)
class Run:
    """A run that is open for writing.

    Attributes:
        run_id: Id of the run.
    """

    run_id: str
    _client: MlflowClient = field(repr=False)

    def log_epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Log scores of one epoch, given by Keras's names; the step is the epoch, counted from 1."""
        self.log_metrics(metric_names.of_epoch(scores), step=epoch)

    def log_missing_epochs(self, history: pd.DataFrame) -> None:
        """Epochs of a training that the run has no loss of: a kill may come before they are logged.

        Args:
            history: One row per epoch: `epoch` (from 1), `loss` and other scores.
        """
        logged = self.logged_steps(metric_names.TRAINING_LOSS)
        for row in history.to_dict("records"):
            if row["epoch"] not in logged:
                self.log_epoch(int(row["epoch"]), {str(name): row[name] for name in row if name != "epoch"})

    def log_metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Log finite metrics; undefined ones are skipped, as MLflow cannot store them."""
        now = get_current_time_millis()
        metrics = [
            Metric(name, float(value), now, step)
            for name, value in values.items()
            if value is not None and float("-inf") < float(value) < float("inf")
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def logged_steps(self, name: str) -> set[int]:
        """Steps at which a metric was logged."""
        return {metric.step for metric in self._client.get_metric_history(self.run_id, name)}

    def log_params(self, values: Mapping[str, object]) -> None:
        """Log parameters; nested mappings are flattened with dots."""
        params = [Param(name, str(value)) for name, value in _flatten(values).items()]
        self._client.log_batch(self.run_id, params=params)

    def log_datasets(self, datasets: Iterable[Dataset]) -> None:
        """Log the images that the run uses; those that the run has already stay once."""
        self._client.log_inputs(self.run_id, datasets=[dataset.as_input() for dataset in datasets])

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Set tags; existing ones are replaced."""
        self._client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in values.items()])

    def log_figure(self, figure: Figure, name: str) -> None:
        """Log a figure below `figures/`."""
        self._client.log_figure(self.run_id, figure, f"figures/{name}")

    def log_text(self, text: str, name: str) -> None:
        """Log a text as the artifact `name`."""
        self._client.log_text(self.run_id, text, name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def log_folder(self, path: Path, folder: str) -> None:
        """Log all files below `path` as artifacts below `folder`."""
        self._client.log_artifacts(self.run_id, str(path), folder)

    def end(self, status: str) -> None:
        """End a run of `start_child` as `FINISHED`, `FAILED` or `KILLED`."""
        self._client.set_terminated(self.run_id, status)


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@contextmanager
def open_run(
    *,
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    note: str = "",
    params: Mapping[str, object] | None = None,
    parent_id: str | None = None,
    run_id: str | None = None,
) -> Iterator[Run]:
    """Open a run; it ends as FINISHED, KILLED, or FAILED with the error as tag `error`.

    Args:
        experiment: Name of the experiment; created if it does not exist.
        name: Name of the run.
        tags: Searchable tags, for instance `{"cohort": "ph2"}`.
        note: Description for MLflow's pages: what the run is, in a sentence or two.
        params: Parameters; nested mappings are flattened with dots.
        parent_id: Id of the parent run.
        run_id: Run to continue if the store has it. A deleted run stays deleted: a warning is printed and a
            new run takes its place.
    """
    store = client()
    all_tags = {NAME_TAG: name, **own_fields(note), **tags, **({PARENT_TAG: parent_id} if parent_id else {})}
    if under := os.environ.get("MLFLOW_RUN_ID"):
        all_tags["project_run_id"] = under  # the run of `mlflow run`, which stays separate
    if run_id is None or not _is_active(store, run_id):
        if run_id is not None:
            print(f"warning: run {run_id} was deleted; a new run replaces it", file=sys.stderr)
        # The tags are set at once: a kill between two calls would leave a run that nobody finds again.
        made = store.create_run(
            experiment_id(store, experiment), tags={name: str(value) for name, value in all_tags.items()}
        )
        run_id = str(made.info.run_id)
    elif "error" in store.get_run(run_id).data.tags:
        store.delete_tag(run_id, "error")  # of an earlier interruption
    run = Run(run_id, store)
    store.update_run(run_id, status=RUNNING)
    run.set_tags(all_tags)
    run.log_params(params or {})
    try:
        yield run
    except BaseException as error:
        run.set_tags({"error": f"{type(error).__name__}: {error}"[:5000]})
        status = KILLED if isinstance(error, KeyboardInterrupt) else FAILED
        store.set_terminated(run_id, status)
        raise
    store.set_terminated(run_id, FINISHED)


def _get_run(store: MlflowClient, run_id: str) -> MlflowRun | None:
    try:
        return store.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _is_active(store: MlflowClient, run_id: str) -> bool:
    found = _get_run(store, run_id)
    return found is not None and bool(found.info.lifecycle_stage == "active")


def experiment_id(store: MlflowClient, name: str) -> str:
    """Id of an experiment, which is created if it does not exist.

    Raises:
        TrackingError: The experiment was deleted.
    """
    found = store.get_experiment_by_name(name)
    if found is None:
        try:
            return str(store.create_experiment(name, tags=SHOWN_AS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = store.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"The experiment {name} was deleted in the tracking store. Restore it: mlflow experiments "
            f"restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


@dataclass(frozen=True)
class Child:
    """A child run.

    Attributes:
        run: The run, open for writing.
        status: `RUNNING`, `FINISHED`, `FAILED` or `KILLED`.
        tags: Tags of the run.
    """

    run: Run
    status: str
    tags: Mapping[str, str]


def start_child(
    parent: Run, *, name: str, tags: Mapping[str, object], params: Mapping[str, object], note: str = ""
) -> Run:
    """Create a child run that stays open until `Run.end`, which any process may call.

    Its tags are set with its creation, so that it is found by them even if a kill follows at once.
    The arguments are those of `open_run`.
    """
    store = client()
    experiment = store.get_run(parent.run_id).info.experiment_id
    all_tags = {NAME_TAG: name, PARENT_TAG: parent.run_id, **own_fields(note), **tags}
    made = store.create_run(experiment, tags={key: str(value) for key, value in all_tags.items()})
    run = Run(str(made.info.run_id), store)
    run.log_params(params)
    return run


def children(parent: Run) -> list[Child]:
    """All child runs with any status, newest first."""
    store = client()
    experiment = store.get_run(parent.run_id).info.experiment_id
    found: list[Child] = []
    page: PagedList[MlflowRun] | None = None
    while page is None or page.token:
        of_parent = f"tags.`{PARENT_TAG}` = '{parent.run_id}'"
        token = page.token if page else None
        page = store.search_runs([experiment], of_parent, max_results=PAGE, page_token=token)
        found += [Child(Run(run.info.run_id, store), run.info.status, run.data.tags) for run in page]
    return found


def find_run(experiment: str, *, tag: str, value: str) -> str | None:
    """Id of the run whose `tag` has this value, or None.

    For a deleted run, a warning with the command that restores it is printed.
    """
    store = client()
    found = store.get_experiment_by_name(experiment)
    if found is None:
        return None
    query = [found.experiment_id], f"tags.`{tag}` = '{value}'"
    runs = store.search_runs(*query, max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    for run in store.search_runs(*query, ViewType.DELETED_ONLY, max_results=1):
        print(f"warning: {_deleted(store, run)} Otherwise a new run replaces it.", file=sys.stderr)
    return None


def end_abandoned_run(run_id: str) -> None:
    """Mark a run that a kill left RUNNING as KILLED; other runs stay unchanged."""
    store = client()
    if store.get_run(run_id).info.status == RUNNING:
        store.set_terminated(run_id, KILLED)


def resume_run(run_id: str) -> Run:
    """Open an existing run for writing.

    Raises:
        TrackingError: The run was deleted, is gone for good, or belongs to another store.
    """
    store = client()
    with explain_errors(f"run {run_id} was looked up"):
        found = _get_run(store, run_id)
        if found is None:
            raise TrackingError(_absent(store, run_id))
        if found.info.lifecycle_stage != "active":
            raise TrackingError(_deleted(store, found))
    return Run(run_id, store)


def _deleted(store: MlflowClient, run: MlflowRun) -> str:
    """Message about a deleted run, with the command that restores it."""
    experiment = store.get_experiment(run.info.experiment_id)
    is_whole = experiment.lifecycle_stage != "active"
    what = f"experiments restore --experiment-id {experiment.experiment_id}"
    command = what if is_whole else f"runs restore --run-id {run.info.run_id}"
    return (
        f"Run {run.info.run_id} was deleted in the tracking store "
        f"{store.tracking_uri}{f', with its experiment {experiment.name}' if is_whole else ''}. Restore it: "
        f"`MLFLOW_TRACKING_URI={store.tracking_uri} mlflow {command}`."
    )


def _absent(store: MlflowClient, run_id: str) -> str:
    """Message about a run that was removed from the store for good or was never there."""
    if _is_referred_to(store, run_id):
        return (
            f"Run {run_id} was permanently removed from the tracking store {store.tracking_uri}, for "
            "instance by `mlflow gc`, but is still referred to. Restore a backup of the store, or train "
            "again: `dvc repro --force train`."
        )
    return (
        f"Run {run_id} is not in the tracking store {store.tracking_uri}: it was made with another store. "
        "Set MLFLOW_TRACKING_URI to that store. If that store or the run no longer exists, train again: "
        "`dvc repro --force train`."
    )


def _is_referred_to(store: MlflowClient, run_id: str) -> bool:
    """Whether other runs (trials, entries of the ledger) or registered versions name a run."""
    experiments = [found.experiment_id for found in store.search_experiments(view_type=ViewType.ALL)]
    return any(
        store.search_runs(experiments, f"tags.`{tag}` = '{run_id}'", ViewType.ALL, max_results=1)
        for tag in REFERRING_TAGS
    ) or bool(store.search_model_versions(f"run_id = '{run_id}'", max_results=1))


def read_run(run_id: str) -> MlflowRun:
    """Read a run.

    Raises:
        TrackingError: See `resume_run`.
    """
    return client().get_run(resume_run(run_id).run_id)


def download_run_file(run_id: str, name: str, folder: Path) -> Path:
    """Download an artifact of a run to `folder`.

    Raises:
        TrackingError: The artifact is gone.
    """
    return download(f"runs:/{run_id}/{name}", folder)


def download(uri: str, folder: Path) -> Path:
    """Download the artifact at `uri` to `folder`.

    Raises:
        TrackingError: The artifact is gone.
    """
    client()  # sets the configured store
    try:
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{uri} cannot be read from its artifact store ({error}). Restore the artifacts, or "
            "remove the alias that points there."
        ) from error
