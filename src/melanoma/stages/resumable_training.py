"""Train one network with its MLflow run and resume both after an interruption.

Until the stage has written all its outputs, the folder of each training keeps the state of the training (also
that of a finished one, so that it is not trained again) and an id by which its MLflow run is found again.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import keras

from melanoma import files, metric_names, tracking
from melanoma.stages import experiments
from melanoma.training import backend, checkpoints, compilation, fit
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe

STATE, IDENTITY = "state.npz", "training.json"
ID_TAG = "training_id"


@dataclass(frozen=True)
class TrainingJob:
    """One network to train.

    Attributes:
        name: Name of the checkpoint folder, unique within the stage.
        run_name: MLflow run name.
        experiment: MLflow experiment name.
        arrays: Training and held-out images.
        recipe: Training recipe.
        num_epochs: Maximum number of epochs.
        seed: Seed of initial weights, order of images and augmentation.
        tags: MLflow tags.
        described: MLflow parameters.
        note: MLflow description.
        parent_id: MLflow run under which this run is shown.
    """

    name: str
    run_name: str
    experiment: str
    arrays: Arrays = field(repr=False)
    recipe: Recipe
    num_epochs: int
    seed: int
    tags: Mapping[str, object]
    described: Mapping[str, object]
    note: str
    parent_id: str | None = None


@contextmanager
def train(job: TrainingJob, checkpoints_folder: Path) -> Iterator[tuple[Trained, tracking.Run]]:
    """Train a network or resume an interrupted training; its MLflow run is open inside the context.

    Args:
        job: The network to train.
        checkpoints_folder: Checkpoints of all networks of the stage; see `remove_checkpoints`.
    """
    problem = checkpoints.problem_digest(job.arrays, job.recipe, num_epochs=job.num_epochs, seed=job.seed)
    folder = checkpoints_folder / job.name
    training_id = identify(folder / IDENTITY, problem, job.experiment)
    with tracking.open_run(
        experiment=job.experiment,
        name=job.run_name,
        tags={**job.tags, ID_TAG: training_id},
        params=job.described,
        note=job.note,
        parent_id=job.parent_id,
        run_id=tracking.find_run(job.experiment, tag=ID_TAG, value=training_id),
    ) as run:
        run.set_tags(backend.describe() | {"precision": compilation.precision_name(job.recipe)})
        run.log_datasets(experiments.datasets_of(str(job.tags["cohort"]), job.arrays))
        _reuse_equal_network(problem, checkpoints_folder, folder, run)
        log_epoch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, scores: run.log_epoch(epoch + 1, scores)
        )
        result = fit.train(
            job.arrays,
            job.recipe,
            num_epochs=job.num_epochs,
            seed=job.seed,
            checkpoint=folder / STATE,
            callbacks=[log_epoch],
        )
        _log_result(result, run)
        yield result, run


@contextmanager
def open_parent(
    jobs: Sequence[TrainingJob],
    checkpoints_folder: Path,
    *,
    name: str,
    tags: Mapping[str, object],
    params: Mapping[str, object],
    note: str,
) -> Iterator[tracking.Run]:
    """The MLflow run above those of all jobs; that of the interrupted call where it trained the same jobs."""
    experiment = jobs[0].experiment
    problem = files.sha256_of_json(
        [
            checkpoints.problem_digest(job.arrays, job.recipe, num_epochs=job.num_epochs, seed=job.seed)
            for job in jobs
        ]
    )
    identity = identify(checkpoints_folder / "parent" / IDENTITY, problem, experiment)
    with tracking.open_run(
        experiment=experiment,
        name=name,
        tags={**tags, ID_TAG: identity},
        params=params,
        note=note,
        run_id=tracking.find_run(experiment, tag=ID_TAG, value=identity),
    ) as run:
        yield run


def identify(path: Path, problem: str, experiment: str) -> str:
    """The id, kept at `path`, of the training of this problem; a new one where another problem was trained.

    It is written before the run is opened, so that a run is found again after an interruption at any moment.
    """
    if path.exists():
        kept, training_id = _read_identity(path)
        if kept == problem:
            return training_id
        _end_abandoned(training_id, experiment)
    training_id = uuid.uuid4().hex
    files.write_json({"problem": problem, ID_TAG: training_id}, path)
    return training_id


def _read_identity(path: Path) -> tuple[str, str]:
    """Problem digest and training id kept at `path`."""
    kept = files.read_json(path)
    with files.expect_schema(path):
        return str(kept["problem"]), str(kept[ID_TAG])


def _reuse_equal_network(problem: str, checkpoints_folder: Path, folder: Path, run: tracking.Run) -> None:
    """Copy the state of an equal network that was trained before: the search may have chosen the baseline.

    The tag `same_network_as` of the run says so; durations in its history are those of that training.
    """
    if (folder / STATE).exists():
        return
    for identity in checkpoints_folder.glob(f"*/{IDENTITY}"):
        state = identity.parent / STATE
        if state.exists() and _read_identity(identity)[0] == problem:
            with files.atomic_file(folder / STATE) as unfinished:
                shutil.copyfile(state, unfinished)
            run.set_tags({"same_network_as": identity.parent.name})
            return


def _end_abandoned(training_id: str, experiment: str) -> None:
    run_id = tracking.find_run(experiment, tag=ID_TAG, value=training_id)
    if run_id is not None:
        tracking.end_abandoned_run(run_id)


def _log_result(result: Trained, run: tracking.Run) -> None:
    """Log the final metrics, and the scores of epochs that an interruption kept from the run."""
    run.log_missing_epochs(result.history)
    best = {"epoch": result.best_epoch["epoch"], **result.best_scores}
    run.log_metrics(
        metric_names.of_selection(best)
        | metric_names.of_epoch({"num_epochs": len(result.history)})
        | metric_names.in_section(metric_names.MACHINE, backend.peak_memory_mib())
    )
    run.log_text(result.history.to_csv(index=False), experiments.HISTORY)


def remove_checkpoints(checkpoints_folder: Path, experiment: str) -> None:
    """Remove what resuming would need, and end the runs of networks that are no longer wanted."""
    for path in checkpoints_folder.glob(f"*/{IDENTITY}"):
        _end_abandoned(_read_identity(path)[1], experiment)
    shutil.rmtree(checkpoints_folder, ignore_errors=True)
