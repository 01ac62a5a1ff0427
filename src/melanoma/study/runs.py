"""What the stages of the study share: they train networks to learn something, not to promote them.

Such a stage says which networks there are, what each learns from and what it is asked afterwards. How they
are trained, go on after a kill, have their runs under one parent and their tables is the same for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from melanoma import files, lineage, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters, Target
from melanoma.data.packed import Packed
from melanoma.stages import experiments, resumable_training
from melanoma.stages.console import say
from melanoma.stages.resumable_training import TrainingJob
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe

EXPERIMENT = "melanoma-study"
PARENT = ("study", "paper")  # a tag and its value, by which the run of the whole study is found
HISTORY_COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_auc_roc"]


@dataclass(frozen=True)
class Arm:
    """One network to train.

    Attributes:
        title: For people, without the seed.
        key: By which tables call it, as in `{"network": "conv_blocks_3", "protocol": "paper"}`; with the seed
            it is unlike that of the stage's other networks.
        seed: Of weights, order and augmentation.
        data: The packed cohort whose images it sees.
        arrays: What it learns from, and is watched on.
        recipe: How.
        num_epochs: At most so many.
        tags: Of its run, beside those that all runs have.
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
        """Of its rows in every table."""
        return {**self.key, "seed": self.seed}

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.title} seed {self.seed}"


@dataclass(frozen=True)
class Stage(ABC):
    """A stage of the study on one cohort.

    Attributes:
        name: Of the stage.
        cohort: Its name.
        params: All parameters.
    """

    name: ClassVar[str]
    cohort: str
    params: Params

    @abstractmethod
    def arms(self) -> Iterable[Arm]:
        """All networks, in an order in which an unfinished stage shows each kind early."""

    @abstractmethod
    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of each image that it is asked about, with the columns of its arm."""

    @abstractmethod
    def measure(self, arm: Arm, scored: pd.DataFrame) -> dict[str, float]:
        """Metrics of its run on what was scored, among them `..._auc_roc`."""

    @property
    def label(self) -> str:
        """As DVC calls it."""
        return f"{self.name}@{self.cohort}"

    @property
    def checkpoints(self) -> Path:
        """Where networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / f"{self.name}-{self.cohort}"


@dataclass(frozen=True)
class Outcome:
    """All networks of a stage.

    Attributes:
        predictions: Of all networks, as `Stage.score` gives them.
        runs: A row a network: its columns, `run_id`, `git_commit`, `git_dirty`, `num_epochs`, `best_epoch`,
            `best_val_auc_roc` and `train_seconds`.
        history: A row an epoch: the network's columns and `HISTORY_COLUMNS`, four digits.
    """

    predictions: pd.DataFrame
    runs: list[dict[str, Any]]
    history: pd.DataFrame


@contextmanager
def trained(stage: Stage) -> Iterator[tuple[Outcome, tracking.Run]]:
    """Train all networks of a stage, or go on with what a kill left; the parent run is open inside.

    What a kill would need is removed when the block is left without an error: write all outputs in it.
    """
    with (
        files.exclusive_lock(stage.checkpoints / "lock", f"the stage {stage.label}"),
        open_parent() as parent,
    ):
        yield _train_all(stage, parent.run_id), parent
        resumable_training.remove_checkpoints(stage.checkpoints, EXPERIMENT)


def recipe(
    params: Params, hyperparameters: Hyperparameters, *, patience: int, target: Target | None = None
) -> Recipe:
    """How a network of the study is fitted: as every other, but with a patience of the stage's own.

    Args:
        params: All parameters.
        hyperparameters: Of the network.
        patience: Epochs without a better one before it stops.
        target: What it tells, where that is not `model.target`.
    """
    model = params.model if target is None else params.model.model_copy(update={"target": target})
    train = params.train.model_copy(update={"patience": patience})
    return Recipe(hyperparameters, model, params.augment, train)


def best_of_search(tuning: Path) -> Hyperparameters:
    """The best hyperparameters of a search, from its summary.

    Raises:
        DataError: It is no such summary.
    """
    content = files.read_json(tuning)
    with files.expect_schema(tuning):
        return Hyperparameters.model_validate(content["best"]["hyperparameters"])


def open_parent() -> AbstractContextManager[tracking.Run]:
    """The run under which all networks of the study are shown, whichever stage and cohort they are of."""
    tag, value = PARENT
    return tracking.open_run(
        experiment=EXPERIMENT,
        name="the paper, rebuilt",
        tags={tag: value, **lineage.lineage_tags()},
        run_id=tracking.find_run(EXPERIMENT, tag=tag, value=value),
    )


def _train_all(stage: Stage, parent_id: str) -> Outcome:
    arms, scored, runs, histories = list(stage.arms()), [], [], []
    for number, arm in enumerate(arms, start=1):
        with resumable_training.train(_job(stage, arm, parent_id), stage.checkpoints) as (result, run):
            scored.append(stage.score(arm, result))
            metrics = stage.measure(arm, scored[-1])
            run.log_metrics(metrics)
        runs.append(arm.columns | _outcome(result, run))
        histories.append(_history(arm, result))
        auc = next(value for metric, value in metrics.items() if metric.endswith("auc_roc"))
        say(stage.label, f"{number} of {len(arms)}: {run.run_id[:8]} {arm.name}, AUC {auc:.3f}")
    return Outcome(pd.concat(scored, ignore_index=True), runs, pd.concat(histories, ignore_index=True))


def _job(stage: Stage, arm: Arm, parent_id: str) -> TrainingJob:
    how, crop = arm.recipe, arm.data.crop
    described = {
        **how.hyperparameters.model_dump(exclude_none=True),
        **arm.key,
        "data_digest": arm.data.digest,
        "num_training_images": len(arm.arrays.train),
        "model": how.model.model_dump(),
        "augment": how.augment.model_dump(),
        "train": how.train.model_dump() | {"seed": arm.seed, "num_epochs": arm.num_epochs},
    }
    if crop is not None:
        described["crop_margin_fraction"] = crop.margin_fraction
    return TrainingJob(
        name=files.plain_name("-".join([*arm.key.values(), f"seed{arm.seed}"])),
        run_name=f"{stage.cohort} {arm.name}",
        experiment=EXPERIMENT,
        arrays=arm.arrays,
        recipe=how,
        num_epochs=arm.num_epochs,
        seed=arm.seed,
        tags=experiments.run_tags(stage.cohort, arm.data)
        | {"stage": stage.name, "seed": str(arm.seed)}
        | arm.tags,
        described=described,
        parent_id=parent_id,
    )


def _outcome(result: Trained, run: tracking.Run) -> dict[str, Any]:
    """Which run trained the network, how long, by which code, and which epoch was kept."""
    tags = tracking.read_run(run.run_id).data.tags
    return {
        "run_id": run.run_id,
        "git_commit": tags["git_commit"],
        "git_dirty": tags.get("git_dirty"),  # nothing is known of it where there is no commit
        "num_epochs": len(result.history),
        "best_epoch": int(result.best_epoch["epoch"]),
        "best_val_auc_roc": float(result.best_epoch["val_auc_roc"]),
        "train_seconds": float(result.history["duration_seconds"].sum()),
    }


def _history(arm: Arm, result: Trained) -> pd.DataFrame:
    rows = result.history[HISTORY_COLUMNS].round(4).astype({"epoch": int})
    return pd.DataFrame(arm.columns, index=rows.index).join(rows)
