"""Metrics of a binary classifier, for one or many weightings of the samples at once.

Every function takes `weights` of shape `(num_draws, num_samples)`: how often each sample counts in
each draw. One row of ones gives the plain metric; the rows of a bootstrap give its distribution by
matrix products, without a loop over draws. Undefined (nothing to divide by) is nan, never 0 or 1.
"""

import numpy as np

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1_score",
    "auc_roc",
    "average_precision",
    "brier_score",
    "log_loss",
)


def compute_metrics(
    target: np.ndarray, probability: np.ndarray, *, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """All of `METRICS`, each of shape `(num_draws,)`.

    Args:
        target: Shape `(num_samples,)`, 1 malignant, 0 benign.
        probability: Shape `(num_samples,)`, in 0..1.
        threshold: A sample is called malignant when its probability is at least this.
        weights: Shape `(num_draws, num_samples)`, not negative.
    """
    counts = confusion_counts(target, probability >= threshold, weights=weights)
    return (
        _confusion_metrics(counts)
        | _ranking_metrics(target, probability, weights)
        | _probability_metrics(target, probability, weights)
    )


def confusion_counts(target: np.ndarray, called: np.ndarray, *, weights: np.ndarray) -> dict[str, np.ndarray]:
    """True and false positives and negatives, each of shape `(num_draws,)`.

    Args:
        target: Shape `(num_samples,)`, 1 malignant, 0 benign.
        called: Shape `(num_samples,)`, bool: called malignant.
        weights: Shape `(num_draws, num_samples)`.
    """
    malignant = target == 1
    return {
        "true_positives": weights @ (malignant & called),
        "false_negatives": weights @ (malignant & ~called),
        "false_positives": weights @ (~malignant & called),
        "true_negatives": weights @ (~malignant & ~called),
    }


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient, nan where the denominator is zero."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) > 0)


def _confusion_metrics(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tp, fn = counts["true_positives"], counts["false_negatives"]
    fp, tn = counts["false_positives"], counts["true_negatives"]
    sensitivity, specificity = _divide(tp, tp + fn), _divide(tn, tn + fp)
    return {
        "accuracy": _divide(tp + tn, tp + fn + fp + tn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _divide(tp, tp + fp),
        "npv": _divide(tn, tn + fn),
        "f1_score": _divide(2.0 * tp, 2 * tp + fp + fn),
    }


def _ranking_metrics(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Area under the ROC curve (ties count half) and average precision (a step function, as sklearn)."""
    positives, negatives = _weights_by_score(target, probability, weights)
    num_positives, num_negatives = positives.sum(1), negatives.sum(1)
    negatives_above = np.cumsum(negatives, axis=1) - negatives
    beaten = num_negatives[:, None] - negatives_above - negatives / 2
    called_malignant = np.cumsum(positives + negatives, axis=1)
    precision = _divide(np.cumsum(positives, axis=1), called_malignant)
    # Scores that no drawn sample has add no recall; their precision may be undefined.
    gained = np.where(positives > 0, positives * precision, 0).sum(1)
    return {
        "auc_roc": _divide((positives * beaten).sum(1), num_positives * num_negatives),
        "average_precision": _divide(gained, num_positives),
    }


def _weights_by_score(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of malignant and of benign samples at each different score, highest score first.

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
        "brier_score": _divide(weights @ (probability - target) ** 2, total),
        "log_loss": _divide(weights @ surprise, total),
    }


def roc_curve(target: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """Points of the ROC curve, from nothing called malignant to everything.

    Returns:
        `threshold` (inf first), `sensitivity` and `false_positive_fraction`, each of shape
        `(num_scores + 1,)`; nan where a class is absent.
    """
    positives, negatives = _weights_by_score(target, probability, np.ones((1, len(target))))
    true_positives = np.r_[0.0, np.cumsum(positives[0])]
    false_positives = np.r_[0.0, np.cumsum(negatives[0])]
    return {
        "threshold": np.r_[np.inf, np.unique(probability)[::-1]],
        "sensitivity": _divide(true_positives, np.full_like(true_positives, positives.sum())),
        "false_positive_fraction": _divide(false_positives, np.full_like(false_positives, negatives.sum())),
    }
