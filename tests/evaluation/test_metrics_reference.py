"""The metrics against scikit-learn, on random scores with ties and with weighted samples."""

import numpy as np
import pytest
from sklearn import metrics as reference

from melanoma.evaluation.metrics import METRICS, compute_metrics, roc_curve
from melanoma.training import scores

pytestmark = pytest.mark.filterwarnings("error")

THRESHOLD = 0.4


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
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [abs(np.sum((sample_weight * (target - probability))[bins == number])) for number in range(10)]
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


def draw(seed: int, *, num_decimals: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = np.r_[0, 1, generator.integers(0, 2, size=78)]
    noisy = generator.random(80) * 0.8 + 0.2 * target
    return target, noisy.round(num_decimals)


def expected(name: str, target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> float:
    if name in OF_PROBABILITIES:
        return float(OF_PROBABILITIES[name](target, probability, sample_weight=weights))
    return float(OF_DECISIONS[name](target, probability >= THRESHOLD, sample_weight=weights))


@pytest.mark.parametrize("num_decimals", [1, 16], ids=["ties", "no ties"])
@pytest.mark.parametrize("name", [*OF_DECISIONS, *OF_PROBABILITIES])
def test_plain_metrics_equal_those_of_scikit_learn(name, num_decimals):
    for seed in range(10):
        target, probability = draw(seed, num_decimals=num_decimals)
        once = np.ones(len(target))
        ours = compute_metrics(target, probability, threshold=THRESHOLD, weights=once[None])[name]
        assert ours[0] == pytest.approx(expected(name, target, probability, once), abs=1e-12)


@pytest.mark.parametrize("kind", ["whole with zeros", "real"])
@pytest.mark.parametrize("name", [*OF_DECISIONS, *OF_PROBABILITIES])
def test_each_row_of_weights_equals_sample_weight_of_scikit_learn(name, kind):
    generator = np.random.default_rng(11)
    target, probability = draw(3, num_decimals=1)
    size = (12, len(target))
    weights = generator.random(size) if kind == "real" else generator.poisson(1, size).astype(float)
    ours = compute_metrics(target, probability, threshold=THRESHOLD, weights=weights)[name]
    theirs = [expected(name, target, probability, row) for row in weights]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_decimals", [1, 16], ids=["ties", "no ties"])
def test_roc_points_equal_those_of_scikit_learn(num_decimals):
    target, probability = draw(5, num_decimals=num_decimals)
    ours = roc_curve(target, probability)
    false_positives, sensitivity, thresholds = reference.roc_curve(
        target, probability, drop_intermediate=False
    )
    np.testing.assert_allclose(ours["false_positive_fraction"], false_positives, rtol=0, atol=1e-15)
    np.testing.assert_allclose(ours["sensitivity"], sensitivity, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(ours["threshold"], thresholds)


def test_specificity_at_95_sensitivity_is_that_by_which_trials_are_compared():
    for seed in range(20):
        target, probability = draw(seed, num_decimals=1)
        once = np.ones((1, len(target)))
        ours = compute_metrics(target, probability, threshold=THRESHOLD, weights=once)
        name = "specificity_at_95_sensitivity"
        assert ours[name][0] == pytest.approx(scores.OBJECTIVES[name](target, probability))


def test_every_metric_has_a_reference():
    assert {*OF_DECISIONS, *OF_PROBABILITIES} == set(METRICS)
