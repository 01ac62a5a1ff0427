"""What the script `diagnosis` does: which networks are trained, their runs, their answers on test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma import config, lineage, schema
from melanoma.data.packed import Packed, class_positions
from melanoma.errors import DataError
from melanoma.evaluation import diagnosis
from melanoma.stages import experiments
from melanoma.study import diagnosis_results, runs
from melanoma.study.runs import Arm, Outcome
from melanoma.training import scores
from melanoma.training.fit import Trained


@dataclass(frozen=True)
class Stage(runs.Stage):
    """Networks of both targets on a cohort.

    Attributes:
        data: The packed cohort.
    """

    name = "diagnosis"
    data: Packed

    @property
    def settings(self) -> diagnosis.Settings:
        """Of intervals; a class counts as measured from as many groups on as a slice does."""
        return diagnosis.Settings(
            num_draws=self.params.study.diagnosis.num_bootstrap_draws,
            seed=self.params.study.diagnosis.seed,
            min_groups=self.params.evaluate.min_slice_groups,
        )

    @property
    def note(self) -> str:
        """Stands under every picture."""
        return f"{experiments.data_note(self.cohort, self.data)}, test split"

    def arms(self) -> Iterator[Arm]:
        """All networks, but for what they tell as the baseline; those of the first seed first."""
        params, section = self.params, self.params.study.diagnosis
        for seed in section.seeds:
            for target in diagnosis_results.TARGETS:
                yield Arm(
                    title=f"target {target}",
                    key={"trained_for": target},
                    seed=seed,
                    data=self.data,
                    arrays=experiments.arrays(self.data),
                    recipe=runs.recipe(params, params.baseline, patience=section.patience, target=target),
                    num_epochs=section.num_epochs,
                    tags={"model": "baseline", "target": target},
                )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every test image, columns `diagnosis_results.PREDICTION_COLUMNS`."""
        part = self.data.part(schema.TEST)
        outputs = scores.predict_all(result.model, part)
        has_classes = arm.recipe.model.target == "diagnosis"
        softmax = outputs if has_classes else np.full((len(outputs), len(schema.CLASSES)), np.nan)
        return self.data.rows_of(part).assign(  # in the order of the part, as the outputs are
            **arm.columns, probability=outputs[:, 0], **dict(zip(schema.CLASSES, softmax.T, strict=True))
        )[list(diagnosis_results.PREDICTION_COLUMNS)]

    def measure(self, arm: Arm, scored: pd.DataFrame) -> dict[str, float]:
        """The network's metrics on test under the names of the platform."""
        found = diagnosis_results.measure_once(scored, self.settings)
        return {f"test_{name}": value for name, value in found.items()}


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


def summarize(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """What the results file of the cohort holds."""
    section, index = stage.params.study.diagnosis, stage.data.index
    counts = pd.crosstab(index["diagnosis_class"], index["split"])
    is_other = (index["target"] == schema.MALIGNANT) & (index["diagnosis_class"] != schema.MELANOMA)
    counts = counts.reindex(index=list(schema.CLASSES), columns=list(schema.SPLITS), fill_value=0)
    return {
        "cohort": stage.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "split": schema.TEST,
        "protocol": schema.LEAK_FREE,
        "data_digest": stage.data.digest,
        "git_commit": lineage.lineage_tags()["git_commit"],
        "max_num_epochs": section.num_epochs,
        "patience": section.patience,
        "seeds": section.seeds,
        "num_images": counts.to_dict("index"),
        "num_malignant_of_other_classes": {
            split: int((is_other & (index["split"] == split)).sum()) for split in schema.SPLITS
        },
        "runs": outcome.runs,
        **diagnosis_results.measure(outcome.predictions, stage.settings),
    }
