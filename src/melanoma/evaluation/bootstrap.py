"""Metrics with 95 % intervals over groups, a bootstrap where `intervals` has no better one.

Images of one group (lesion, patient, copies) are not independent, so a draw takes all images of a group or
none, which widens the intervals as it must.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from melanoma.evaluation import calibration_measures, intervals
from melanoma.evaluation.intervals import Entry
from melanoma.evaluation.metric_table import METRICS
from melanoma.evaluation.metrics import (
    NUM_BINS,
    at_prevalence,
    compute_metrics,
)

INTERVAL = (2.5, 97.5)  # percentiles
UNDEFINED = "undefined"
SPECIFICITY = "specificity_at_95_sensitivity"
MIN_MALIGNANT_GROUPS = 50  # effective ones, for `SPECIFICITY`: 5 % of fewer are hardly two groups
NO_INTERVAL = {  # a bootstrap covers its truth in 52 to 98 % of simulations, depending on the truth
    "expected_calibration_error": "a mean of distances is biased near 0, so no interval would hold"
}
BLOCK_CELLS = 2_000_000  # draws times samples at once: 16 MB per array, a dozen of them in use


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


def described(value: float, draws: np.ndarray) -> Entry:
    """`value` with the ends `low` and `high` of the 95 % interval of its draws.

    Draws that are all alike say nothing about other images, so both ends are then nan.
    """
    low, high = interval(draws)
    if low == high:
        return intervals.entry(value, np.nan, np.nan, undefined="all draws of groups give the same value")
    return intervals.entry(value, low, high, undefined="it is not defined on these images")


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


def in_words(entry: Mapping[str, Any]) -> str:
    """`0.895 (0.749 to 0.993)`; nan, or null in JSON, is `undefined`."""
    value, low, high = (number_in_words(entry[name]) for name in ("value", "low", "high"))
    if value == UNDEFINED:
        return UNDEFINED
    return f"{value} (interval {UNDEFINED})" if low == high == UNDEFINED else f"{value} ({low} to {high})"


def explained(entry: Mapping[str, Any]) -> str:
    """As `in_words`, with the reason for what is undefined."""
    reason = entry.get("undefined")
    return f"{in_words(entry)}: {reason}" if reason else in_words(entry)


def number_in_words(value: float | None) -> str:
    """Three digits, or `undefined`."""
    return UNDEFINED if value is None or not np.isfinite(value) else f"{value:.3f}"


def metrics_with_intervals(
    target: np.ndarray,
    probability: np.ndarray,
    group_ids: np.ndarray,
    *,
    threshold: float | np.ndarray,
    draws: Draws,
    num_bins: int = NUM_BINS,
    fitted: calibration_measures.FitError | None = None,
) -> dict[str, Entry]:
    """Each metric of `metric_table.METRICS` as `value`, `low`, `high` (95 % interval).

    Rates and AUC have the intervals of `intervals`, calibration that of `calibration_measures`, all others a
    bootstrap over groups. An entry in which one of the three is nan says why as `undefined`.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`.
        group_ids: Shape `(num_samples,)`.
        threshold: See `metrics.compute_metrics`.
        draws: Draws of groups.
        num_bins: See `metrics.compute_metrics`.
        fitted: Error of the calibration, see `calibration_measures.measure`.
    """
    found = mean_with_intervals(
        target, probability[None], group_ids, threshold=threshold, draws=draws, num_bins=num_bins
    )
    found |= calibration_measures.measure(target, probability, group_ids, fitted=fitted)
    return {name: found[name] for name in METRICS}


def mean_with_intervals(
    target: np.ndarray,
    probabilities: np.ndarray,
    group_ids: np.ndarray,
    *,
    threshold: float | np.ndarray,
    draws: Draws,
    num_bins: int = NUM_BINS,
) -> dict[str, Entry]:
    """The mean over fixed models of each metric of `compute_metrics`, with its interval over groups.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probabilities: Shape `(num_models, num_samples)`; all models see the same draws.
        group_ids: Shape `(num_samples,)`.
        threshold: See `metrics.compute_metrics`.
        draws: Draws of groups.
        num_bins: See `metrics.compute_metrics`.
    """

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return _mean_metrics(target, probabilities, weights, threshold=threshold, num_bins=num_bins)

    exact = intervals.rates(target, probabilities >= threshold, group_ids)
    exact["auc_roc"] = intervals.auc(target, probabilities, group_ids)
    rest = _bootstrapped(measure, draws.weights(group_ids), leave_out=tuple(exact))
    reason = _why_undefined(target)
    if reason:
        rest = {
            name: entry if np.isfinite(entry["value"]) else intervals.undefined_entry(reason)
            for name, entry in rest.items()
        }
    return _without_few(exact | rest, target, group_ids)


def _mean_metrics(
    target: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray,
    *,
    threshold: float | np.ndarray,
    num_bins: int,
) -> dict[str, np.ndarray]:
    found = [
        compute_metrics(target, probability, threshold=threshold, weights=weights, num_bins=num_bins)
        for probability in probabilities
    ]
    return {name: np.mean([metrics[name] for metrics in found], axis=0) for name in found[0]}


def _bootstrapped(
    measure: Callable[[np.ndarray], dict[str, np.ndarray]], weights: np.ndarray, leave_out: Collection[str]
) -> dict[str, Entry]:
    """Metrics of `measure` by name, with the intervals of their draws."""
    values = {
        name: value[0]
        for name, value in measure(np.ones((1, weights.shape[1]))).items()
        if name not in leave_out
    }

    def stacked(weights: np.ndarray) -> np.ndarray:
        found = measure(weights)
        return np.stack([found[name] for name in values], axis=1)

    drawn = in_blocks(stacked, weights)
    found = {name: described(value, drawn[:, at]) for at, (name, value) in enumerate(values.items())}
    return found | {
        name: intervals.entry(values[name], np.nan, np.nan, undefined=reason)
        for name, reason in NO_INTERVAL.items()
        if name in found
    }


def _why_undefined(target: np.ndarray) -> str:
    for value, word in ((1, "positive"), (0, "negative")):
        if not (target == value).any():
            return f"no image is {word}"
    return ""


def _without_few(found: dict[str, Entry], target: np.ndarray, group_ids: np.ndarray) -> dict[str, Entry]:
    """Metrics without the specificity at 95 % sensitivity where too few positive groups support it."""
    reason = why_no_specificity(target, group_ids) if SPECIFICITY in found else ""
    return found | {SPECIFICITY: intervals.undefined_entry(reason)} if reason else found


def why_no_specificity(target: np.ndarray, group_ids: np.ndarray) -> str:
    """Why there is no specificity at 95 % sensitivity; empty if there is one."""
    num = intervals.effective_groups(group_ids[target == 1])
    if num >= MIN_MALIGNANT_GROUPS - intervals.ROUNDING:
        return ""
    return (
        f"{np.floor(10 * num) / 10:g} effective positive groups, and fewer than {MIN_MALIGNANT_GROUPS} do "
        "not fix a sensitivity of 0.95"
    )


def mean_difference(
    target: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    group_ids: np.ndarray,
    *,
    threshold: float,
    draws: Draws,
) -> dict[str, Entry]:
    """Each metric's mean over the models `first` minus that over `second`, with paired 95 % intervals.

    That of the AUC is `intervals.auc_difference`. All others, those of rates among them, are percentiles of a
    bootstrap over groups, which is too narrow with few groups.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        first: Probabilities, shape `(num_models, num_samples)`.
        second: Probabilities of other models for the same samples.
        group_ids: Shape `(num_samples,)`.
        threshold: See `metrics.compute_metrics`.
        draws: Draws of groups; all models see the same.
    """

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        one, other = (
            _mean_metrics(target, models, weights, threshold=threshold, num_bins=NUM_BINS)
            for models in (first, second)
        )
        return {name: one[name] - other[name] for name in one}

    found = _bootstrapped(measure, draws.weights(group_ids), leave_out=("auc_roc",))
    if np.array_equal(first, second):  # not only no spread: on any image they would agree
        nothing = intervals.entry(0, 0, 0)
        found = {name: nothing if entry["value"] == 0 else entry for name, entry in found.items()}
    found["auc_roc"] = intervals.auc_difference(target, first, second, group_ids)
    return _without_few(found, target, group_ids)


def restated(
    target: np.ndarray,
    probability: np.ndarray,
    group_ids: np.ndarray,
    *,
    threshold: float,
    prevalences: Sequence[float],
) -> list[dict[str, Any]]:
    """`ppv` and `npv` at other prevalences of positive lesions.

    Both rise with sensitivity and with specificity, so the ends of their intervals come from the ends of
    those two. They cover at least as often as promised, mostly more often.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`.
        group_ids: Shape `(num_samples,)`.
        threshold: Probability at or above which a sample is called positive.
        prevalences: Prevalences in (0, 1); `metrics.at_prevalence` states the assumption.

    Returns:
        For each prevalence: `prevalence`, and `ppv` and `npv` as `value`, `low`, `high`.
    """
    found = intervals.rates(target, probability >= threshold, group_ids)
    sensitivity, specificity = (
        np.array([found[name][end] for end in ("value", "low", "high")])
        for name in ("sensitivity", "specificity")
    )
    reason = _why_undefined(target) or "no image is called so"
    return [
        {"prevalence": prevalence}
        | {
            name: intervals.entry(*ends, undefined=reason)
            for name, ends in at_prevalence(sensitivity, specificity, prevalence).items()
        }
        for prevalence in prevalences
    ]
