"""What the script `diagnosis` does: which networks are trained, their runs, their answers on test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import config, schema, tracking
from melanoma.data.packed import Packed, class_positions
from melanoma.errors import DataError
from melanoma.evaluation import diagnosis, diagnosis_study
from melanoma.training import scores
from melanoma.training.fit import Trained
from melanoma.training.recipe import Recipe
from pipelines import _resumable, _study_runs, _training

PROTOCOL = "leak_free"


@dataclass(frozen=True)
class Arm:
    """One network to train."""

    target: str
    seed: int

    @property
    def name(self) -> str:
        """For people and for the folder of its checkpoint."""
        return f"{self.target}-seed{self.seed}"


@dataclass(frozen=True)
class Stage:
    """Networks of both targets on a cohort."""

    cohort: str
    params: config.Params
    data: Packed

    @property
    def checkpoints(self) -> Path:
        """Where networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / f"diagnosis-{self.cohort}"

    @property
    def settings(self) -> diagnosis.Settings:
        """Of intervals; a class counts as measured from as many groups on as a slice does."""
        return diagnosis.Settings(
            num_draws=self.params.diagnosis.num_bootstrap_draws,
            seed=self.params.diagnosis.seed,
            min_groups=self.params.evaluate.min_slice_groups,
        )

    @property
    def note(self) -> str:
        """Stands under every picture."""
        return f"{_training.data_note(self.cohort, self.data)}, test split"

    def arms(self) -> list[Arm]:
        """All networks; those of the first seed first, so that both kinds are there early."""
        first = self.params.diagnosis.seed
        seeds = range(first, first + self.params.diagnosis.num_seeds)
        return [Arm(target, seed) for seed in seeds for target in diagnosis_study.TARGETS]

    def job(self, arm: Arm, parent_id: str) -> _resumable.Job:
        """The training of one network: the baseline, but for what it is to tell."""
        params, section = self.params, self.params.diagnosis
        model = params.model.model_copy(update={"target": arm.target})
        train = params.train.model_copy(update={"patience": section.patience})
        return _resumable.Job(
            name=arm.name,
            run_name=f"{self.cohort} {arm.target} seed {arm.seed}",
            experiment=_study_runs.EXPERIMENT,
            arrays=_training.arrays(self.data),
            recipe=Recipe(params.baseline, model, params.augment, train),
            num_epochs=section.num_epochs,
            seed=arm.seed,
            tags=_training.run_tags(self.cohort, self.data)
            | {"stage": "diagnosis", "protocol": PROTOCOL, "target": arm.target}
            | {"model": "baseline", "seed": str(arm.seed)},
            described={
                **params.baseline.model_dump(exclude_none=True),
                "protocol": PROTOCOL,
                "data_digest": self.data.digest,
                "model": model.model_dump(),
                "augment": params.augment.model_dump(),
                "train": train.model_dump() | {"seed": arm.seed, "num_epochs": section.num_epochs},
            },
            parent_id=parent_id,
        )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every test image, columns `diagnosis_study.PREDICTION_COLUMNS`."""
        index = self.data.index
        outputs = scores.predict_all(result.model, self.data.part(schema.TEST))
        softmax = (
            outputs if arm.target == "diagnosis" else np.full((len(outputs), len(schema.CLASSES)), np.nan)
        )
        rows = index[index["split"] == schema.TEST].reset_index(drop=True)
        return rows.assign(
            trained_for=arm.target,
            seed=arm.seed,
            probability=outputs[:, 0],
            **dict(zip(schema.CLASSES, softmax.T, strict=True)),
        )[list(diagnosis_study.PREDICTION_COLUMNS)]


def open_stage(cohort: str, params: config.Params, data: Packed) -> Stage:
    """The stage of a cohort.

    Raises:
        DataError: It was packed without classes.
    """
    if class_positions(data.index) is None:
        raise DataError(
            f"The cohort {cohort} was packed without classes, by an earlier version. Run `dvc repro --force "
            f"pack@{cohort}` to pack it again."
        )
    return Stage(cohort, params, data)


def run_row(arm: Arm, result: Trained, run: tracking.Run) -> dict[str, Any]:
    """Which run trained the network, how long, and which epoch was kept."""
    return {
        "trained_for": arm.target,
        "seed": arm.seed,
        "run_id": run.run_id,
        "num_epochs": len(result.history),
        "best_epoch": int(result.best_epoch["epoch"]),
        "train_seconds": float(result.history["duration_seconds"].sum()),
    }


def log_test(stage: Stage, scored: pd.DataFrame, run: tracking.Run) -> str:
    """Log one network's metrics on test under the names of the platform; one line of them."""
    found = diagnosis_study.measure_once(scored, stage.settings)
    run.log_metrics({f"test_{name}": value for name, value in found.items()})
    return f"test AUC {found['auc_roc']:.3f}"


def summarize(stage: Stage, predictions: pd.DataFrame, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the results file of the cohort holds."""
    section, index = stage.params.diagnosis, stage.data.index
    counts = pd.crosstab(index["diagnosis_class"], index["split"])
    counts = counts.reindex(index=list(schema.CLASSES), columns=list(schema.SPLITS), fill_value=0)
    return {
        "cohort": stage.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "split": schema.TEST,
        "protocol": PROTOCOL,
        "data_digest": stage.data.digest,
        "git_commit": tracking.lineage_tags()["git_commit"],
        "max_num_epochs": section.num_epochs,
        "patience": section.patience,
        "seeds": sorted({arm.seed for arm in stage.arms()}),
        "num_images": counts.to_dict("index"),
        "runs": runs,
        **diagnosis_study.measure(predictions, stage.settings),
    }
