"""What the script `study` does: which networks are trained under which protocol, their runs, their scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import config, schema, tracking
from melanoma.data import protocols, splits
from melanoma.data.packed import Packed
from melanoma.data.protocols import LEAK_FREE, PAPER, Material
from melanoma.evaluation import study_results
from melanoma.evaluation.repeats import Draws
from melanoma.evaluation.study_results import BALANCED_VIEW, PREDICTION_COLUMNS, TEST_VIEW
from melanoma.training import scores
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training_sections import Hyperparameters
from pipelines import _resumable, _study_runs, _training


@dataclass(frozen=True)
class Arm:
    """One network to train."""

    network: str
    protocol: str
    seed: int
    hyperparameters: Hyperparameters

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.network} {self.protocol} seed {self.seed}"


@dataclass(frozen=True)
class Stage:
    """The study of a cohort."""

    cohort: str
    params: config.Params
    data: Packed

    @property
    def checkpoints(self) -> Path:
        """Where networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / f"study-{self.cohort}"

    @property
    def seeds(self) -> list[int]:
        """Of the networks of each kind."""
        study = self.params.study
        return list(range(study.seed, study.seed + study.num_seeds))

    @cached_property
    def materials(self) -> dict[str, Material]:
        """The images under each protocol."""
        study, params = self.params.study, self.params
        made = {LEAK_FREE: protocols.leak_free(self.data)}
        if PAPER in study.protocols:
            made[PAPER] = protocols.paper(
                self.data,
                amounts=params.augment,
                fractions=splits.fractions_of(params.assign),
                seed=study.seed,
            )
        return {name: made[name] for name in study.protocols}

    @cached_property
    def views(self) -> dict[str, dict[str, Material]]:
        """What networks of each protocol are tested with."""
        views = {name: {TEST_VIEW: _tested(material)} for name, material in self.materials.items()}
        if LEAK_FREE in views:
            views[LEAK_FREE][BALANCED_VIEW] = protocols.balance(
                views[LEAK_FREE][TEST_VIEW], amounts=self.params.augment, seed=self.params.study.seed
            )
        return views

    def arms(self) -> Iterator[Arm]:
        """All networks; those of the first seed first, so that an unfinished study shows each kind."""
        for seed in self.seeds:
            for kind in self.params.study.networks[self.cohort]:
                hyperparameters = self.params.baseline.with_drawn(
                    {"family": kind.family, "depth": kind.depth}
                )
                for protocol in self.params.study.protocols:
                    yield Arm(f"{kind.family}_{kind.depth}", protocol, seed, hyperparameters)

    def job(self, arm: Arm, parent_id: str) -> _resumable.Job:
        """The training of one network."""
        params, study, material = self.params, self.params.study, self.materials[arm.protocol]
        train = params.train.model_copy(update={"patience": study.patience})
        model = params.model.model_copy(update={"target": "malignant"})  # as the paper's
        described = {
            **arm.hyperparameters.model_dump(exclude_none=True),
            "protocol": arm.protocol,
            "data_digest": self.data.digest,
            "model": model.model_dump(),
            "augment": params.augment.model_dump(),
            "train": train.model_dump() | {"seed": arm.seed, "num_epochs": study.num_epochs},
        }
        return _resumable.Job(
            name=f"{arm.network}-{arm.protocol}-seed{arm.seed}",
            run_name=f"{self.cohort} {arm.name}",
            experiment=_study_runs.EXPERIMENT,
            arrays=Arrays(material.part(schema.TRAIN), material.part(schema.VALIDATION)),
            recipe=Recipe(arm.hyperparameters, model, params.augment, train),
            num_epochs=study.num_epochs,
            seed=arm.seed,
            tags=_training.run_tags(self.cohort, self.data)
            | {"stage": "study", "protocol": arm.protocol, "model": arm.network, "seed": str(arm.seed)},
            described=described,
            parent_id=parent_id,
        )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every test image it is asked about."""
        parts = []
        for view, material in self.views[arm.protocol].items():
            probability = scores.predict(result.model, material.part(schema.TEST))
            parts.append(
                material.rows.assign(
                    network=arm.network,
                    protocol=arm.protocol,
                    view=view,
                    seed=arm.seed,
                    probability=probability,
                )
            )
        return pd.concat(parts, ignore_index=True)[list(PREDICTION_COLUMNS)]


def _tested(material: Material) -> Material:
    """The test side alone, in memory."""
    rows = material.of(schema.TEST)
    return Material(material.part(schema.TEST).take(slice(None)), rows.reset_index(drop=True))


def run_row(arm: Arm, result: Trained, run: tracking.Run) -> dict[str, Any]:
    """Which run trained the network, how long, and which epoch was kept."""
    return {
        "network": arm.network,
        "protocol": arm.protocol,
        "seed": arm.seed,
        "run_id": run.run_id,
        "num_epochs": len(result.history),
        "best_epoch": int(result.best_epoch["epoch"]),
        "train_seconds": float(result.history["duration_seconds"].sum()),
    }


def history_rows(arm: Arm, result: Trained) -> pd.DataFrame:
    """Accuracy and loss by epoch, with four digits."""
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_auc_roc"]
    rows = result.history[columns].round(4).astype({"epoch": int})
    rows.insert(0, "network", arm.network)
    rows.insert(1, "protocol", arm.protocol)
    rows.insert(2, "seed", arm.seed)
    return rows


def log_test(scored: pd.DataFrame, run: tracking.Run) -> str:
    """Log the network's metrics on test under the names of the platform; one line of them."""
    tested = scored[scored["view"] == TEST_VIEW]
    found = study_results.measure_once(tested)
    run.log_metrics({f"test_{name}": value for name, value in found.items()})
    return f"test AUC {found['auc_roc']:.3f}, accuracy {found['accuracy']:.3f}"


def summarize(stage: Stage, predictions: pd.DataFrame, runs: pd.DataFrame, draws: Draws) -> dict[str, Any]:
    """What the results file of the cohort holds.

    Args:
        stage: The study of the cohort.
        predictions: Of all networks, columns `study_results.PREDICTION_COLUMNS`.
        runs: One row a network: `network`, `protocol`, `seed`, `run_id`, `num_epochs`, `best_epoch`,
            `train_seconds`.
        draws: Of the intervals.
    """
    study = stage.params.study
    networks = {}
    for kind in study.networks[stage.cohort]:
        name = f"{kind.family}_{kind.depth}"
        found = study_results.of_network(predictions[predictions["network"] == name], draws)
        for protocol, entry in found["protocols"].items():
            mine = runs[(runs["network"] == name) & (runs["protocol"] == protocol)]
            entry["runs"] = mine.drop(columns=["network", "protocol"]).to_dict("records")
        networks[name] = {"family": kind.family, "depth": kind.depth} | found
    return {
        "cohort": stage.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "data_digest": stage.data.digest,
        "git_commit": tracking.lineage_tags()["git_commit"],
        "max_num_epochs": study.num_epochs,
        "patience": study.patience,
        "seeds": stage.seeds,
        "threshold": draws.threshold,
        "protocols": {name: protocols.describe(material) for name, material in stage.materials.items()},
        "networks": networks,
    }
