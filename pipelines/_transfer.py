"""What the script `transfer` does: which networks learn without which source, their runs, their scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import config, schema, tracking
from melanoma.data import leave_out, tables
from melanoma.data.leave_out import Source
from melanoma.data.packed import Packed, Part
from melanoma.evaluation import references, transfer
from melanoma.evaluation.repeats import Draws, Repeats
from melanoma.training import features
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training_sections import Hyperparameters
from pipelines import _resumable, _study_runs, _training

EVERYTHING = "none"  # the name of what is left out where nothing is
LEARNT = (schema.TRAIN, schema.VALIDATION)
PREDICTION_COLUMNS = ("left_out", "network", "seed", "image_id", "probability")


@dataclass(frozen=True)
class Arm:
    """One network to train: without `source`, or from everything."""

    source: Source | None
    network: str
    seed: int
    hyperparameters: Hyperparameters

    @property
    def left_out(self) -> str:
        """The name of the source."""
        return EVERYTHING if self.source is None else self.source.name

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.network} without {self.left_out}, seed {self.seed}"


@dataclass(frozen=True)
class Stage:
    """Leaving out the sources of a cohort, one after the other."""

    cohort: str
    params: config.Params
    data: Packed
    accepted: Path
    found: Hyperparameters

    @property
    def checkpoints(self) -> Path:
        """Where networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / f"transfer-{self.cohort}"

    @cached_property
    def sources(self) -> list[Source]:
        """All that are large enough."""
        index, columns = self.data.index, ["image_id", "source_collection"]
        records = tables.read_tables(self.accepted, self.params.members(self.cohort), columns)
        collections = index[["image_id"]].merge(records, on="image_id", how="left")["source_collection"]
        return leave_out.find(index, collections, min_images=self.params.transfer.min_images)

    def arms(self) -> Iterator[Arm]:
        """All networks; those that cost least first, and those that learn from everything before others."""
        usable = [one for one in self.sources if leave_out.why_not(self.data, one, LEARNT) is None]
        drawn = {"baseline": self.params.baseline, "tuned": self.found}
        transfer = self.params.transfer
        kinds = sorted(transfer.num_seeds, key=lambda kind: drawn[kind].family != "vgg16")
        for kind in kinds:
            for seed in range(transfer.seed, transfer.seed + transfer.num_seeds[kind]):
                for source in (None, *usable):
                    yield Arm(source, kind, seed, drawn[kind])

    def recipe(self, arm: Arm) -> Recipe:
        """How the network is trained."""
        params = self.params
        train = params.train.model_copy(update={"patience": params.transfer.patience})
        return Recipe(arm.hyperparameters, params.model, params.augment, train)

    def job(self, arm: Arm, parent_id: str) -> _resumable.Job:
        """The training of one network."""
        recipe, num_epochs = self.recipe(arm), self.params.transfer.num_epochs
        learnt = [
            self.data.part(split)
            if arm.source is None
            else leave_out.learnt_without(self.data, arm.source, split)
            for split in LEARNT
        ]
        described = {
            **arm.hyperparameters.model_dump(exclude_none=True),
            "data_digest": self.data.digest,
            "left_out": arm.left_out,
            "num_training_images": len(learnt[0]),
            "model": recipe.model.model_dump(),
            "augment": recipe.augment.model_dump(),
            "train": recipe.train.model_dump() | {"seed": arm.seed, "num_epochs": num_epochs},
        }
        tags = {"stage": "transfer", "protocol": "leave_one_source_out", "source": arm.left_out}
        return _resumable.Job(
            name=f"{arm.network}-{arm.left_out}-seed{arm.seed}",
            run_name=f"{self.cohort} {arm.name}",
            experiment=_study_runs.EXPERIMENT,
            arrays=Arrays(*learnt),
            recipe=recipe,
            num_epochs=num_epochs,
            seed=arm.seed,
            tags=_training.run_tags(self.cohort, self.data)
            | tags
            | {"model": arm.network, "seed": str(arm.seed)},
            described=described,
            parent_id=parent_id,
        )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every image of the source, or of the test side."""
        part = self._scored(arm.source)
        return pd.DataFrame(
            {
                "left_out": arm.left_out,
                "network": arm.network,
                "seed": arm.seed,
                "image_id": self.data.index["image_id"].to_numpy()[part.rows],
                "probability": features.predict(result.model, part, self.recipe(arm)),
            }
        )[list(PREDICTION_COLUMNS)]

    def _scored(self, source: Source | None) -> Part:
        if source is None:
            return self.data.part(schema.TEST)
        return leave_out.images_of(self.data, source)

    def repeats(self, predictions: pd.DataFrame, network: str, source: Source | None) -> Repeats:
        """What networks of a kind that learnt without `source` say, a row for each seed."""
        name = EVERYTHING if source is None else source.name
        mine = predictions[(predictions["network"] == network) & (predictions["left_out"] == name)]
        rows = self._scored(source).rows
        index = self.data.index.iloc[rows]
        by_seed = mine.pivot_table(index="seed", columns="image_id", values="probability")
        return Repeats(
            index["target"].to_numpy(),
            index["group_id"].to_numpy(str),
            by_seed[index["image_id"].tolist()].to_numpy(),
        )


def log_scored(stage: Stage, arm: Arm, scored: pd.DataFrame, run: tracking.Run) -> str:
    """Log the AUC on what was scored; one line of it."""
    value = transfer.plain_auc(stage.repeats(scored, arm.network, arm.source))
    run.log_metrics({"test_auc_roc" if arm.source is None else "unseen_auc_roc": value})
    return f"AUC {value:.3f}"


def run_row(arm: Arm, result: Trained, run: tracking.Run) -> dict[str, Any]:
    """Which run trained the network, how long, and which epoch was kept."""
    return {
        "left_out": arm.left_out,
        "network": arm.network,
        "seed": arm.seed,
        "run_id": run.run_id,
        "num_epochs": len(result.history),
        "best_epoch": int(result.best_epoch["epoch"]),
        "train_seconds": float(result.history["duration_seconds"].sum()),
    }


def summarize(stage: Stage, predictions: pd.DataFrame, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the results file of the cohort holds."""
    settings = stage.params.transfer
    draws = Draws(settings.num_bootstrap_draws, settings.seed)
    whole: dict[str, Repeats] = {
        str(network): stage.repeats(predictions, network, None) for network in settings.num_seeds
    }
    return {
        "cohort": stage.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "data_digest": stage.data.digest,
        "git_commit": tracking.lineage_tags()["git_commit"],
        "num_seeds": dict(settings.num_seeds),
        "max_num_epochs": settings.num_epochs,
        "min_groups": settings.min_groups,
        "tuned": stage.found.model_dump(exclude_none=True),
        "test": transfer.on_test(whole, _colour(stage, whole), draws),
        "sources": [_row(stage, source, predictions, whole, draws) for source in stage.sources],
        "runs": runs,
    }


def _colour(stage: Stage, whole: dict[str, Repeats]) -> Repeats:
    """What a logistic regression on colours alone says of the test side."""
    scored = references.score_colours(stage.data.images, stage.data.index, stage.params.audit)
    first = next(iter(whole.values()))
    return Repeats(first.target, first.group_ids, scored[None, stage.data.part(schema.TEST).rows])


def _row(
    stage: Stage, source: Source, predictions: pd.DataFrame, whole: dict[str, Repeats], draws: Draws
) -> dict[str, Any]:
    data, settings = stage.data, stage.params.transfer
    is_tested = leave_out.is_tested(data, source)
    is_of_source = source.is_in[data.part(schema.TEST).rows]
    why_not = leave_out.why_not(data, source, LEARNT)
    return {
        "source": source.name,
        "kind": source.kind,
        "num_images": int(source.is_in.sum()),
        "num_malignant": int(data.index.loc[source.is_in, "target"].sum()),
        "num_test_images": int(is_tested.sum()),
        "num_test_malignant": int(data.index.loc[source.is_in, "target"][is_tested].sum()),
        "why_not": why_not,
        "networks": {
            network: transfer.measure(
                whole[network].take(is_of_source),
                stage.repeats(predictions, network, source),
                is_tested,
                draws,
                min_groups=settings.min_groups,
            )
            for network in settings.num_seeds
            if why_not is None
        },
    }
