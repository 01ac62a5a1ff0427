"""What the script `train` does for one network: its run, its checkpoint, its scores.

Whatever a kill would lose lies in a folder a network below `train.checkpoints`, until the stage has written
all its outputs: the state of the training (that of a finished one too, so that it is not trained again) and
an id by which its run is found again.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.data.packed import Packed
from melanoma.training import backend, checkpoints, fit, saving
from melanoma.training.fit import Trained
from melanoma.training_sections import Hyperparameters
from pipelines import _training

STATE, IDENTITY = "state.npz", "training.json"
ID_TAG = "training_id"


@dataclass(frozen=True)
class Stage:
    """What all networks of a cohort share.

    Attributes:
        cohort: Its name.
        params: All parameters.
        data: Its images.
        tags: Of every run.
    """

    cohort: str
    params: Params
    data: Packed
    tags: dict[str, str] = field(repr=False)

    @property
    def checkpoints(self) -> Path:
        """Where the cohort's networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / self.cohort


@dataclass(frozen=True)
class Network:
    """One network to train: `baseline` or `tuned`, with one seed."""

    model: str
    seed: int
    hyperparameters: Hyperparameters


def planned(params: Params, found: Hyperparameters) -> list[Network]:
    """All networks of a cohort, those of the first seed before others of the same model."""
    first = params.train.seed
    return [
        Network(model, seed, hyperparameters)
        for model, hyperparameters in (("baseline", params.baseline), ("tuned", found))
        for seed in range(first, first + params.train.num_seeds)
    ]


@contextmanager
def trained(
    network: Network, stage: Stage, *, parent_id: str | None = None
) -> Iterator[tuple[Trained, tracking.Run]]:
    """Train a network, or go on with one that a kill interrupted; its run is open inside."""
    seed, data, params = network.seed, stage.data, stage.params
    arrays, recipe = _training.arrays(data), _training.recipe(params, network.hyperparameters)
    num_epochs = params.train.num_epochs
    problem = checkpoints.problem_digest(arrays, recipe, num_epochs=num_epochs, seed=seed)
    folder = stage.checkpoints / f"{network.model}-seed{seed}"
    experiment = _training.experiment(stage.cohort)
    training_id = _training_id(folder / IDENTITY, problem, experiment)
    described = _training.describe_problem(params, data)
    described["train"] = described["train"] | {"seed": seed, "num_epochs": num_epochs}
    with tracking.open_run(
        experiment=experiment,
        name=network.model if parent_id is None else f"{network.model} seed {seed}",
        tags=stage.tags | {"model": network.model, "seed": str(seed), ID_TAG: training_id},
        params=network.hyperparameters.model_dump(exclude_none=True) | described,
        parent_id=parent_id,
        run_id=tracking.find_run(experiment, tag=ID_TAG, value=training_id),
    ) as run:
        run.set_tags(backend.describe())
        _take_over(problem, stage, folder, run)
        result = fit.train(
            arrays,
            recipe,
            num_epochs=num_epochs,
            seed=seed,
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
        kept = files.read_json(path)
        if kept["problem"] == problem:
            return str(kept[ID_TAG])
        _end_abandoned(kept[ID_TAG], experiment)
    made = uuid.uuid4().hex
    files.write_json({"problem": problem, ID_TAG: made}, path)
    return made


def _take_over(problem: str, stage: Stage, folder: Path, run: tracking.Run) -> None:
    """Copy the state of an equal network that was trained before: the study may have found the baseline.

    The run's tag `same_network_as` says so; times in its history are those of that training.
    """
    if (folder / STATE).exists():
        return
    for identity in stage.checkpoints.glob(f"*/{IDENTITY}"):
        state = identity.parent / STATE
        if state.exists() and files.read_json(identity)["problem"] == problem:
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
    logged = run.logged_steps("loss")
    for row in result.history.to_dict("records"):
        if row["epoch"] not in logged:
            run.log_epoch(int(row["epoch"]), {str(name): row[name] for name in row if name != "epoch"})
    best = result.best_epoch
    run.log_metrics({"best_epoch": best["epoch"]} | {f"best_{name}": best[name] for name in _scores(best)})
    run.log_metrics({"num_epochs": len(result.history), **backend.peak_memory_mib()})


def _scores(row: pd.Series) -> list[str]:
    return [str(name) for name in row.index if str(name).startswith("val_")]


def keep(result: Trained, out: Path) -> None:
    """Write `model.keras`, `model.onnx` and `history.csv` to the folder `out`."""
    with files.atomic_folder(out) as folder:
        saving.save_model(result.model, folder)
        files.write_csv(result.history, folder / "history.csv")


def score_row(network: Network, result: Trained) -> dict[str, Any]:
    """The network's row for `seeds.compare`: its scores on validation at the epoch that is kept."""
    best = result.best_epoch
    return {"model": network.model, "seed": network.seed, **{name: best[name] for name in _scores(best)}}


def forget(stage: Stage) -> None:
    """Remove what a kill would have needed; runs of networks that are no longer wanted are ended."""
    for path in stage.checkpoints.glob(f"*/{IDENTITY}"):
        _end_abandoned(files.read_json(path)[ID_TAG], _training.experiment(stage.cohort))
    shutil.rmtree(stage.checkpoints, ignore_errors=True)
