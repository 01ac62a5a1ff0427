import time
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit

from melanoma.evaluation import calibration
from melanoma.evaluation.calibration_measures import NAMES, FitError, measure
from melanoma.scoring.operating_point import logit
from tests.simulations import calibration as simulation

pytestmark = pytest.mark.filterwarnings("error")

INTERCEPT, SLOPE, OBSERVED_EXPECTED, SKILL = NAMES


def drawn(
    seed: int, *, num_groups: int = 60, slope: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, probabilities and groups of one to four images; calibrated with slope 1 and no shift."""
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(num_groups), generator.integers(1, 5, num_groups))
    log_odds = generator.normal(-0.5, 1.2, num_groups)[group] + generator.normal(0, 0.5, len(group))
    target = (generator.random(len(group)) < expit(log_odds)).astype(int)
    return target, expit((log_odds - shift) / slope), group.astype(str)


def measured(target, probability, groups=None) -> dict:
    groups = np.arange(len(target)) if groups is None else np.asarray(groups)
    return measure(np.asarray(target), np.asarray(probability, dtype=float), groups)


def is_nan(entry, *names: str) -> bool:
    return all(np.isnan(entry[name]) for name in names)


# ---- counted examples ------------------------------------------------------------------------


def test_observed_and_skill_by_hand(counted):
    target, probability = counted
    found = measured(target, probability)
    assert found[OBSERVED_EXPECTED]["value"] == pytest.approx(4 / 4.4)
    brier = (0.01 + 0.04 + 0.16 + 0.49 + 0.49 + 0.16 + 0.09 + 0.04 + 0.01 + 0.01) / 10
    assert found[SKILL]["value"] == pytest.approx(1 - brier / (0.4 * 0.6))


def test_equal_probabilities_need_the_intercept_that_makes_them_the_prevalence():
    # a quarter is positive, odds 1/3; the probabilities say odds 1
    found = measured([1, 0, 0, 0] * 5, [0.5] * 20)
    assert found[INTERCEPT]["value"] == pytest.approx(np.log(1 / 3))
    assert found[OBSERVED_EXPECTED]["value"] == pytest.approx(1 / 2)
    assert found[SKILL]["value"] == pytest.approx(1 - 0.25 / (0.25 * 0.75))


def test_two_probabilities_of_which_both_are_too_extreme_have_a_slope_below_one():
    # of five at 0.1 one is positive, of five at 0.9 four are: log odds 4 instead of 9
    target, probability = [1, 0, 0, 0, 0, 1, 1, 1, 1, 0], [0.1] * 5 + [0.9] * 5
    found = measured(target, probability)
    assert found[SLOPE]["value"] == pytest.approx(np.log(4) / np.log(9))
    assert found[INTERCEPT]["value"] == pytest.approx(0, abs=1e-9)


# ---- against statsmodels ---------------------------------------------------------------------


def fit(target, log_odds, *, with_slope: bool, **options):
    ones = np.ones((len(target), 1))
    features, offset = (np.c_[ones, log_odds], None) if with_slope else (ones, log_odds)
    return sm.GLM(target, features, family=sm.families.Binomial(), offset=offset).fit(**options)


@pytest.mark.parametrize("with_slope", [False, True])
def test_the_interval_is_the_jackknife_of_refitted_regressions(with_slope):
    target, probability, groups = drawn(1, slope=0.7, shift=0.5)
    found = measure(target, probability, groups)[SLOPE if with_slope else INTERCEPT]
    log_odds = logit(probability)
    value = fit(target, log_odds, with_slope=with_slope).params[-1]
    assert found["value"] == pytest.approx(value, abs=1e-8)
    refitted = [
        fit(target[groups != group], log_odds[groups != group], with_slope=with_slope).params[-1]
        for group in np.unique(groups)
    ]
    error = np.sqrt((1 - 1 / len(refitted)) * np.sum((np.array(refitted) - value) ** 2))
    assert (found["high"] - found["low"]) / 2 > 1.96 * error
    # Of t: 2.02 for the groups of the rarer class, more where few groups decide the error.
    assert 2.0 * error < (found["high"] - found["low"]) / 2 < 2.25 * error


@pytest.mark.parametrize("with_slope", [False, True])
def test_with_many_groups_the_interval_is_the_clustered_one(with_slope):
    target, probability, groups = drawn(2, num_groups=3_000, slope=1.3)
    found = measure(target, probability, groups)[SLOPE if with_slope else INTERCEPT]
    codes = np.unique(groups, return_inverse=True)[1]
    options = {"cov_type": "cluster", "cov_kwds": {"groups": codes}}
    low, high = fit(target, logit(probability), with_slope=with_slope, **options).conf_int()[-1]
    assert found["low"] == pytest.approx(low, abs=0.004)
    assert found["high"] == pytest.approx(high, abs=0.004)


def test_the_intervals_of_ratio_and_skill_are_jackknives_of_their_logarithms():
    target, probability, groups = drawn(3)
    found = measure(target, probability, groups)

    def log_ratio(rows: np.ndarray) -> float:
        return float(np.log(target[rows].sum() / probability[rows].sum()))

    def log_brier(rows: np.ndarray) -> float:
        return float(np.log(np.mean((probability[rows] - target[rows]) ** 2) / np.var(target[rows])))

    scales: dict[str, Any] = {
        OBSERVED_EXPECTED: (log_ratio, np.log),
        SKILL: (log_brier, lambda end: np.log(1 - end)),
    }
    everything = np.ones(len(target), dtype=bool)
    for name, (of_rows, to_scale) in scales.items():
        value = of_rows(everything)
        left_out = np.array([of_rows(groups != group) for group in np.unique(groups)])
        error = np.sqrt((1 - 1 / len(left_out)) * np.sum((left_out - value) ** 2))
        ends = sorted([to_scale(found[name]["low"]), to_scale(found[name]["high"])])
        assert to_scale(found[name]["value"]) == pytest.approx(value)
        assert (ends[1] - value) == pytest.approx(value - ends[0])
        assert 2.0 * error < (ends[1] - ends[0]) / 2 < 2.25 * error


def test_images_of_one_group_count_as_fewer_than_as_many_single_ones():
    target, probability, groups = drawn(4, num_groups=300)
    single = measure(target, probability, np.arange(len(target)))
    copies = measure(np.repeat(target, 4), np.repeat(probability, 4), np.repeat(np.arange(len(target)), 4))
    grouped = measure(target, probability, groups)
    for name in NAMES:
        assert copies[name] == pytest.approx(single[name], rel=0.02, abs=1e-6)
        assert grouped[name]["value"] == pytest.approx(single[name]["value"])


def test_the_order_of_images_and_the_names_of_groups_change_nothing():
    target, probability, groups = drawn(5)
    found = measure(target, probability, groups)
    order = np.random.default_rng(1).permutation(len(target))
    renamed = np.char.add("z", groups)[order]
    again = measure(target[order], probability[order], renamed)
    for name in NAMES:
        assert again[name] == pytest.approx(found[name], abs=1e-8)


# ---- with the error of the calibration -------------------------------------------------------


@pytest.mark.parametrize("method", ["logistic", "temperature"])
def test_the_error_of_the_calibration_is_the_jackknife_of_refitted_calibrations(method):
    target, score, groups = drawn(
        21, num_groups=150, slope=2.0, shift=0.0 if method == "temperature" else 0.4
    )
    test, scored, others = drawn(22, num_groups=400, slope=2.0)

    def calibrated(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fitted = calibration.fit(method, target[rows], score[rows], trained_prevalence=0.5)
        return fitted.apply(score), fitted.apply(scored)

    of_fit, probability = calibrated(np.ones(len(target), dtype=bool))
    fitted = FitError.of(target, of_fit, groups, method=method)
    alone, both = (measure(test, probability, others, fitted=given) for given in (None, fitted))
    refitted = [measure(test, calibrated(groups != group)[1], others) for group in np.unique(groups)]
    for name in (INTERCEPT, SLOPE, OBSERVED_EXPECTED):
        scale = np.log if name == OBSERVED_EXPECTED else float
        assert both[name]["value"] == alone[name]["value"]
        left_out = np.array([scale(found[name]["value"]) for found in refitted])
        error = np.sqrt((1 - 1 / len(left_out)) * np.sum((left_out - scale(both[name]["value"])) ** 2))
        halves = [(scale(found[name]["high"]) - scale(found[name]["low"])) / 2 for found in (alone, both)]
        # Both halves are quantiles of t with many degrees of freedom, 2.0 at 50 and 1.96 at most.
        assert np.sqrt(halves[1] ** 2 - halves[0] ** 2) == pytest.approx(2.0 * error, rel=0.12)
    assert both[SKILL] == alone[SKILL]


def test_what_was_not_fitted_has_no_error_and_changes_nothing():
    assert FitError.of(*drawn(23), method="none") is None


def test_a_calibration_on_few_groups_leaves_values_without_intervals_and_says_so():
    target, probability = np.array([1, 1, 0, 0, 0, 0]), np.array([0.6, 0.2, 0.5, 0.3, 0.1, 0.1])
    fitted = FitError.of(target, probability, np.arange(6), method="logistic")
    found = measure(*drawn(24), fitted=fitted)
    for name in (INTERCEPT, SLOPE, OBSERVED_EXPECTED):
        assert np.isfinite(found[name]["value"])
        assert is_nan(found[name], "low", "high")
        reason = "calibration images: 2.0 effective positive groups; an interval needs at least 3"
        assert found[name]["undefined"] == reason
    assert "undefined" not in found[SKILL]


# ---- where something is missing --------------------------------------------------------------


def test_where_everything_is_defined_no_reason_is_given():
    for entry in measure(*drawn(6)).values():
        assert set(entry) == {"value", "low", "high"}
        assert entry["low"] < entry["value"] < entry["high"]


@pytest.mark.parametrize(
    ("target", "probability", "reason"),
    [
        ([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], "no negative image has a higher probability"),
        ([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.3, 0.8, 0.9], "no negative image has a higher probability"),
        ([1, 1, 1, 0, 0, 0], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], "no positive image has a higher probability"),
        ([0, 1, 0, 1, 0, 0], [0.3] * 6, "all probabilities are equal"),
        ([0, 1, 0, 1, 0, 0], [0.0] * 6, "all probabilities are equal"),
    ],
    ids=["apart", "apart but for a tie", "reversed", "constant", "always 0"],
)
def test_without_a_finite_slope_the_entry_says_why(target, probability, reason):
    found = measured(target, probability)
    assert is_nan(found[SLOPE], "value", "low", "high")
    assert reason in found[SLOPE]["undefined"]
    assert np.isfinite(found[INTERCEPT]["value"]) == (max(probability) > 0)


def test_one_pair_in_the_wrong_order_suffices_for_a_slope():
    found = measured([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    assert np.isfinite(found[SLOPE]["value"])


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_a_ratio_but_no_regression_and_no_skill(label):
    found = measured([label] * 4, [0.1, 0.2, 0.3, 0.4])
    assert found[OBSERVED_EXPECTED]["value"] == pytest.approx(4 * label)
    assert is_nan(found[OBSERVED_EXPECTED], "low", "high")
    for name in (INTERCEPT, SLOPE, SKILL):
        assert is_nan(found[name], "value", "low", "high")
        assert found[name]["undefined"] == "all images are of one class"


def test_fewer_than_three_effective_groups_of_a_class_give_values_without_intervals():
    target, probability = [1, 1, 1, 0, 0, 0, 0], [0.6, 0.2, 0.5, 0.3, 0.1, 0.1, 0.1]
    # Groups of two images and one: 3² / (2² + 1²) = 1.8.
    found = measured(target, probability, ["m", "m", "n", "a", "b", "c", "d"])
    for entry in found.values():
        assert np.isfinite(entry["value"])
        assert is_nan(entry, "low", "high")
        assert entry["undefined"] == "1.8 effective positive groups; an interval needs at least 3"
    three = measured(target, probability, ["m", "n", "o", "a", "b", "c", "d"])
    assert all(np.isfinite(list(entry.values())).all() for entry in three.values())


def test_a_group_above_half_of_the_images_gives_no_number_without_meaning():
    generator = np.random.default_rng(11)
    probability = generator.uniform(0.05, 0.95, 101)
    target = (generator.random(101) < probability).astype(int)
    for entry in measured(target, probability, ["huge"] * 60 + [str(at) for at in range(41)]).values():
        assert "undefined" in entry or all(abs(entry[name]) < 100 for name in ("low", "high"))


def test_a_single_group_gives_no_interval():
    for entry in measured([1, 0, 1, 0], [0.6, 0.7, 0.3, 0.1], ["one"] * 4).values():
        assert is_nan(entry, "low", "high")


def test_a_group_without_which_nothing_is_left_to_fit_is_named():
    # All others have the same probability.
    groups = ["a"] * 4 + list("bcdefghi")
    found = measured([1, 0] * 6, [0.9, 0.9, 0.2, 0.2] + [0.5] * 8, groups)
    assert np.isfinite(found[SLOPE]["value"])
    assert found[SLOPE]["undefined"] == "one group decides: without it the value is not defined"
    assert is_nan(found[SLOPE], "low", "high")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_probabilities_that_are_no_numbers_leave_nothing(bad):
    for entry in measured([1, 0, 1, 0], [0.5, bad, 0.2, 0.1]).values():
        assert is_nan(entry, "value", "low", "high")
        assert entry["undefined"] == "1 of 4 probabilities are not finite"


def test_no_images_leave_nothing():
    assert all(entry["undefined"] == "there is no image" for entry in measured([], []).values())


def test_flawless_certainty_has_the_interval_of_a_rate_without_hits():
    found = measured([1] * 10 + [0] * 10, [1] * 10 + [0] * 10)
    most = 1 - 0.025 ** (1 / 20)  # of Clopper and Pearson for 0 of 20
    assert found[SKILL] == pytest.approx({"value": 1, "low": 1 - most / 0.25, "high": 1})
    assert "are 0 or 1" in found[INTERCEPT]["undefined"]


def test_confident_images_without_an_error_do_not_pretend():
    found = measured([1] * 5 + [0] * 5, [0.9] * 5 + [0.1] * 5)
    assert found[SKILL]["value"] == pytest.approx(0.96)
    assert found[SKILL]["low"] < 0 < found[SKILL]["high"]


@pytest.mark.parametrize(("num", "wrong"), [(20, 0.02), (80, 0.02), (200, 0.005)])
def test_confident_calibrated_probabilities_are_covered(num, wrong):
    for name, share in simulation.confident_coverage(150, 1, num, wrong).items():
        assert share >= 0.93, name


def test_zeros_and_ones_count_as_a_ten_millionth_beside_them():
    target, probability, groups = drawn(7)
    ends = np.where(np.arange(len(target)) % 10 == 0, np.round(probability), probability)
    nearly = np.clip(ends, 1e-7, 1 - 1e-7)
    for name in (INTERCEPT, SLOPE):
        assert measure(target, ends, groups)[name] == measure(target, nearly, groups)[name]


def test_who_always_says_0_has_no_skill_and_no_intercept():
    target, _, groups = drawn(8)
    found = measure(target, np.zeros(len(target)), groups)
    assert found[SKILL]["value"] == pytest.approx(-target.mean() / (1 - target.mean()))
    assert found[SKILL]["high"] < 0
    assert found[INTERCEPT]["undefined"] == "100 % of the probabilities are 0 or 1"
    assert found[OBSERVED_EXPECTED]["undefined"] == "all probabilities are 0"


def test_a_slice_is_measured_within_milliseconds():
    given = drawn(9, num_groups=400)
    measure(*given)
    start = time.perf_counter()
    for _ in range(10):
        measure(*given)
    assert (time.perf_counter() - start) / 10 < 0.1
