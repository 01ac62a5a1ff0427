"""Evaluation of the models of a cohort, computed from their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma import metric_names
from melanoma.config.evaluation import Evaluate
from melanoma.data.sampling import drawn_prevalence
from melanoma.evaluation import (
    asked_and_got,
    bands,
    bootstrap,
    calibration,
    calibration_curve,
    intervals,
    metrics,
    seeds,
    slices,
    thresholds,
    unlike,
)
from melanoma.evaluation.calibration_measures import FitError
from melanoma.evaluation.decision_curve import decision_curve
from melanoma.schema import PREDICTION_COLUMNS, TEST, TRAIN, VALIDATION, align
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, OperatingPoint
from melanoma.scoring.unlike import refer

MEASURED_SPLITS = (VALIDATION, TEST)


@dataclass(frozen=True)
class Report:
    """The evaluation of a cohort.

    Attributes:
        metrics: Content of `metrics.json`.
        points: Operating point of each model.
        selected: Model to promote, see `seeds.select`.
        slices: Slices of the test set by model, see `slices.measure`.
        predictions: One row per validation or test image and model, columns `schema.PREDICTION_COLUMNS`.
        curves: Curves on test by model and name: `roc` (points), `roc_band`, `precision_band`, `calibration`,
            `calibration_bins` and `decision`.
        confusion: One row per test image of the selected model; columns `truth`, `decision` (one of three).
    """

    metrics: dict[str, Any]
    points: dict[str, OperatingPoint]
    selected: str
    slices: dict[str, list[dict[str, Any]]]
    predictions: pd.DataFrame
    curves: dict[str, dict[str, pd.DataFrame]]
    confusion: pd.DataFrame

    def flat_metrics(self, model: str) -> dict[str, float]:
        """`validation/threshold`, `test/auc_roc`, …: one model's values by name of the MLflow metric."""
        flat = {f"{metric_names.VALIDATION}/threshold": self.points[model].threshold}
        for split in MEASURED_SPLITS:
            measured = self.metrics[model][split]
            three_way = {name: measured["three_way"][name] for name in THREE_WAY_SHARES}
            values = {
                name: entry["value"]
                for name, entry in (measured | three_way).items()
                if isinstance(entry, dict) and "value" in entry
            }
            flat |= metric_names.in_section(split, values)
        return flat

    def scores(self, comparison: dict[str, Any]) -> dict[str, float | None]:
        """Content of `scores.json`: the main scores of the selected model, by which DVC compares experiments.

        Args:
            comparison: Content of `seeds.json`.

        Returns:
            `selection_auc_roc` on held-out training groups, see `seeds.score_of_served`; `test_auc_roc`,
            `test_sensitivity` and `test_specificity`; `test_auc_roc_baseline`. Nan or None if undefined.
        """
        test = {model: self.metrics[model][TEST] for model in self.points}
        return {
            "selection_auc_roc": seeds.score_of_served(comparison, self.selected),
            **{f"test_{name}": test[self.selected][name]["value"] for name in SCORES},
            "test_auc_roc_baseline": test["baseline"]["auc_roc"]["value"],
        }

    def both_models(self, curve: str) -> pd.DataFrame:
        """One of `curves`, of all models one below the other, with a column `model`."""
        return pd.concat([curves[curve].assign(model=model) for model, curves in self.curves.items()])

    def plots(self) -> dict[str, pd.DataFrame]:
        """The tables that DVC draws, by name of the plot: curves on test with bands, and the decisions."""
        return {
            "roc": self.both_models("roc_band"),
            "precision_recall": self.both_models("precision_band"),
            "calibration": self.both_models("calibration"),
            "decision": self.both_models("decision"),
            "confusion": self.confusion,
        }

    def summary_line(self) -> str:
        """AUC of both models on test with intervals, and the selected model, in one line."""
        parts = [
            f"{model} {bootstrap.in_words(self.metrics[model][TEST]['auc_roc'])}" for model in self.points
        ]
        kind = " on SYNTHETIC images" if self.metrics["is_synthetic"] else ""
        return f"test AUC{kind}, 95 % intervals: {', '.join(parts)}; selected {self.selected}"


SCORES = ("auc_roc", "sensitivity", "specificity")
THREE_WAY_SHARES = ("referred_fraction", "missed_fraction", "false_alarm_fraction")


def evaluate(
    index: pd.DataFrame,
    scores: dict[str, pd.Series],
    settings: Evaluate,
    *,
    described: pd.DataFrame,
    cohort: str,
    is_synthetic: bool,
    positive_means: str,
    selected: str,
    sampling_powers: Mapping[str, float],
    reasons: Mapping[str, pd.Series] | None = None,
) -> Report:
    """Evaluate models on validation and test at the operating points chosen on validation.

    Args:
        index: One row per image, columns `schema.SPLIT_COLUMNS`.
        scores: Scores of each model, indexed by image_id; those of training images are not read.
        settings: Section `evaluate` of params.yaml.
        described: `image_id` and the columns that `slices.label` reads, of the same images.
        cohort: Name of the cohort.
        is_synthetic: Whether the images are synthetic.
        positive_means: What `positive` means, in words.
        selected: Model to promote, chosen without the test set.
        sampling_powers: Sampling power of each model's training, see `data.sampling`.
        reasons: By model, why each image is referred as unlike the training images, or None; indexed by
            image_id. Default: no image is referred for that.

    Raises:
        DataError: Scores, reasons or descriptions belong to other images, or a score on validation or test is
            not a number.
    """
    image_ids = index["image_id"]
    # From here on every array and `described` have the order of `index`.
    in_order = {
        model: align(score, image_ids, what=f"The scores of {model}").to_numpy()
        for model, score in scores.items()
    }
    said = {
        model: _none_if_missing(align(found, image_ids, what=f"The reasons of {model}"))
        for model, found in (reasons or {}).items()
    }
    described = align(described.set_index("image_id"), image_ids, what="The descriptions of images")
    _require_test_scores(index, in_order)
    points = {
        model: operating_point(index, score, settings, sampling_power=sampling_powers[model])
        for model, score in in_order.items()
    }
    probabilities = {model: points[model].calibration.apply(score) for model, score in in_order.items()}
    head = {"cohort": cohort, "is_synthetic": is_synthetic, "positive_means": positive_means}
    head |= {"selected": selected}
    served = {
        model: _Served(probability, points[model], said.get(model))
        for model, probability in probabilities.items()
    }
    predictions = _predictions(index, in_order, served)
    return Report(
        metrics=head | _measure(index, served, settings),
        points=points,
        selected=selected,
        slices=_slices(index, described, served, settings),
        predictions=predictions,
        curves={
            model: _curves(index, found, points[model], settings) for model, found in probabilities.items()
        },
        confusion=_confusion_rows(predictions, selected),
    )


@dataclass(frozen=True)
class _Served:
    """What a model answers for all images, in the order of the index.

    Attributes:
        probability: Calibrated probabilities.
        point: Operating point.
        reasons: Why each image is referred as unlike the training images, or None; None if that is off.
    """

    probability: np.ndarray
    point: OperatingPoint
    reasons: np.ndarray | None

    def at(self, is_in: np.ndarray) -> "_Served":
        """Some of the images."""
        return _Served(
            self.probability[is_in], self.point, None if self.reasons is None else self.reasons[is_in]
        )

    def decisions(self) -> np.ndarray:
        """The decisions as they are served."""
        decided = self.point.decide(self.probability)
        return decided if self.reasons is None else refer(decided, self.reasons)


def _none_if_missing(reasons: pd.Series) -> np.ndarray:
    """Texts and None as an array; pandas may have put another missing value for None."""
    return np.array([None if pd.isna(reason) else reason for reason in reasons], dtype=object)


def _require_test_scores(index: pd.DataFrame, scores: dict[str, np.ndarray]) -> None:
    """Refuse scores on test that are not numbers; `operating_point` does so for validation."""
    is_in = (index["split"] == TEST).to_numpy()
    names = index["image_id"].to_numpy()[is_in]
    for model, score in scores.items():
        thresholds.require_scores(
            score[is_in], names, of=f"test images of {model}", consequence="its results cannot be measured"
        )


def operating_point(
    index: pd.DataFrame, score: np.ndarray, settings: Evaluate, *, sampling_power: float
) -> OperatingPoint:
    """Calibration, threshold and referral band, chosen on the validation split.

    Args:
        index: One row per image, columns `schema.SPLIT_COLUMNS`.
        score: Scores in the order of `index`; only those of the validation split are read.
        settings: Section `evaluate` of params.yaml.
        sampling_power: How training drew the classes, see `data.sampling`.
    """
    of_training = index.loc[index["split"] == TRAIN, "target"].to_numpy()
    trained_prevalence = drawn_prevalence(of_training, sampling_power)
    is_in = (index["split"] == VALIDATION).to_numpy()
    thresholds.require_scores(score[is_in], index["image_id"].to_numpy()[is_in])
    target = index["target"].to_numpy()[is_in]
    fitted = calibration.fit(
        settings.calibration, target, score[is_in], trained_prevalence=trained_prevalence
    )
    return thresholds.choose(
        target,
        fitted.apply(score[is_in]),
        index["group_id"].to_numpy()[is_in],
        calibration=fitted,
        settings=settings,
    )


def _measure(
    index: pd.DataFrame,
    served: dict[str, _Served],
    settings: Evaluate,
) -> dict[str, Any]:
    """Metrics by model and split, and the difference of the two models."""
    measured: dict[str, Any] = {model: _describe_point(one.point) for model, one in served.items()}
    fit_errors = _fit_errors(index, served)
    for split in MEASURED_SPLITS:
        is_in = (index["split"] == split).to_numpy()
        rows = index[is_in]
        for model, one in served.items():
            fitted = fit_errors[model] if split == TEST else None
            measured[model][split] = _measure_split(rows, one.at(is_in), settings, fitted=fitted)
        measured[f"tuned_minus_baseline_{split}_auc_roc"] = intervals.auc_difference(
            rows["target"].to_numpy(),
            served["tuned"].probability[is_in],
            served["baseline"].probability[is_in],
            rows["group_id"].to_numpy(),
        )
    return measured


def _fit_errors(index: pd.DataFrame, served: dict[str, _Served]) -> dict[str, FitError | None]:
    """The error of each model's calibration, from the validation images on which it was fitted."""
    is_in = (index["split"] == VALIDATION).to_numpy()
    target, group_ids = (index.loc[is_in, name].to_numpy() for name in ("target", "group_id"))
    return {
        model: FitError.of(target, one.probability[is_in], group_ids, method=one.point.calibration.method)
        for model, one in served.items()
    }


def _describe_point(point: OperatingPoint) -> dict[str, Any]:
    return {"threshold": point.threshold, "refer_from": point.refer_from, "refer_to": point.refer_to}


def _draws(settings: Evaluate) -> bootstrap.Draws:
    return bootstrap.Draws(settings.num_bootstrap_draws, settings.seed)


def _measure_split(
    rows: pd.DataFrame, served: _Served, settings: Evaluate, *, fitted: FitError | None
) -> dict[str, Any]:
    probability, point, reasons = served.probability, served.point, served.reasons
    target, threshold, group_ids = rows["target"].to_numpy(), point.threshold, rows["group_id"].to_numpy()
    once = np.ones((1, len(target)))
    counts = metrics.confusion_counts(target, probability >= threshold, weights=once)
    return {
        "num_images": len(rows),
        "num_groups": int(rows["group_id"].nunique()),
        "num_malignant": int(target.sum()),
        **{name: int(count[0]) for name, count in counts.items()},
        **bootstrap.metrics_with_intervals(
            target,
            probability,
            group_ids,
            threshold=threshold,
            draws=_draws(settings),
            num_bins=settings.num_calibration_bins,
            fitted=fitted,
        ),
        "restated": bootstrap.restated(
            target, probability, group_ids, threshold=threshold, prevalences=settings.prevalences
        ),
        "three_way": thresholds.three_way(target, served.decisions(), group_ids),
        asked_and_got.ON_GROUPS: asked_and_got.measure(target, probability, group_ids, point=point),
        "unlike": None
        if reasons is None
        else unlike.measure(target, probability, group_ids, reasons=reasons.tolist(), point=point),
    }


def _slices(
    index: pd.DataFrame, described: pd.DataFrame, served: dict[str, _Served], settings: Evaluate
) -> dict[str, list[dict[str, Any]]]:
    is_train = (index["split"] == TRAIN).to_numpy()
    labels = slices.label(described, is_train=is_train, age_bands=settings.age_bands)
    is_test = (index["split"] == TEST).to_numpy()
    fit_errors = _fit_errors(index, served)
    return {
        model: slices.measure(
            index[is_test],
            labels[is_test],
            one.probability[is_test],
            threshold=one.point.threshold,
            settings=settings,
            fitted=fit_errors[model],
        )
        for model, one in served.items()
    }


def _predictions(
    index: pd.DataFrame,
    scores: dict[str, np.ndarray],
    served: dict[str, _Served],
) -> pd.DataFrame:
    parts = [
        index.assign(
            model=model,
            score=score,
            probability=served[model].probability,
            decision=served[model].decisions(),
            reason=served[model].reasons,
        )
        for model, score in scores.items()
    ]
    measured = pd.concat(parts)
    return measured.loc[measured["split"].isin(MEASURED_SPLITS), list(PREDICTION_COLUMNS)]


def _curves(
    index: pd.DataFrame, probability: np.ndarray, point: OperatingPoint, settings: Evaluate
) -> dict[str, pd.DataFrame]:
    is_in = (index["split"] == TEST).to_numpy()
    rows = index[is_in]
    target, found = rows["target"].to_numpy(), probability[is_in]
    weights = _draws(settings).weights(rows["group_id"].to_numpy())
    columns = ["false_positive_fraction", "sensitivity", "threshold"]
    return {
        "roc": pd.DataFrame(metrics.roc_curve(target, found))[columns],
        "roc_band": bands.roc_band(target, found, weights=weights),
        "precision_band": bands.precision_band(target, found, weights=weights),
        "calibration": calibration_curve.smooth(target, found, rows["group_id"].to_numpy()),
        "calibration_bins": calibration_curve.bins(target, found, num_bins=settings.num_calibration_bins),
        "decision": decision_curve(
            target,
            found,
            weights=weights,
            prevalences=settings.prevalences,
            fitted_prevalence=point.calibration.prevalence,
        ),
    }


def _confusion_rows(predictions: pd.DataFrame, selected: str) -> pd.DataFrame:
    rows = predictions[(predictions["split"] == TEST) & (predictions["model"] == selected)]
    truth = np.where(rows["target"] == 1, POSITIVE, NEGATIVE)
    return pd.DataFrame({"truth": truth, "decision": rows["decision"].to_numpy()})
