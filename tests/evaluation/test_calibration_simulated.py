import pytest

from tests.simulations import calibration


def number(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


@pytest.fixture(scope="module")
def rows():
    return {f"{row.rule}, {row.truth}": row for row in calibration.simulate(100, 3)}


def of_rule(rows, *words: str):
    (found,) = [row for name, row in rows.items() if all(word in name for word in words)]
    return found


@pytest.mark.parametrize("name", ["intercept", "slope", "observed expected", "brier skill", "curve"])
def test_intervals_hold_the_truth_nearly_as_often_as_promised(rows, name):
    # of 100 draws; a rule that covers 0.95 falls below 0.88 once in 300 times
    assert number(of_rule(rows, name, "worst coverage").after) >= 0.88


def test_the_clustered_covariance_alone_covers_the_slope_too_rarely(rows):
    assert number(of_rule(rows, "slope").before) < 0.88


def test_the_error_of_a_calibrated_model_is_half_of_what_it_was_and_that_of_a_wrong_one_remains(rows):
    calibrated = of_rule(rows, "error", "calibrated")
    assert number(calibrated.before) > 0.09
    assert number(calibrated.after) < number(calibrated.before) / 2
    wrong = of_rule(rows, "error", "too high")
    assert abs(number(wrong.after) - 0.1) < abs(number(wrong.before) - 0.1)


def test_a_model_that_always_says_0_passed_and_is_refused(rows):
    row = of_rule(rows, "always says 0")
    assert number(row.before) > 0.8
    assert number(row.after) == 0


def test_the_net_benefit_elsewhere_is_that_of_the_closed_form(rows):
    row = of_rule(rows, "decision curve")
    assert number(row.after) < 0.001 < number(row.before)
