"""Metrics of slices of the test set: they show where a model is worse than on the whole.

Counts are always given. A metric with fewer groups than declared is not measured: a sensitivity of five
images would be taken at face value.
"""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from melanoma.config.evaluation import Evaluate
from melanoma.data.tone_classes import tone_classes
from melanoma.evaluation import bootstrap, calibration_measures, intervals
from melanoma.evaluation.intervals import undefined_entry
from melanoma.evaluation.metric_table import BY_NAME
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE

NOT_RECORDED = "not recorded"
MEASURED = (
    "auc_roc",
    "average_precision",
    "sensitivity",
    "specificity",
    "brier_score",
    *calibration_measures.NAMES,
)
RECORDED = ("dataset", "source_collection", "sex", "anatom_site", "diagnosis")
ONLY_WHERE_RECORDED = "skin_type"
TONE = "ita_degrees"
OF_SKIN = (ONLY_WHERE_RECORDED, "skin_tone")  # slices by the colour of the skin
QUALITY = "sharpness"  # variance of the Laplacian, see data.measures
NUM_QUARTERS = 4


def label(images: pd.DataFrame, *, is_train: np.ndarray, age_bands: Sequence[int]) -> pd.DataFrame:
    """Assign each image to slices, a column per way to slice.

    Args:
        images: Columns of records, and `sharpness` and `ita_degrees` of the facts.
        is_train: Shape `(num_images,)`, bool, in the order of `images`; quartiles of quality are those of the
            training images.
        age_bands: Bounds between age bands in years, rising.

    Returns:
        Columns of texts; `skin_type` only if it is recorded for any image, `skin_tone` (if
        angles are given) unless for all.
    """
    labels = {name: images[name].astype("string").fillna(NOT_RECORDED) for name in RECORDED}
    labels["age"] = _age_bands(images["age_years"], age_bands)
    labels["quality"] = _quarters(images[QUALITY].astype(float), is_train)
    if images[ONLY_WHERE_RECORDED].notna().any():
        labels[ONLY_WHERE_RECORDED] = images[ONLY_WHERE_RECORDED].fillna(NOT_RECORDED)
    if TONE in images and images[ONLY_WHERE_RECORDED].isna().any():
        labels["skin_tone"] = tone_classes(images[TONE], images[ONLY_WHERE_RECORDED])
    return pd.DataFrame(labels, index=images.index)


def _age_bands(ages: pd.Series, bands: Sequence[int]) -> pd.Series:
    names = [f"{low} to {high - 1} years" for low, high in zip((0, *bands), bands, strict=False)]
    names.append(f"{bands[-1] if bands else 0} years and older")
    edges = [-np.inf, *bands, np.inf]
    banded = pd.cut(ages.astype(float), edges, right=False, labels=names)
    return banded.astype("string").fillna(NOT_RECORDED)


def _quarters(quality: pd.Series, is_train: np.ndarray) -> pd.Series:
    """Quarter of each image in the distribution of the training images' sharpness."""
    edges = np.quantile(quality[is_train].dropna(), np.arange(1, NUM_QUARTERS) / NUM_QUARTERS)
    names = ["quartile 1 (least sharp)", "quartile 2", "quartile 3", "quartile 4 (sharpest)"]
    where = np.searchsorted(edges, quality.to_numpy(), side="right")
    found = pd.Series([names[at] for at in where], index=quality.index, dtype="string")
    return found.mask(quality.isna(), NOT_RECORDED)


def measure(
    images: pd.DataFrame,
    labels: pd.DataFrame,
    probability: np.ndarray,
    *,
    threshold: float,
    settings: Evaluate,
    fitted: calibration_measures.FitError | None = None,
) -> list[dict[str, Any]]:
    """Measure each slice, in the order of the columns of `labels` and of their values.

    Args:
        images: Columns `target` and `group_id`.
        labels: Slices from `label`, of the same images in the same order.
        probability: Calibrated probabilities in the same order.
        threshold: Threshold of the operating point.
        settings: Section `evaluate` of params.yaml.
        fitted: Error of the calibration, see `calibration_measures.measure`.

    Returns:
        By slice: `slice`, `value`, `num_images`, `num_groups`, `num_malignant`, `is_too_small` (no metric
        that needs a class could be measured), `prevalence`, `mean_probability`, and `MEASURED`, each as
        `value`, `low`, `high`; all three are nan if there are too few groups. Where an AUC is measured,
        `auc_roc_simultaneous` has the interval that holds for all slices together.
    """
    entries: list[dict[str, Any]] = []
    members: list[np.ndarray] = []
    for name in labels.columns:
        for value in sorted(labels[name].unique()):
            is_in = (labels[name] == value).to_numpy()
            measured = _measure_one(
                images[is_in], probability[is_in], threshold=threshold, settings=settings, fitted=fitted
            )
            entries.append({"slice": name, "value": str(value), **measured})
            members.append(is_in)
    has_auc = [not np.isnan(entry["auc_roc"]["value"]) for entry in entries]
    level = 1 - (1 - intervals.LEVEL) / max(1, sum(has_auc))  # of Bonferroni: slices overlap
    for entry, is_in in compress(zip(entries, members, strict=True), has_auc):
        target, groups = (images.loc[is_in, name].to_numpy() for name in ("target", "group_id"))
        entry["auc_roc_simultaneous"] = intervals.auc(target, probability[is_in], groups, level=level)
    return entries


def _measure_one(
    rows: pd.DataFrame,
    probability: np.ndarray,
    *,
    threshold: float,
    settings: Evaluate,
    fitted: calibration_measures.FitError | None,
) -> dict[str, Any]:
    target = rows["target"].to_numpy()
    of_class = rows.groupby("target")["group_id"].nunique()
    num_of = {POSITIVE: of_class.get(1, 0), NEGATIVE: of_class.get(0, 0)}
    num_groups, least = rows["group_id"].nunique(), settings.min_slice_groups
    is_enough = {
        name: num_groups >= least and all(num_of[word] >= least for word in BY_NAME[name].needs)
        for name in MEASURED
    }
    found = {}
    if any(is_enough.values()):
        found = bootstrap.metrics_with_intervals(
            target,
            probability,
            rows["group_id"].to_numpy(),
            threshold=threshold,
            draws=bootstrap.Draws(settings.num_bootstrap_draws, settings.seed),
            num_bins=settings.num_calibration_bins,
            fitted=fitted,
        )
    too_few = undefined_entry(f"fewer than {least} groups of a class that it needs")
    return {
        "num_images": len(target),
        "num_groups": int(num_groups),
        "num_malignant": int(target.sum()),
        "is_too_small": not (is_enough["sensitivity"] or is_enough["specificity"]),
        "prevalence": float(target.mean()),
        "mean_probability": float(probability.mean()),
        **{name: found[name] if is_enough[name] else too_few for name in MEASURED},
    }
