import math

import pytest

from melanoma.evaluation.resampling import corrected_resampled_t
from tests.simulations import seeds

pytestmark = pytest.mark.filterwarnings("error")


def test_the_interval_of_a_counted_example():
    # mean 2, variance 1 of three folds; standard error sqrt(1/3 + 1/2); t with 2 degrees of freedom 4.3027
    found = corrected_resampled_t([1, 2, 3], num_test=20, num_train=40)
    error = math.sqrt(1 / 3 + 1 / 2)
    assert found["value"] == 2
    assert found["standard_error"] == pytest.approx(error)
    assert found["low"] == pytest.approx(2 - 4.302653 * error)
    assert found["high"] == pytest.approx(2 + 4.302653 * error)
    assert 0.05 < found["p_value"] < 0.2


def test_p_value_and_interval_agree():
    found = corrected_resampled_t([1, 2, 3, 2, 2], num_test=10, num_train=40)
    at_its_level = corrected_resampled_t(
        [1, 2, 3, 2, 2], num_test=10, num_train=40, level=1 - found["p_value"]
    )
    assert at_its_level["low"] == pytest.approx(0, abs=1e-9)


def test_equal_recipes_differ_by_nothing():
    found = corrected_resampled_t([0, 0, 0], num_test=1, num_train=4)
    assert (found["low"], found["high"], found["p_value"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ([], "fewer than two folds have a difference"),
        ([0.1], "fewer than two folds have a difference"),
        ([0.1, math.nan], "some differences are not finite"),
        ([0.1, 0.1], "all folds have the same difference"),
    ],
)
def test_an_undefined_comparison_says_why(differences, reason):
    found = corrected_resampled_t(differences, num_test=1, num_train=4)
    assert math.isnan(found["low"])
    assert math.isnan(found["p_value"])
    assert found["undefined"] == reason


@pytest.mark.parametrize(("num_test", "num_train"), [(0, 4), (1, 0), (math.nan, 4)])
def test_folds_without_groups_are_refused(num_test, num_train):
    with pytest.raises(ValueError, match="must be positive"):
        corrected_resampled_t([1, 2], num_test=num_test, num_train=num_train)
    assert corrected_resampled_t([1, 2], num_test=1, num_train=4)["value"] == 1.5


def test_equal_recipes_are_called_different_too_often_by_seeds_and_folds_alone():
    for row in seeds.simulate(200, 1):
        assert float(row.before) > 0.14
        assert float(row.after) <= 0.08  # 0.05 and two standard errors
