"""Experiments of the study: networks that are trained to be compared, not to be promoted.

An experiment defines its networks, what each is trained on and what it predicts. Training, resuming after an
interruption, MLflow runs under one parent run and the output files are the same for all experiments.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from melanoma import files, lineage, schema, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters, Target
from melanoma.data.packed import Packed
from melanoma.registry import looks, versions
from melanoma.stages import experiments, resumable_training, test_set_looks
from melanoma.stages.console import say
from melanoma.stages.resumable_training import TrainingJob
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe

MLFLOW_EXPERIMENT = "melanoma-study"
PARENT = ("study", "paper")  # tag and value by which the parent run of the whole study is found
HISTORY_COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_auc_roc"]


@dataclass(frozen=True)
class NetworkSpec:
    """One network to train.

    Attributes:
        title: Readable name, without the seed.
        key: Identifying columns, for instance `{"network": "conv_blocks_3", "protocol": "paper"}`; together
            with the seed they are unique within the experiment.
        seed: Random seed of weights, order and augmentation.
        data: The packed cohort from which its images come.
        arrays: Training images, and the validation images on which the epoch is chosen, if it is.
        recipe: Training recipe.
        num_epochs: Maximum number of epochs, unless its hyperparameters have one of their own.
        tags: Tags of its run, in addition to those of every run.
    """

    title: str
    key: dict[str, str]
    seed: int
    data: Packed = field(repr=False)
    arrays: Arrays = field(repr=False)
    recipe: Recipe
    num_epochs: int
    tags: dict[str, str]

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that identify its rows in every table."""
        return {**self.key, "seed": self.seed}

    @property
    def name(self) -> str:
        """Readable name."""
        return f"{self.title} seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """The results of all networks of an experiment.

    Attributes:
        predictions: The concatenated results of `Experiment.predict`.
        runs: One entry per network: its columns, `run_id`, `git_commit`, `git_dirty`, `num_epochs`,
            `best_epoch`, `best_val_auc_roc` and `train_seconds`.
        history: One row per epoch: the network's columns and `HISTORY_COLUMNS`, rounded to four digits.
            Without a hold-out, what is measured on it is nan.
    """

    predictions: pd.DataFrame
    runs: list[dict[str, Any]]
    history: pd.DataFrame


@dataclass(frozen=True)
class Experiment(ABC):
    """A stage of the study that trains networks on one cohort.

    Attributes:
        name: Name of the stage.
        cohort: Name of the cohort.
        params: All parameters.
    """

    name: ClassVar[str]
    cohort: str
    params: Params

    @abstractmethod
    def networks(self) -> Iterable[NetworkSpec]:
        """All networks, those of the first seed first, so that an unfinished experiment shows each kind."""

    @abstractmethod
    def predict(self, spec: NetworkSpec, result: Trained) -> pd.DataFrame:
        """The network's predictions for its test images, with the columns of `spec`."""

    @abstractmethod
    def measure(self, spec: NetworkSpec, predictions: pd.DataFrame) -> dict[str, float]:
        """Metrics to log to the network's run, one of which has a name that ends in `auc_roc`."""

    @abstractmethod
    def summarize(self, outcome: Outcome) -> dict[str, Any]:
        """The content of the results file."""

    @abstractmethod
    def write_report(self, results: dict[str, Any], outcome: Outcome) -> None:
        """Write tables and figures."""

    @property
    def label(self) -> str:
        """The stage's name in DVC."""
        return f"{self.name}@{self.cohort}"

    @property
    def checkpoints(self) -> Path:
        """The folder that holds trained networks until the stage has finished."""
        return Path(self.params.train.checkpoints) / f"{self.name}-{self.cohort}"


def run(experiment: Experiment, *, results_path: Path, predictions_path: Path) -> dict[str, Any]:
    """Train all networks of an experiment and write its results; an interrupted one resumes.

    Args:
        experiment: The experiment.
        results_path: JSON file to write.
        predictions_path: Parquet file to write.

    Returns:
        The content of the results file.
    """
    lock = files.exclusive_lock(experiment.checkpoints / "lock", f"the stage {experiment.label}")
    with lock, open_parent_run() as parent:
        outcome = _train_all(experiment, parent.run_id)
        results = experiment.summarize(outcome)
        experiment.write_report(results, outcome)
        files.write_parquet(outcome.predictions, predictions_path)
        files.write_json(results, results_path)
        parent.log_file(results_path, experiment.name)
        resumable_training.remove_checkpoints(experiment.checkpoints, MLFLOW_EXPERIMENT)
    return results


def recipe(
    params: Params, hyperparameters: Hyperparameters, *, patience: int, target: Target | None = None
) -> Recipe:
    """The training recipe of `params` with a patience of the experiment's own.

    Args:
        params: All parameters.
        hyperparameters: Hyperparameters of the network.
        patience: Epochs without improvement before training stops.
        target: What the network predicts; by default `model.target`.
    """
    model = params.model if target is None else params.model.model_copy(update={"target": target})
    train = params.train.model_copy(update={"patience": patience})
    changed = params.model_copy(update={"model": model, "train": train})
    return Recipe.of(hyperparameters, changed)


def arrays(data: Packed) -> Arrays:
    """Training and validation split: as in the paper, the epoch is chosen on validation."""
    return Arrays(data.part(schema.TRAIN), data.part(schema.VALIDATION))


def hyperparameters(params: Params, section: str) -> Hyperparameters:
    """The hyperparameters of `baseline` or `backbone`."""
    found: Hyperparameters = getattr(params, section)
    return found


def best_of_search(tuning: Path) -> Hyperparameters:
    """The best hyperparameters of a search, read from its summary.

    Raises:
        DataError: The file is no such summary.
    """
    content = files.read_json(tuning)
    with files.expect_schema(tuning):
        return Hyperparameters.model_validate(content["best"]["hyperparameters"])


def describe_data(cohort: str, data: Packed) -> dict[str, Any]:
    """Where results come from: the first entries of every results file."""
    return {
        "cohort": cohort,
        "is_synthetic": data.is_synthetic,
        "positive_means": data.positive_means,
        "data_digest": data.digest,
        "git_commit": lineage.lineage_tags()["git_commit"],
    }


def open_parent_run() -> AbstractContextManager[tracking.Run]:
    """The parent run of all networks of the study, whatever their stage and cohort."""
    tag, value = PARENT
    return tracking.open_run(
        experiment=MLFLOW_EXPERIMENT,
        name="the paper, rebuilt",
        tags={tag: value, **lineage.lineage_tags()},
        note="The paper rebuilt, and the experiments around it: one run below this one for each network.",
        run_id=tracking.find_run(MLFLOW_EXPERIMENT, tag=tag, value=value),
    )


def _train_all(experiment: Experiment, parent_id: str) -> Outcome:
    specs, predictions, runs, histories = list(experiment.networks()), [], [], []
    for number, spec in enumerate(specs, start=1):
        job = _job(experiment, spec, parent_id)
        with resumable_training.train(job, experiment.checkpoints) as (result, run):
            predictions.append(experiment.predict(spec, result))
            _record_look(experiment, spec, predictions[-1], run)
            metrics = experiment.measure(spec, predictions[-1])
            run.log_metrics(metrics)
        runs.append(spec.columns | _describe_run(result, run))
        histories.append(_history(spec, result))
        auc = next(value for metric, value in metrics.items() if metric.endswith("auc_roc"))
        say(experiment.label, f"{number} of {len(specs)}: {run.run_id[:8]} {spec.name}, AUC {auc:.3f}")
    return Outcome(pd.concat(predictions, ignore_index=True), runs, pd.concat(histories, ignore_index=True))


def _record_look(
    experiment: Experiment, spec: NetworkSpec, predictions: pd.DataFrame, run: tracking.Run
) -> None:
    """Record in the ledger which images a network was scored on; a resumed stage does so once."""
    looks.record(
        versions.model_name(experiment.cohort),
        images=test_set_looks.images(spec.data, predictions["image_id"]),
        model=spec.name,
        model_digest=f"run {run.run_id}",  # a network of the study belongs to one run
        purpose=experiment.name,
        run_id=run.run_id,
        once=True,
    )


def _job(experiment: Experiment, spec: NetworkSpec, parent_id: str) -> TrainingJob:
    how, crop = spec.recipe, spec.data.crop
    num_epochs = how.num_epochs(spec.num_epochs)
    described = {
        **how.hyperparameters.model_dump(exclude_none=True),
        **spec.key,
        "data_digest": spec.data.digest,
        "num_training_images": len(spec.arrays.train),
        "model": how.model.model_dump(),
        "augment": how.augment.model_dump(),
        "train": how.train.model_dump() | {"seed": spec.seed, "num_epochs": num_epochs},
    }
    if crop is not None:
        described["crop_margin_fraction"] = crop.margin_fraction
    return TrainingJob(
        name=files.plain_name("-".join([*spec.key.values(), f"seed{spec.seed}"])),
        run_name=f"{experiment.cohort} {spec.name}",
        experiment=MLFLOW_EXPERIMENT,
        arrays=spec.arrays,
        recipe=how,
        num_epochs=num_epochs,
        seed=spec.seed,
        tags=experiments.run_tags(experiment.cohort, spec.data)
        | {"stage": experiment.name, "seed": str(spec.seed)}
        | spec.tags,
        described=described,
        note=f"Study, stage {experiment.name}: {spec.name}; "
        f"{experiments.data_note(experiment.cohort, spec.data)}. It is trained to be compared, not to be "
        "promoted.",
        parent_id=parent_id,
    )


def _describe_run(result: Trained, run: tracking.Run) -> dict[str, Any]:
    """The run that trained the network: its code, its duration and the epoch that was kept."""
    tags = tracking.read_run(run.run_id).data.tags
    return {
        "run_id": run.run_id,
        "git_commit": tags["git_commit"],
        "git_dirty": tags.get("git_dirty"),  # unknown where there is no commit
        "num_epochs": len(result.history),
        "best_epoch": int(result.best_epoch["epoch"]),
        "best_val_auc_roc": result.best_scores.get("val_auc_roc", float("nan")),
        "train_seconds": float(result.history["duration_seconds"].sum()),
    }


def _history(spec: NetworkSpec, result: Trained) -> pd.DataFrame:
    rows = result.history.reindex(columns=HISTORY_COLUMNS).round(4).astype({"epoch": int})
    return pd.DataFrame(spec.columns, index=rows.index).join(rows)
