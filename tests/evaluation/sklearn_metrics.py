"""Every metric as scikit-learn or a plain loop says it, for one weighting of the samples."""

import numpy as np
from sklearn import metrics as reference

NUM_BINS = 7  # of the calibration error


def reference_metric(
    name: str, target: np.ndarray, probability: np.ndarray, weights: np.ndarray, *, threshold: float
) -> float:
    """One of `metric_table.WEIGHTED`; `weights` of shape `(num_samples,)`."""
    if name in OF_PROBABILITIES:
        return float(OF_PROBABILITIES[name](target, probability, sample_weight=weights))
    return float(OF_DECISIONS[name](target, probability >= threshold, sample_weight=weights))


def partial_auc(target, probability, sample_weight):
    """sklearn's area left of a false positive rate, with the classes exchanged and McClish's scale undone."""
    standard = reference.roc_auc_score(1 - target, 1 - probability, max_fpr=0.2, sample_weight=sample_weight)
    least, most = 0.2**2 / 2, 0.2
    return least + (standard * 2 - 1) * (most - least)


def specificity_at_95(target, probability, sample_weight):
    false_positives, sensitivity, _ = reference.roc_curve(
        target, probability, sample_weight=sample_weight, drop_intermediate=False
    )
    return 1 - false_positives[sensitivity >= 0.95 - 1e-12].min()


def calibration_error(target, probability, sample_weight):
    bins = np.minimum((probability * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = []
    for number in range(NUM_BINS):
        p, t, w = probability[bins == number], target[bins == number], sample_weight[bins == number]
        gaps.append(max(0, np.sum(w * (t - p)) ** 2 - np.sum(w**2 * p * (1 - p))) ** 0.5)
    return np.sum(gaps) / np.sum(sample_weight)


OF_PROBABILITIES = {
    "partial_auc_above_80_sensitivity": partial_auc,
    "specificity_at_95_sensitivity": specificity_at_95,
    "expected_calibration_error": calibration_error,
    "auc_roc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
    "brier_score": reference.brier_score_loss,
    "log_loss": reference.log_loss,
}
OF_DECISIONS = {
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "sensitivity": reference.recall_score,
    "specificity": lambda *args, **kwargs: reference.recall_score(*args, pos_label=0, **kwargs),
    "ppv": reference.precision_score,
    "npv": lambda *args, **kwargs: reference.precision_score(*args, pos_label=0, **kwargs),
    "f1_score": reference.f1_score,
}
