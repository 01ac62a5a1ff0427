"""Metrics of a binary classifier, for one or many weightings of the samples at once.

Every function takes `weights` of shape `(num_draws, num_samples)`: how often each sample counts in each draw.
One row of ones gives the plain metric; the rows of a bootstrap give its distribution by matrix products,
without a loop over draws. Undefined values (0 / 0) are nan, never 0 or 1.
"""

import numpy as np

NUM_BINS = 10  # default of the expected calibration error
PARTIAL_FROM = 0.8  # sensitivity
CLINICAL_SENSITIVITY = 0.95


def compute_metrics(
    target: np.ndarray,
    probability: np.ndarray,
    *,
    threshold: float | np.ndarray,
    weights: np.ndarray,
    num_bins: int = NUM_BINS,
) -> dict[str, np.ndarray]:
    """Each of `metric_table.WEIGHTED`, of shape `(num_draws,)`.

    Args:
        target: Shape `(num_samples,)`, 1 positive, 0 negative.
        probability: Shape `(num_samples,)`, in 0..1.
        threshold: Probability at or above which a sample is called positive: one for all, or one for each,
            shape `(num_samples,)`.
        weights: Shape `(num_draws, num_samples)`, not negative.
        num_bins: Number of equal probability bins of the expected calibration error.
    """
    counts = confusion_counts(target, probability >= threshold, weights=weights)
    return (
        confusion_metrics(counts)
        | _ranking_metrics(target, probability, weights)
        | _probability_metrics(target, probability, weights)
        | {"expected_calibration_error": _calibration_error(target, probability, weights, num_bins)}
    )


def at_prevalence(
    sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float
) -> dict[str, np.ndarray]:
    """`ppv` and `npv` at another prevalence, by Bayes' rule; nan where undefined.

    Args:
        sensitivity: Sensitivity, any shape, in 0..1; assumed to hold at that prevalence.
        specificity: Specificity, same shape, in 0..1; assumed to hold as well.
        prevalence: Fraction of positive lesions, in (0, 1).
    """
    tp, fn = sensitivity * prevalence, (1 - sensitivity) * prevalence
    tn, fp = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    return {"ppv": divide(tp, tp + fp), "npv": divide(tn, tn + fn)}


def confusion_counts(target: np.ndarray, called: np.ndarray, *, weights: np.ndarray) -> dict[str, np.ndarray]:
    """True and false positives and negatives, each of shape `(num_draws,)`.

    Args:
        target: Shape `(num_samples,)`, 1 positive, 0 negative.
        called: Shape `(num_samples,)`, bool, whether a sample is called positive.
        weights: Shape `(num_draws, num_samples)`.
    """
    positive = target == 1
    return {
        "true_positives": weights @ (positive & called),
        "false_negatives": weights @ (positive & ~called),
        "false_positives": weights @ (~positive & called),
        "true_negatives": weights @ (~positive & ~called),
    }


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient of two arrays of the same shape; nan where the denominator is zero."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) > 0)


def confusion_metrics(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics that follow from `confusion_counts`; undefined ones are nan."""
    tp, fn = counts["true_positives"], counts["false_negatives"]
    fp, tn = counts["false_positives"], counts["true_negatives"]
    sensitivity, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
    return {
        "accuracy": divide(tp + tn, tp + fn + fp + tn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": divide(tp, tp + fp),
        "npv": divide(tn, tn + fn),
        "f1_score": divide(2.0 * tp, 2 * tp + fp + fn),
    }


def _ranking_metrics(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Metrics that depend only on the order of the scores.

    The area under the ROC curve (ties count half); average precision (a step function, as in sklearn); the
    area under the ROC curve above a sensitivity of 0.8, in 0..0.2 (as in the ISIC 2024 challenge); the
    highest specificity at a sensitivity of at least 95 %.
    """
    positives, negatives = weights_by_score(target, probability, weights)
    found, alarmed = np.cumsum(positives, axis=1), np.cumsum(negatives, axis=1)
    num_positives, num_negatives = found[:, -1], alarmed[:, -1]
    beaten = num_negatives[:, None] - alarmed + negatives / 2
    precision = divide(found, found + alarmed)
    # Scores that no drawn sample has add no recall; their precision may be undefined.
    gained = np.where(positives > 0, positives * precision, 0).sum(1)
    # A segment of the curve rises from found - positives to found; the part of it above the bound counts.
    above = np.clip(found - PARTIAL_FROM * num_positives[:, None], 0, positives)
    # Mean distance of that part from the right end: it is halfway through the rest of the segment.
    share = divide(above, positives)
    right = num_negatives[:, None] - alarmed + negatives * np.nan_to_num(share) / 2
    # The small term keeps 0.95 * 20 = 19.000000000000004 from asking for 20 of 20.
    suffices = found >= CLINICAL_SENSITIVITY * num_positives[:, None] - 1e-9
    first = np.argmax(suffices, axis=1)
    is_defined = (num_positives > 0) & (num_negatives > 0)
    alarmed_there = np.take_along_axis(alarmed, first[:, None], axis=1)[:, 0]
    pairs = num_positives * num_negatives
    return {
        "auc_roc": divide((positives * beaten).sum(1), pairs),
        "average_precision": divide(gained, num_positives),
        "partial_auc_above_80_sensitivity": divide((above * right).sum(1), pairs),
        "specificity_at_95_sensitivity": np.where(
            is_defined, 1 - divide(alarmed_there, num_negatives), np.nan
        ),
    }


def weights_by_score(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of positive and negative samples at each distinct score, highest score first.

    Returns:
        Two arrays of shape `(num_draws, num_scores)`.
    """
    order = np.argsort(-probability, kind="stable")
    score = probability[order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    ordered, is_malignant = weights[:, order].astype(np.float64), target[order] == 1
    positives = np.add.reduceat(ordered * is_malignant, starts, axis=1)
    negatives = np.add.reduceat(ordered * ~is_malignant, starts, axis=1)
    return positives, negatives


def _probability_metrics(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    tiny = np.finfo(np.float64).eps
    clipped = np.clip(probability, tiny, 1 - tiny)
    surprise = -np.where(target == 1, np.log(clipped), np.log1p(-clipped))
    total = weights.sum(1)
    return {
        "brier_score": divide(weights @ (probability - target) ** 2, total),
        "log_loss": divide(weights @ surprise, total),
    }


def calibration_bins(probability: np.ndarray, num_bins: int) -> np.ndarray:
    """The bin `0..num_bins - 1` of each probability: equal steps, closed below; 1 is in the last bin."""
    return np.minimum((probability * num_bins).astype(np.int64), num_bins - 1)


def _calibration_error(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray, num_bins: int
) -> np.ndarray:
    """Mean distance of probability and positive fraction over bins, weighted by their number of samples.

    Chance alone makes it positive. So the variance that a bin's gap has if its probabilities are right is
    subtracted from the squared gap; what remains below 0 counts as 0, which leaves about half of the bias of
    a calibrated model. Images of a group that resemble each other leave more. Sources: Naeini et al.,
    Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; Kumar et al., Verified
    uncertainty calibration, NeurIPS 2019.
    """
    is_in = calibration_bins(probability, num_bins)[:, None] == np.arange(num_bins)
    gap = weights @ (is_in * (target - probability)[:, None])
    by_chance = weights**2 @ (is_in * (probability * (1 - probability))[:, None])
    left = np.sqrt(np.clip(gap**2 - by_chance, 0, None))
    return divide(left.sum(1), weights.sum(1))


def roc_curve(target: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """Points of the ROC curve, from nothing called positive to everything.

    Returns:
        `threshold` (inf first), `sensitivity` and `false_positive_fraction`, each of shape
        `(num_scores + 1,)`; nan where a class is absent.
    """
    positives, negatives = weights_by_score(target, probability, np.ones((1, len(target))))
    true_positives = np.r_[0.0, np.cumsum(positives[0])]
    false_positives = np.r_[0.0, np.cumsum(negatives[0])]
    return {
        "threshold": np.r_[np.inf, np.unique(probability)[::-1]],
        "sensitivity": divide(true_positives, np.full_like(true_positives, positives.sum())),
        "false_positive_fraction": divide(false_positives, np.full_like(false_positives, negatives.sum())),
    }
