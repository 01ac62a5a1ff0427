"""The metrics against scikit-learn, on random scores with ties and with weighted samples."""

import numpy as np
import pytest
from sklearn import metrics as reference

from melanoma.evaluation.metric_table import WEIGHTED
from melanoma.evaluation.metrics import compute_metrics, roc_curve
from melanoma.training import scores
from tests.evaluation.sklearn_metrics import NUM_BINS, OF_DECISIONS, OF_PROBABILITIES, reference_metric

pytestmark = pytest.mark.filterwarnings("error")

THRESHOLD = 0.4


def draw(seed: int, *, num_decimals: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = np.r_[0, 1, generator.integers(0, 2, size=78)]
    noisy = generator.random(80) * 0.8 + 0.2 * target
    return target, noisy.round(num_decimals)


def tolerance(name: str) -> float:
    """A square root near 0 magnifies the last digits."""
    return 1e-7 if name == "expected_calibration_error" else 1e-12


@pytest.mark.parametrize("num_decimals", [1, 16], ids=["ties", "no ties"])
@pytest.mark.parametrize("name", [*OF_DECISIONS, *OF_PROBABILITIES])
def test_plain_metrics_equal_those_of_scikit_learn(name, num_decimals):
    for seed in range(10):
        target, probability = draw(seed, num_decimals=num_decimals)
        once = np.ones(len(target))
        ours = compute_metrics(
            target, probability, threshold=THRESHOLD, weights=once[None], num_bins=NUM_BINS
        )[name]
        theirs = reference_metric(name, target, probability, once, threshold=THRESHOLD)
        assert ours[0] == pytest.approx(theirs, abs=tolerance(name))


@pytest.mark.parametrize("kind", ["whole with zeros", "real"])
@pytest.mark.parametrize("name", [*OF_DECISIONS, *OF_PROBABILITIES])
def test_each_row_of_weights_equals_sample_weight_of_scikit_learn(name, kind):
    generator = np.random.default_rng(11)
    target, probability = draw(3, num_decimals=1)
    size = (12, len(target))
    weights = generator.random(size) if kind == "real" else generator.poisson(1, size).astype(float)
    ours = compute_metrics(target, probability, threshold=THRESHOLD, weights=weights, num_bins=NUM_BINS)[name]
    theirs = [reference_metric(name, target, probability, row, threshold=THRESHOLD) for row in weights]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance(name))


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
    assert {*OF_DECISIONS, *OF_PROBABILITIES} == set(WEIGHTED)
