"""95 % bootstrap intervals over groups.

Images of one group (lesion, patient, copies) are not independent, so a draw takes all images of a group or
none, which widens the intervals as it must.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation.metric_table import METRICS, THRESHOLD_FREE
from melanoma.evaluation.metrics import (
    NUM_BINS,
    at_prevalence,
    calibration_bins,
    compute_metrics,
    confusion_counts,
    confusion_metrics,
    divide,
    weights_by_score,
)

INTERVAL = (2.5, 97.5)  # percentiles
UNDEFINED = "undefined"
BLOCK_CELLS = 2_000_000  # draws times samples at once: 16 MB per array, a dozen of them in use
GRID = np.linspace(0, 1, 101)  # x axis of bands around curves


def draw_weights(group_ids: np.ndarray, *, num_draws: int, seed: int) -> np.ndarray:
    """How often each sample counts in each draw.

    Args:
        group_ids: Shape `(num_samples,)`; a draw takes as many groups as there are, with replacement.
        num_draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        Shape `(num_draws, num_samples)`, float64, whole numbers.
    """
    names, group_of_sample = np.unique(group_ids, return_inverse=True)
    shares = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), shares, size=num_draws)
    return times[:, group_of_sample].astype(np.float64)


@dataclass(frozen=True)
class Draws:
    """Number and seed of the draws. All intervals on one test set share them: one AUC has one interval.

    Attributes:
        num: Number of draws.
        seed: Seed of the draws.
    """

    num: int
    seed: int

    def weights(self, group_ids: np.ndarray) -> np.ndarray:
        """How often each sample counts in each draw; see `draw_weights`."""
        return draw_weights(group_ids, num_draws=self.num, seed=self.seed)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the draws in which the metric is defined; nan if there are none."""
    defined = draws[np.isfinite(draws)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, INTERVAL)
    return float(low), float(high)


def in_blocks(measure: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Apply `measure` to all draws in blocks of bounded memory.

    Args:
        measure: Function from weights `(num, num_samples)` to an array with `num` rows.
        weights: Weights from `draw_weights`.
    """
    size = max(1, BLOCK_CELLS // max(1, weights.shape[1]))
    return np.concatenate([measure(weights[at : at + size]) for at in range(0, len(weights), size)])


def described(value: float, draws: np.ndarray) -> dict[str, float]:
    """`value` with the ends `low` and `high` of the 95 % interval of its draws."""
    low, high = interval(draws)
    return {"value": float(value), "low": low, "high": high}


def with_interval(measure: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> dict[str, float]:
    """A metric as `value`, `low`, `high`.

    Args:
        measure: Function from weights `(num, num_samples)` to values `(num,)`.
        weights: Weights from `draw_weights`.
    """
    return described(measure(np.ones((1, weights.shape[1])))[0], in_blocks(measure, weights))


def band(
    measure: Callable[[np.ndarray], np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of a curve with the lower and upper ends of its pointwise 95 % band.

    Args:
        measure: Function from weights `(num, num_samples)` to curves `(num, num_points)`.
        weights: Weights from `draw_weights`.
    """
    draws = in_blocks(measure, weights)
    low, high = np.array([interval(column) for column in draws.T]).T
    return measure(np.ones((1, weights.shape[1])))[0], low, high


def in_words(entry: Mapping[str, float | None]) -> str:
    """`0.895 (0.749 to 0.993)`; nan, or null in JSON, is `undefined`."""
    value, low, high = (number_in_words(entry[name]) for name in ("value", "low", "high"))
    return value if value == UNDEFINED else f"{value} ({low} to {high})"


def number_in_words(value: float | None) -> str:
    """Three digits, or `undefined`."""
    return UNDEFINED if value is None or not np.isfinite(value) else f"{value:.3f}"


def metrics_with_intervals(
    target: np.ndarray,
    probability: np.ndarray,
    *,
    threshold: float,
    weights: np.ndarray,
    num_bins: int = NUM_BINS,
) -> dict[str, dict[str, float]]:
    """Each metric of `metric_table.METRICS` as `value`, `low`, `high` (95 % interval).

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`.
        threshold: See `metrics.compute_metrics`.
        weights: Weights from `draw_weights`.
        num_bins: See `metrics.compute_metrics`.
    """

    def measure(weights: np.ndarray) -> np.ndarray:
        computed = compute_metrics(
            target, probability, threshold=threshold, weights=weights, num_bins=num_bins
        )
        return np.stack([computed[name] for name in METRICS], axis=1)

    values, draws = measure(np.ones((1, len(target))))[0], in_blocks(measure, weights)
    return {name: described(values[at], draws[:, at]) for at, name in enumerate(METRICS)}


def difference(
    target: np.ndarray, first: np.ndarray, second: np.ndarray, *, metric: str, weights: np.ndarray
) -> dict[str, float]:
    """A metric of `first` minus that of `second` on the same samples, with its paired 95 % interval.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        first: Probabilities of one model, shape `(num_samples,)`.
        second: Probabilities of the other model, shape `(num_samples,)`.
        metric: One of `metric_table.THRESHOLD_FREE`.
        weights: Weights from `draw_weights`; both models see the same draws.

    Raises:
        ValueError: The metric needs a threshold.
    """
    if metric not in THRESHOLD_FREE:
        raise ValueError(f"metric must be one of {THRESHOLD_FREE}, got {metric!r}")

    def measure(weights: np.ndarray) -> np.ndarray:
        of_each = [
            compute_metrics(target, probability, threshold=0.5, weights=weights)[metric]
            for probability in (first, second)
        ]
        return of_each[0] - of_each[1]

    return with_interval(measure, weights)


def restated(
    target: np.ndarray,
    probability: np.ndarray,
    *,
    threshold: float,
    weights: np.ndarray,
    prevalences: Sequence[float],
) -> list[dict[str, Any]]:
    """`ppv` and `npv` at other prevalences of malignant lesions.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`.
        threshold: Probability at or above which a sample is called malignant.
        weights: Weights from `draw_weights`.
        prevalences: Prevalences in (0, 1); `metrics.at_prevalence` states the assumption.

    Returns:
        For each prevalence: `prevalence`, and `ppv` and `npv` as `value`, `low`, `high`.
    """

    def measure(weights: np.ndarray) -> np.ndarray:
        counts = confusion_counts(target, probability >= threshold, weights=weights)
        found = confusion_metrics(counts)
        return np.stack([found["sensitivity"], found["specificity"]], axis=1)

    value, draws = measure(np.ones((1, len(target))))[0], in_blocks(measure, weights)
    rows = []
    for prevalence in prevalences:
        at = at_prevalence(value[:1], value[1:], prevalence)
        of_draws = at_prevalence(draws[:, 0], draws[:, 1], prevalence)
        intervals = {name: described(at[name][0], of_draws[name]) for name in ("ppv", "npv")}
        rows.append({"prevalence": prevalence, **intervals})
    return rows


def roc_band(target: np.ndarray, probability: np.ndarray, *, weights: np.ndarray) -> pd.DataFrame:
    """The ROC curve on a fixed grid with its pointwise 95 % band.

    Returns:
        Columns `false_positive_fraction`, `sensitivity` (the highest at no more false positives), `low`,
        `high`; nan where a class is absent.
    """
    return mean_roc_band(target, probability[None], weights=weights)


def mean_roc_band(target: np.ndarray, probabilities: np.ndarray, *, weights: np.ndarray) -> pd.DataFrame:
    """The mean of several networks' ROC curves at each false positive fraction, with its 95 % band.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probabilities: Shape `(num_networks, num_samples)`, of the same samples.
        weights: Weights from `draw_weights`; all networks see the same draws, networks are not drawn.

    Returns:
        The columns of `roc_band`.
    """

    def measure(weights: np.ndarray) -> np.ndarray:
        curves = []
        for probability in probabilities:
            positives, negatives = weights_by_score(target, probability, weights)
            curves.append([_sensitivity_at(*row) for row in zip(positives, negatives, strict=True)])
        return np.mean(curves, axis=0)

    value, low, high = band(measure, weights)
    return pd.DataFrame({"false_positive_fraction": GRID, "sensitivity": value, "low": low, "high": high})


def precision_band(target: np.ndarray, probability: np.ndarray, *, weights: np.ndarray) -> pd.DataFrame:
    """Precision by recall on a fixed grid with its pointwise 95 % band.

    Returns:
        Columns `recall`, `precision` (the highest at no less recall), `low`, `high`.
    """

    def measure(weights: np.ndarray) -> np.ndarray:
        positives, negatives = weights_by_score(target, probability, weights)
        return np.stack([_precision_at(*row) for row in zip(positives, negatives, strict=True)])

    value, low, high = band(measure, weights)
    return pd.DataFrame({"recall": GRID, "precision": value, "low": low, "high": high})


def _sensitivity_at(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Highest sensitivity at each false positive fraction of `GRID`; weights are ordered by falling score."""
    if positives.sum() == 0 or negatives.sum() == 0:
        return np.full(len(GRID), np.nan)
    alarmed = np.r_[0.0, np.cumsum(negatives)] / negatives.sum()
    found = np.r_[0.0, np.cumsum(positives)] / positives.sum()
    return found[np.searchsorted(alarmed, GRID + 1e-9, side="right") - 1]


def _precision_at(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Highest precision at each recall of `GRID` or above; weights are ordered by falling score."""
    if positives.sum() == 0:
        return np.full(len(GRID), np.nan)
    found, alarmed = np.cumsum(positives), np.cumsum(negatives)
    called = found + alarmed
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(found / positives.sum(), GRID - 1e-9)]


def calibration_curve(
    target: np.ndarray, probability: np.ndarray, *, weights: np.ndarray, num_bins: int
) -> pd.DataFrame:
    """Observed malignant fraction per probability bin.

    Returns:
        Columns `bin_low`, `bin_high`, `num_images`, `mean_probability`, `malignant_fraction`, `low`, `high`
        (95 % interval of the fraction; nan in empty bins).
    """
    is_in = calibration_bins(probability, num_bins)[:, None] == np.arange(num_bins)

    def share(weights: np.ndarray) -> np.ndarray:
        return divide(weights @ (is_in * target[:, None]), weights @ is_in)

    value, low, high = band(share, weights)
    num_images = is_in.sum(0)
    return pd.DataFrame(
        {
            "bin_low": np.arange(num_bins) / num_bins,
            "bin_high": np.arange(1, num_bins + 1) / num_bins,
            "num_images": num_images,
            "mean_probability": divide(probability @ is_in, num_images),
            "malignant_fraction": value,
            "low": low,
            "high": high,
        }
    )
