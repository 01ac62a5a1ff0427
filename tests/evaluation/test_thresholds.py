import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.errors import DataError
from melanoma.evaluation.thresholds import threshold_for_sensitivity

pytestmark = pytest.mark.filterwarnings("error")


def sensitivity(target: np.ndarray, probability: np.ndarray, threshold: float) -> float:
    return float(np.mean(probability[target == 1] >= threshold))


@pytest.mark.parametrize(
    ("min_sensitivity", "expected"),
    [
        (1 / 100, 0.9),
        (1 / 4, 0.9),
        (26 / 100, 0.8),
        (1 / 2, 0.8),
        (3 / 4, 0.6),
        (76 / 100, 0.3),
        (1.0, 0.3),
    ],
)
def test_the_threshold_of_the_counted_example(counted, min_sensitivity, expected):
    # the four malignant images have 0.9, 0.8, 0.6 and 0.3
    assert threshold_for_sensitivity(*counted, min_sensitivity=min_sensitivity) == expected


def test_95_percent_of_20_are_exactly_19():
    probability = np.arange(1, 21) / 100
    threshold = threshold_for_sensitivity(np.ones(20), probability, min_sensitivity=0.95)
    assert threshold == 2 / 100  # the lowest of the 20 may be lost, the next may not


@pytest.mark.parametrize("min_percent", range(1, 101))
def test_a_whole_number_of_images_is_not_rounded_up(min_percent):
    # 0.07 * 100 is 7.000000000000001 and 0.55 * 100 is 55.00000000000001
    probability = np.arange(1, 101) / 1000
    threshold = threshold_for_sensitivity(np.ones(100), probability, min_sensitivity=min_percent / 100)
    assert (probability >= threshold).sum() == min_percent


def test_malignant_images_with_the_same_score_are_found_together():
    target = np.array([1, 1, 1, 1, 0])
    probability = np.array([0.9, 0.4, 0.4, 0.4, 0.4])
    threshold = threshold_for_sensitivity(target, probability, min_sensitivity=0.5)
    assert threshold == 0.4
    assert sensitivity(target, probability, threshold) == 1


def test_benign_scores_play_no_part():
    target = np.array([1, 1, 0, 0])
    for benign in (0.1, 0.5, 0.99):
        probability = np.array([0.8, 0.6, benign, benign])
        assert threshold_for_sensitivity(target, probability, min_sensitivity=1.0) == 0.6


def test_one_malignant_image_is_enough():
    assert threshold_for_sensitivity(np.array([0, 1]), np.array([0.9, 0.2]), min_sensitivity=0.1) == 0.2


@pytest.mark.parametrize("num_benign", [0, 3])
def test_a_split_without_malignant_images_is_refused(num_benign):
    with pytest.raises(DataError, match="no malignant image"):
        threshold_for_sensitivity(np.zeros(num_benign), np.full(num_benign, 0.5), min_sensitivity=0.95)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=40).filter(
        lambda rows: any(target for target, _ in rows)
    ),
    st.integers(1, 100),
)
def test_the_threshold_is_the_highest_that_reaches_the_sensitivity(rows, min_percent):
    target, score = (np.array(column) for column in zip(*rows, strict=True))
    probability, wanted = score / 20, min_percent / 100
    threshold = threshold_for_sensitivity(target, probability, min_sensitivity=wanted)
    assert sensitivity(target, probability, threshold) >= wanted - 1e-9
    higher = [value for value in probability[target == 1] if value > threshold]
    if higher:
        assert sensitivity(target, probability, min(higher)) < wanted
