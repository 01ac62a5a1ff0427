"""Stage `diagnosis`: train networks of several classes and of two on the same images, and compare them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import metric_names, schema
from melanoma.config import Params
from melanoma.config.study import OneRecipe
from melanoma.data import packed
from melanoma.data.packed import Packed
from melanoma.errors import DataError
from melanoma.evaluation import diagnosis
from melanoma.stages import experiments
from melanoma.study import diagnosis_results, experiment, report_folder
from melanoma.study.experiment import Experiment, NetworkSpec, Outcome
from melanoma.training import scores
from melanoma.training.fit import Trained


@dataclass(frozen=True)
class DiagnosisExperiment(Experiment):
    """Networks of one recipe with each target.

    Attributes:
        data: The packed cohort.
        figures: Folder of tables and figures to write.
    """

    name = "diagnosis"
    data: Packed
    figures: Path

    @property
    def section(self) -> OneRecipe:
        """The stage's section of the parameters."""
        return self.params.study.diagnosis

    @property
    def settings(self) -> diagnosis.Settings:
        """Settings of the metrics; classes are measured from as many groups on as slices are."""
        return diagnosis.Settings(
            num_draws=self.section.num_bootstrap_draws,
            seed=self.section.seed,
            min_groups=self.params.evaluate.min_slice_groups,
        )

    def networks(self) -> Iterator[NetworkSpec]:
        """All networks, those of the first seed first."""
        params, section = self.params, self.section
        hyperparameters = experiment.hyperparameters(params, section.recipe)
        for seed in section.seeds:
            for target in diagnosis_results.TARGETS:
                yield NetworkSpec(
                    title=f"target {target}",
                    key={"trained_for": target},
                    seed=seed,
                    data=self.data,
                    arrays=experiment.arrays(self.data),
                    recipe=experiment.recipe(
                        params, hyperparameters, patience=section.patience, target=target
                    ),
                    num_epochs=section.num_epochs,
                    tags={"model": section.recipe, "target": target},
                )

    def predict(self, spec: NetworkSpec, result: Trained) -> pd.DataFrame:
        """The network's predictions for the test set, columns `diagnosis_results.PREDICTION_COLUMNS`."""
        part = self.data.part(schema.TEST)
        outputs = scores.predict_all(result.model, part)
        by_class = dict.fromkeys(schema.CLASSES, np.nan)
        if spec.recipe.model.target == "diagnosis":
            by_class |= dict(zip(part.class_names, outputs.T, strict=True))
        told = pd.Series([*part.class_names, None], dtype="string")  # NOT_TOLD is the last
        return self.data.rows_of(part).assign(  # in the order of the part, as the outputs are
            **spec.columns,
            diagnosis_class=told.to_numpy()[part.classes],
            probability=scores.probability_of_positive(outputs, part),
            **by_class,
        )[list(diagnosis_results.PREDICTION_COLUMNS)]

    def measure(self, spec: NetworkSpec, predictions: pd.DataFrame) -> dict[str, float]:
        """The network's metrics on the test set."""
        found = diagnosis_results.measure_single(predictions, self.settings)
        return metric_names.in_section(metric_names.TEST, found)

    def summarize(self, outcome: Outcome) -> dict[str, Any]:
        """The content of the cohort's results file."""
        section, index = self.section, self.data.index
        counts = pd.crosstab(index["diagnosis_class"], index["split"])
        is_other = (index["target"] == schema.POSITIVE) & ~index["diagnosis_class"].isin(self.data.positive)
        counts = counts.reindex(index=list(schema.CLASSES), columns=list(schema.SPLITS), fill_value=0)
        return {
            **experiment.describe_data(self.cohort, self.data),
            "split": schema.TEST,
            "protocol": schema.LEAK_FREE,
            "recipe": section.recipe,
            "max_num_epochs": section.num_epochs,
            "patience": section.patience,
            "seeds": section.seeds,
            "num_images": counts.to_dict("index"),
            "num_malignant_of_other_classes": {
                split: int((is_other & (index["split"] == split)).sum()) for split in schema.SPLITS
            },
            "runs": outcome.runs,
            **diagnosis_results.measure(outcome.predictions, self.settings),
        }

    def write_report(self, results: dict[str, Any], outcome: Outcome) -> None:
        """Write tables, figures and their captions."""
        note = f"{experiments.data_note(self.cohort, self.data)}, test set"
        figures = diagnosis_results.figures(outcome.predictions, results, self.settings, note=note)
        report_folder.write(
            self.figures,
            tables=diagnosis_results.tables(results),
            figures=figures,
            captions=diagnosis_results.captions(results),
        )


def open_experiment(cohort: str, params: Params, folder: Path, *, figures: Path) -> DiagnosisExperiment:
    """The experiment on the packed cohort in `folder`.

    Raises:
        DataError: The cohort was packed without classes.
    """
    recipe = experiment.hyperparameters(params, params.study.diagnosis.recipe)
    data = packed.open_packed(folder).of_size(recipe.image_size)
    if not data.classes:
        raise DataError(
            f"The cohort {cohort} was packed without classes, by an earlier version. Run `dvc repro --force "
            f"pack@{cohort}` to pack it again."
        )
    return DiagnosisExperiment(cohort, params, data, figures)
