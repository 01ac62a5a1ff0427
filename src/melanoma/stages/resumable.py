"""One training with its MLflow run that goes on after a kill: what all scripts that train networks share.

Whatever a kill would lose lies in a folder a training, until the stage has written all its outputs: the state
of the training (that of a finished one too, so that it is not trained again) and an id by which its run is
found again.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from melanoma import files, tracking
from melanoma.stages import experiments
from melanoma.training import backend, checkpoints, fit
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe

STATE, IDENTITY = "state.npz", "training.json"
ID_TAG = "training_id"


@dataclass(frozen=True)
class Job:
    """One network to train.

    Attributes:
        name: Of the folder of its checkpoint: unlike those of the stage's other networks.
        run_name: Of its run.
        experiment: Of its run.
        arrays: To train with.
        recipe: How.
        num_epochs: At most so many.
        seed: Of weights, order and augmentation.
        tags: Of its run.
        described: Parameters of its run.
        parent_id: The run under which its run is shown.
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
    parent_id: str | None = None


@contextmanager
def trained(job: Job, checkpoints_folder: Path) -> Iterator[tuple[Trained, tracking.Run]]:
    """Train a network, or go on with one that a kill interrupted; its run is open inside.

    Args:
        job: What to train.
        checkpoints_folder: Of all networks of the stage; see `forget`.
    """
    problem = checkpoints.problem_digest(job.arrays, job.recipe, num_epochs=job.num_epochs, seed=job.seed)
    folder = checkpoints_folder / job.name
    training_id = _training_id(folder / IDENTITY, problem, job.experiment)
    with tracking.open_run(
        experiment=job.experiment,
        name=job.run_name,
        tags={**job.tags, ID_TAG: training_id},
        params=job.described,
        parent_id=job.parent_id,
        run_id=tracking.find_run(job.experiment, tag=ID_TAG, value=training_id),
    ) as run:
        run.set_tags(backend.describe())
        _take_over(problem, checkpoints_folder, folder, run)
        result = fit.train(
            job.arrays,
            job.recipe,
            num_epochs=job.num_epochs,
            seed=job.seed,
            checkpoint=folder / STATE,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, scores: run.log_epoch(epoch + 1, scores)
                )
            ],
        )
        _log_result(result, run)
        yield result, run


def _training_id(path: Path, problem: str, experiment: str) -> str:
    """The id of the training of `problem` whose checkpoint lies beside `path`, or a new one.

    It is written before there is a run, so that a kill at any moment leaves none that nobody finds again.
    """
    if path.exists():
        kept, training_id = _read_identity(path)
        if kept == problem:
            return training_id
        _end_abandoned(training_id, experiment)
    made = uuid.uuid4().hex
    files.write_json({"problem": problem, ID_TAG: made}, path)
    return made


def _read_identity(path: Path) -> tuple[str, str]:
    """The problem and the id of the training whose checkpoint lies beside `path`."""
    kept = files.read_json(path)
    with files.expect_schema(path):
        return str(kept["problem"]), str(kept[ID_TAG])


def _take_over(problem: str, checkpoints_folder: Path, folder: Path, run: tracking.Run) -> None:
    """Copy the state of an equal network that was trained before: the study may have found the baseline.

    The run's tag `same_network_as` says so; times in its history are those of that training.
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
    """What is known at the end, and epochs whose scores a kill kept from the run."""
    run.log_missing_epochs(result.history)
    best = result.best_epoch
    run.log_metrics({"best_epoch": best["epoch"]} | {f"best_{name}": best[name] for name in scores_of(best)})
    run.log_metrics({"num_epochs": len(result.history), **backend.peak_memory_mib()})
    run.log_text(result.history.to_csv(index=False), experiments.HISTORY)


def scores_of(row: pd.Series) -> dict[str, Any]:
    """The scores on validation in a row of a history."""
    return {str(name): row[name] for name in row.index if str(name).startswith("val_")}


def forget(checkpoints_folder: Path, experiment: str) -> None:
    """Remove what a kill would have needed; runs of networks that are no longer wanted are ended."""
    for path in checkpoints_folder.glob(f"*/{IDENTITY}"):
        _end_abandoned(_read_identity(path)[1], experiment)
    shutil.rmtree(checkpoints_folder, ignore_errors=True)
