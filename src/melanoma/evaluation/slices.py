"""The metrics in parts of the test images: where a model is worse than it looks on all of them.

Counts are always given. What rests on fewer groups than declared is not measured: a sensitivity of five
images would be read as one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from melanoma.config.evaluation import Evaluate
from melanoma.evaluation import bootstrap

NOT_RECORDED = "not recorded"
# What each metric needs enough groups with: malignant, benign images.
MEASURED = {
    "auc_roc": (True, True),
    "average_precision": (True, True),
    "sensitivity": (True, False),
    "specificity": (False, True),
    "brier_score": (False, False),
    "expected_calibration_error": (False, False),
}
RECORDED = ("dataset", "source_collection", "sex", "anatom_site", "diagnosis")
ONLY_WHERE_RECORDED = "skin_type"
QUALITY = "sharpness"  # variance of the Laplacian, see data.measures
NUM_QUARTERS = 4


def label(images: pd.DataFrame, *, is_train: np.ndarray, age_bands: Sequence[int]) -> pd.DataFrame:
    """Which part each image belongs to, a column for each way to part them.

    Args:
        images: Columns of records, and `sharpness` of the facts.
        is_train: Shape `(num_images,)`, bool, in the order of `images`: the quartiles of quality are those of
            the training images.
        age_bands: Years at which one band ends and the next begins, rising.

    Returns:
        Columns of words; `skin_type` only where any image has one recorded.
    """
    labels = {name: images[name].astype("string").fillna(NOT_RECORDED) for name in RECORDED}
    labels["age"] = _age_bands(images["age_years"], age_bands)
    labels["quality"] = _quarters(images[QUALITY].astype(float), is_train)
    if images[ONLY_WHERE_RECORDED].notna().any():
        labels[ONLY_WHERE_RECORDED] = images[ONLY_WHERE_RECORDED].fillna(NOT_RECORDED)
    return pd.DataFrame(labels, index=images.index)


def _age_bands(ages: pd.Series, bands: Sequence[int]) -> pd.Series:
    names = [f"{low} to {high - 1} years" for low, high in zip((0, *bands), bands, strict=False)]
    names.append(f"{bands[-1] if bands else 0} years and more")
    edges = [-np.inf, *bands, np.inf]
    banded = pd.cut(ages.astype(float), edges, right=False, labels=names)
    return banded.astype("string").fillna(NOT_RECORDED)


def _quarters(quality: pd.Series, is_train: np.ndarray) -> pd.Series:
    """The quarter of the training images' sharpness that each image falls into."""
    edges = np.quantile(quality[is_train].dropna(), np.arange(1, NUM_QUARTERS) / NUM_QUARTERS)
    names = ["quarter 1 (blurred most)", "quarter 2", "quarter 3", "quarter 4 (sharpest)"]
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
) -> list[dict[str, Any]]:
    """One entry a part, in the order of the columns of `labels` and of their words.

    Args:
        images: Columns `target` and `group_id`.
        labels: From `label`, of the same images in the same order, as `report.evaluate` gives them.
        probability: Calibrated, likewise.
        threshold: The operating point.
        settings: Seed, draws, bins and the least number of groups of each class.

    Returns:
        `slice`, `value`, `num_images`, `num_groups`, `num_malignant`, `is_too_small` (nothing that needs a
        class could be measured), `prevalence`, `mean_probability`, and `MEASURED`, each as `value`,
        `low`, `high`, or nan for all three where too few groups stand behind it.
    """
    entries = []
    for name in labels.columns:
        for value in sorted(labels[name].unique()):
            is_in = (labels[name] == value).to_numpy()
            measured = _measure_one(images[is_in], probability[is_in], threshold, settings)
            entries.append({"slice": name, "value": str(value), **measured})
    return entries


def _measure_one(
    rows: pd.DataFrame, probability: np.ndarray, threshold: float, settings: Evaluate
) -> dict[str, Any]:
    target = rows["target"].to_numpy()
    weights = bootstrap.draw_weights(
        rows["group_id"].to_numpy(), num_draws=settings.num_bootstrap_draws, seed=settings.seed
    )
    found = bootstrap.metrics_with_intervals(
        target, probability, threshold=threshold, weights=weights, num_bins=settings.num_calibration_bins
    )
    of_class = rows.groupby("target")["group_id"].nunique()
    num_groups, least = rows["group_id"].nunique(), settings.min_slice_groups
    is_enough = {
        name: num_groups >= least
        and (not malignant or of_class.get(1, 0) >= least)
        and (not benign or of_class.get(0, 0) >= least)
        for name, (malignant, benign) in MEASURED.items()
    }
    undefined = dict.fromkeys(("value", "low", "high"), float("nan"))
    return {
        "num_images": len(target),
        "num_groups": int(num_groups),
        "num_malignant": int(target.sum()),
        "is_too_small": not (is_enough["sensitivity"] or is_enough["specificity"]),
        "prevalence": float(target.mean()),
        "mean_probability": float(probability.mean()),
        **{name: found[name] if is_enough[name] else undefined for name in MEASURED},
    }
