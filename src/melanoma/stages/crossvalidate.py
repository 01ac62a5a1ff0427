"""Body of the command `crossvalidate`: cross-validation of the whole recipe over all groups of a cohort.

Each fold trains one network, also where several are served, with fixed hyperparameters: it keeps its last
epoch, or the best on a hold-out of its training groups, calibrates and sets its operating point on its
validation groups, and scores its test groups once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, lineage, metric_names, schema, tracking
from melanoma.config import Params
from melanoma.config.training import in_words
from melanoma.data import crops, packed
from melanoma.data.packed import Packed
from melanoma.evaluation import crossvalidation, report
from melanoma.registry import looks, versions
from melanoma.stages import experiments, resumable_training, test_set_looks
from melanoma.stages.console import say
from melanoma.stages.resumable_training import TrainingJob
from melanoma.training import checkpoints, features
from melanoma.training.fit import Trained
from melanoma.training.recipe import Recipe

NAME = "crossvalidate"
TUNED_ON_FOLDS = "the search chose these hyperparameters on images that the folds test"
CROPPED_BY_TRAINING = "the U-Net that crops the images learned from some that the folds test"


@dataclass(frozen=True)
class Paths:
    """Where a cohort's files are.

    Attributes:
        packed: Packed cohort.
        tuning: Summary of the search, read for the tuned model.
        metrics: Results on the fixed test side; need not exist.
        out: JSON file to write; the folds are written beside it as CSV.
    """

    packed: Path
    tuning: Path
    metrics: Path
    out: Path


@dataclass(frozen=True)
class CrossValidation:
    """The cross-validation of one recipe.

    Attributes:
        cohort: Name of the cohort.
        model: `baseline` or `tuned`.
        recipe: Training recipe.
        params: All parameters.
        data: Packed cohort with its fixed splits, at the size of the recipe.
    """

    cohort: str
    model: str
    recipe: Recipe
    params: Params
    data: Packed

    @cached_property
    def folds(self) -> list[Packed]:
        """The cohort once for each fold, with the splits of that fold."""
        settings = self.params.crossvalidate
        planned = crossvalidation.plan(self.data.index, num_folds=settings.num_folds, seed=settings.seed)
        return [replace(self.data, index=index) for index in planned]

    @property
    def checkpoints(self) -> Path:
        """The folder that holds trained networks until all folds are measured."""
        return Path(self.params.train.checkpoints) / f"{NAME}-{self.cohort}"

    def jobs(self) -> list[TrainingJob]:
        """The training of each fold, refused before any begins where a fold has too few groups."""
        return [self._job(fold, data) for fold, data in enumerate(self.folds, start=1)]

    def _job(self, fold: int, data: Packed) -> TrainingJob:
        seed = self.params.crossvalidate.seed + fold - 1
        num_epochs = self.recipe.num_epochs(self.params.train.num_epochs)
        keeps_best = self.recipe.hyperparameters.keep_epoch == "best"
        described = experiments.describe_problem(self.recipe, data)
        described["train"] |= {"seed": seed, "num_epochs": num_epochs}
        name = f"{self.model} fold {fold} of {len(self.folds)}"
        return TrainingJob(
            name=f"{self.model}-fold{fold}",
            run_name=f"{NAME} {name}",
            experiment=experiments.experiment(self.cohort),
            arrays=experiments.arrays(data, num_folds=1) if keeps_best else experiments.all_of_training(data),
            recipe=self.recipe,
            num_epochs=num_epochs,
            seed=seed,
            tags=experiments.run_tags(self.cohort, data)
            | {"stage": NAME, "model": self.model, "fold": str(fold), "seed": str(seed)},
            described=self.recipe.hyperparameters.model_dump(exclude_none=True) | described,
            note=f"Cross-validation, {name}; {experiments.data_note(self.cohort, data)}. It is trained to be "
            "measured, never to be registered.",
        )

    def measure(self, fold: int, job: TrainingJob, parent_id: str) -> dict[str, Any]:
        """Train or resume the network of a fold, calibrate it, and measure it on its test groups."""
        data = self.folds[fold - 1]
        with resumable_training.train(replace(job, parent_id=parent_id), self.checkpoints) as (result, run):
            self._record_look(job, data, run)
            found = self._score(data, result)
            run.log_metrics(
                metric_names.in_section(
                    metric_names.CROSSVALIDATION, {name: found[name] for name in crossvalidation.FIGURES}
                )
            )
        return {"fold": fold, "run_id": run.run_id, "best_epoch": int(result.best_epoch["epoch"]), **found}

    def _score(self, data: Packed, result: Trained) -> dict[str, Any]:
        score = np.full(len(data.index), np.nan)
        parts = {split: data.part(split) for split in (schema.VALIDATION, schema.TEST)}
        for part in parts.values():
            score[part.rows] = features.predict(result.model, part, self.recipe)
        power = self.recipe.hyperparameters.sampling_power
        point = report.operating_point(data.index, score, self.params.evaluate, sampling_power=power)
        rows = data.index.iloc[parts[schema.TEST].rows]
        probability = point.calibration.apply(score[parts[schema.TEST].rows])
        groups = data.index.groupby("split")["group_id"].nunique()
        return {
            "num_test_images": len(rows),
            "num_test_malignant": int(rows["target"].sum()),
            "num_test_groups": int(groups[schema.TEST]),
            "num_training_groups": int(groups[schema.TRAIN]),
            "threshold": point.threshold,
            **crossvalidation.measure(rows, probability, point),
        }

    def _record_look(self, job: TrainingJob, data: Packed, run: tracking.Run) -> None:
        digest = checkpoints.problem_digest(job.arrays, job.recipe, num_epochs=job.num_epochs, seed=job.seed)
        looks.record(
            versions.model_name(self.cohort),
            images=test_set_looks.images(data),
            model=job.name,
            model_digest=digest,
            purpose=NAME,
            run_id=run.run_id,
            once=True,
        )

    def describe(self) -> dict[str, Any]:
        """The first entries of the results file."""
        code = lineage.lineage_tags()
        index = self.data.index
        warnings = [TUNED_ON_FOLDS] if self.model == "tuned" else []
        if crops.kind_of(self.data.crop) == crops.UNET:
            warnings.append(CROPPED_BY_TRAINING)
        return {
            "cohort": self.cohort,
            "is_synthetic": self.data.is_synthetic,
            "positive_means": self.data.positive_means,
            "data_digest": self.data.digest,
            **{name: code[name] for name in (lineage.COMMIT_TAG, lineage.DIRTY_TAG) if name in code},
            "model": self.model,
            "hyperparameters": self.recipe.hyperparameters.model_dump(exclude_none=True),
            "seed": self.params.crossvalidate.seed,
            "num_images": len(index),
            "num_groups": int(index["group_id"].nunique()),
            "num_malignant": int(index["target"].sum()),
            "warnings": warnings,
        }


def run(cohort: str, params: Params, *, model: str, paths: Paths) -> str:
    """Train and measure all folds, write the results, and return the means in one line. It resumes.

    Args:
        cohort: Name of the cohort.
        params: All parameters.
        model: `baseline`, or `tuned` for the best hyperparameters of the search.
        paths: Where to read and write.

    Raises:
        DataError: A class has too few groups for the folds, or a file is missing.
    """
    recipe = Recipe.of(experiments.hyperparameters(model, params, paths.tuning), params)
    data = packed.open_packed(paths.packed).of_size(recipe.hyperparameters.image_size)
    work = CrossValidation(cohort, model, recipe, params, data)
    jobs, experiment = work.jobs(), experiments.experiment(cohort)
    with files.exclusive_lock(work.checkpoints / "lock", f"the cross-validation of cohort {cohort}"):
        with resumable_training.open_parent(
            jobs,
            work.checkpoints,
            name=f"{NAME} {model}",
            tags=experiments.run_tags(cohort, work.data) | {"stage": NAME, "model": model},
            params={"num_folds": len(jobs), "seed": params.crossvalidate.seed},
            note=f"Cross-validation over all images, {len(jobs)} folds of groups; "
            f"{experiments.data_note(cohort, work.data)}. Hyperparameters: "
            f"{in_words(recipe.hyperparameters.model_dump(exclude_none=True))}.",
        ) as parent:
            by_fold = _measure_all(work, jobs, parent.run_id)
            results = _results(work, by_fold, paths.metrics) | {"run_id": parent.run_id}
            _write(results, paths.out, parent)
        resumable_training.remove_checkpoints(work.checkpoints, experiment)
    return crossvalidation.summary_line(results)


def _measure_all(work: CrossValidation, jobs: Sequence[TrainingJob], parent_id: str) -> list[dict[str, Any]]:
    by_fold = []
    for fold, job in enumerate(jobs, start=1):
        by_fold.append(work.measure(fold, job, parent_id))
        found = by_fold[-1]
        say(
            f"{NAME}@{work.cohort}",
            f"fold {fold} of {len(jobs)}: AUC {found['auc_roc']:.3f} on {found['num_test_images']} images, "
            f"{found['num_test_malignant']} of them positive; epoch {found['best_epoch']}",
        )
    return by_fold


def _results(work: CrossValidation, by_fold: list[dict[str, Any]], metrics: Path) -> dict[str, Any]:
    fixed = None
    if metrics.is_file():
        measured = files.read_json(metrics)
        with files.expect_schema(metrics):
            auc = float(measured[work.model][schema.TEST]["auc_roc"]["value"])
        fixed = crossvalidation.against_fixed([fold["auc_roc"] for fold in by_fold], auc)
    return work.describe() | {"folds": by_fold, "means": crossvalidation.average(by_fold), "fixed": fixed}


def _write(results: dict[str, Any], out: Path, parent: tracking.Run) -> None:
    means = {f"{name}_mean": mean["value"] for name, mean in results["means"].items()}
    parent.log_metrics(metric_names.in_section(metric_names.CROSSVALIDATION, means))
    parent.log_text(experiments.NO_EPOCH, experiments.HISTORY)
    files.write_csv(pd.DataFrame(results["folds"]), out.with_suffix(".csv"))
    files.write_json(results, out)
    parent.log_file(out)
