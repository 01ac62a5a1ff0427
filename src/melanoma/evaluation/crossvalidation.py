"""Grouped cross-validation of a whole recipe: the sides of each fold, what a fold measures, and the means.

One test side may be easy or hard by chance. Here each image is tested once, by a network that saw no image of
its group. Training sets of the folds overlap, so intervals are those of `resampling.corrected_resampled_t`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from melanoma.data.groups import folds
from melanoma.errors import DataError
from melanoma.evaluation import calibration_measures, intervals
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.resampling import corrected_resampled_t
from melanoma.schema import TEST, TRAIN, VALIDATION
from melanoma.scoring.operating_point import REFER, OperatingPoint

NOT_MEASURED = "not measured"
RATES = ("auc_roc", "sensitivity", "specificity", "referred_fraction")  # in 0..1
FIGURES = (*RATES, "calibration_intercept", "calibration_slope")


def plan(index: pd.DataFrame, *, num_folds: int, seed: int) -> list[pd.DataFrame]:
    """The index of each fold: `split` is `test` for the fold, and training or validation for the others.

    Training and validation have the proportions that they have in the fixed plan.

    Args:
        index: All images of a cohort, columns `schema.SPLIT_COLUMNS`.
        num_folds: At least 2.
        seed: Seed of the folds.

    Raises:
        DataError: A class has too few groups, a group has more than half of the images, or the cohort has no
            validation split.
    """
    sizes = index["split"].value_counts()
    if not {TRAIN, VALIDATION} <= set(sizes.index):
        raise DataError(
            "Cross-validation calibrates on groups outside training, and the cohort has no validation split "
            "that says how many. Set assign.validation_fraction above 0."
        )
    one_in = max(2, round((sizes[TRAIN] + sizes[VALIDATION]) / sizes[VALIDATION]))
    target, group_ids = index["target"].to_numpy(), index["group_id"].to_numpy()
    fold_of = folds.assign(target, group_ids, num_folds=num_folds, seed=seed, what="The cohort")
    planned = []
    for fold in range(num_folds):
        split = np.full(len(index), TEST, dtype=object)
        other = fold_of != fold
        is_validation = folds.hold_out(
            target[other],
            group_ids[other],
            num_folds=one_in,
            fold=0,
            seed=seed,
            what=f"What fold {fold + 1} does not test",
        )
        split[other] = np.where(is_validation, VALIDATION, TRAIN)
        planned.append(index.assign(split=split))
    return planned


def measure(rows: pd.DataFrame, probability: np.ndarray, point: OperatingPoint) -> dict[str, float]:
    """`FIGURES` of the test images of a fold; nan where undefined.

    Args:
        rows: Test images, columns `target` and `group_id`.
        probability: Calibrated probabilities, shape `(len(rows),)`.
        point: Operating point of the fold's network.
    """
    target, group_ids = rows["target"].to_numpy(), rows["group_id"].to_numpy()
    rates = intervals.rates(target, probability >= point.threshold, group_ids)
    calibrated = calibration_measures.measure(target, probability, group_ids)
    return {
        "auc_roc": intervals.auc(target, probability, group_ids)["value"],
        "sensitivity": rates["sensitivity"]["value"],
        "specificity": rates["specificity"]["value"],
        "referred_fraction": float((point.decide(probability) == REFER).mean()),
        "calibration_intercept": calibrated["calibration_intercept"]["value"],
        "calibration_slope": calibrated["calibration_slope"]["value"],
    }


def average(by_fold: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean of each figure over the folds with its 95 % interval and `standard_error`.

    Args:
        by_fold: `FIGURES`, `num_test_groups` and `num_training_groups` of each fold.
    """
    num_test, num_train = (
        float(np.mean([fold[name] for fold in by_fold]))
        for name in ("num_test_groups", "num_training_groups")
    )
    return {
        name: _mean([fold[name] for fold in by_fold], num_test, num_train, is_rate=name in RATES)
        for name in FIGURES
    }


def _mean(values: Sequence[float], num_test: float, num_train: float, *, is_rate: bool) -> dict[str, Any]:
    undefined = [str(fold) for fold, value in enumerate(values, start=1) if not math.isfinite(value)]
    if undefined:
        return intervals.undefined_entry(f"it is undefined in fold {', '.join(undefined)}") | {
            "standard_error": math.nan
        }
    if np.ptp(values) == 0:
        reason = "it is the same in all folds"
        return intervals.entry(values[0], math.nan, math.nan, undefined=reason) | {"standard_error": math.nan}
    found = corrected_resampled_t(values, num_test=num_test, num_train=num_train)
    del found["p_value"]  # of a mean of 0, which nobody asks
    if is_rate:
        found |= {"low": max(found["low"], 0.0), "high": min(found["high"], 1.0)}
    return found


def against_fixed(values: Sequence[float], fixed: float) -> dict[str, float]:
    """How far the fixed test side lies from the mean over the folds: `z`, and its two-sided `p_value`.

    The standard error is that of one more side, `s * sqrt(1 + 1 / k)`: a single side varies as a fold does,
    and far more than their mean. The p value is from the t distribution with k - 1 degrees of freedom.

    Args:
        values: AUC of each fold.
        fixed: AUC of the same model on the fixed test side.
    """
    error = float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / len(values))
    z = (fixed - float(np.mean(values))) / error if error > 0 else math.nan
    p_value = float(2 * stats.t.sf(abs(z), len(values) - 1))
    return {"auc_roc": fixed, "standard_error": error, "z": z, "p_value": p_value}


def beside(headline: Mapping[str, Any]) -> str:
    """The cross-validated AUC beside a cohort's fixed test side, in words.

    Args:
        headline: A headline of `headline.gather`, to which `crossvalidation` was added where it was measured.
    """
    found = headline.get("crossvalidation")
    if found is None:
        return NOT_MEASURED
    if found["data_digest"] != headline["data_digest"]:
        return f"{NOT_MEASURED} on these images"
    fixed = headline["metrics"][found["model"]]["auc_roc"]["value"]
    z = against_fixed([fold["auc_roc"] for fold in found["folds"]], fixed)["z"]
    far = "no z" if math.isnan(z) else f"z {z:+.1f}"
    return f"{found['model']} {in_words(found['means']['auc_roc'])}, {far}"


def summary_line(results: Mapping[str, Any]) -> str:
    """The means in one line, and how far the fixed test side is away."""
    means = ", ".join(f"{name} {in_words(results['means'][name])}" for name in FIGURES)
    line = f"{results['model']}, mean of {len(results['folds'])} folds (95 % intervals): {means}"
    fixed = results["fixed"]
    if fixed is None:
        return f"{line}; no fixed test side was measured"
    return (
        f"{line}; fixed test side: AUC {fixed['auc_roc']:.3f}, z {fixed['z']:+.2f} (p {fixed['p_value']:.2f})"
    )
