"""95 % intervals by drawing groups with replacement.

Images of one group (lesion, patient, copies) are not independent; a draw takes a group with all its
images or leaves it, which widens intervals honestly.
"""

import numpy as np

from melanoma.evaluation.metrics import compute_metrics

INTERVAL = (2.5, 97.5)  # percentiles


def draw_weights(group_ids: np.ndarray, *, num_draws: int, seed: int) -> np.ndarray:
    """How often each sample counts in each draw.

    Args:
        group_ids: Shape `(num_samples,)`; a draw takes as many groups as there are, with replacement.
        num_draws: Rows of the result.
        seed: Of the draws.

    Returns:
        Shape `(num_draws, num_samples)`, float64, whole numbers.
    """
    names, group_of_sample = np.unique(group_ids, return_inverse=True)
    shares = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), shares, size=num_draws)
    return times[:, group_of_sample].astype(np.float64)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the draws in which the metric is defined; nan when it never is."""
    defined = draws[np.isfinite(draws)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, INTERVAL)
    return float(low), float(high)


def metrics_with_intervals(
    target: np.ndarray, probability: np.ndarray, *, threshold: float, weights: np.ndarray
) -> dict[str, dict[str, float]]:
    """Each metric of `metrics.METRICS` as `value`, `low`, `high` (95 % interval).

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`.
        threshold: See `metrics.compute_metrics`.
        weights: From `draw_weights`.
    """
    once = np.ones((1, len(target)))
    values = compute_metrics(target, probability, threshold=threshold, weights=once)
    draws = compute_metrics(target, probability, threshold=threshold, weights=weights)
    table = {}
    for name, value in values.items():
        low, high = interval(draws[name])
        table[name] = {"value": float(value[0]), "low": low, "high": high}
    return table


def auc_difference(
    target: np.ndarray, first: np.ndarray, second: np.ndarray, *, weights: np.ndarray
) -> dict[str, float]:
    """AUC of `first` minus AUC of `second` on the same samples, with its paired 95 % interval.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        first: Probabilities of one model, shape `(num_samples,)`.
        second: Those of the other.
        weights: From `draw_weights`; both models see the same draws.
    """

    def auc(probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return compute_metrics(target, probability, threshold=0.5, weights=weights)["auc_roc"]

    once = np.ones((1, len(target)))
    low, high = interval(auc(first, weights) - auc(second, weights))
    return {"value": float((auc(first, once) - auc(second, once))[0]), "low": low, "high": high}
