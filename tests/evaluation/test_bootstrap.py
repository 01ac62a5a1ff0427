import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest

from melanoma.evaluation import bootstrap, comparisons
from melanoma.evaluation.bootstrap import (
    SPECIFICITY,
    Draws,
    draw_weights,
    interval,
    mean_difference,
    metrics_with_intervals,
    restated,
)
from melanoma.evaluation.intervals import Entry
from melanoma.evaluation.metric_table import METRICS

pytestmark = pytest.mark.filterwarnings("error")

difference = partial(comparisons.difference, level=0.95)
SINGLETONS = np.array([f"group_{number}" for number in range(40)])


def grouped(counted: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each image of the counted example in a group of its own."""
    return *counted, SINGLETONS[:10]


def width(entry: dict[str, float]) -> float:
    return entry["high"] - entry["low"]


def test_all_images_of_a_group_have_the_same_weight():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = draw_weights(groups, num_draws=50, seed=1)
    assert weights.shape == (50, 6)
    for name in "abc":
        of_group = weights[:, groups == name]
        assert (of_group == of_group[:, :1]).all()


def test_a_draw_takes_as_many_groups_as_there_are():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    first_of_each = [1, 0, 3]
    weights = draw_weights(groups, num_draws=50, seed=1)
    assert (weights[:, first_of_each].sum(1) == 3).all()


def test_weights_of_single_images_add_up_to_their_number():
    weights = draw_weights(SINGLETONS, num_draws=50, seed=1)
    assert (weights.sum(1) == 40).all()


def test_weights_are_whole_numbers_and_not_all_alike():
    weights = draw_weights(SINGLETONS, num_draws=50, seed=1)
    assert (weights == weights.round()).all()
    assert weights.min() == 0
    assert weights.max() > 1


def test_each_group_is_drawn_equally_often_in_the_long_run():
    weights = draw_weights(np.array(["a", "b", "b", "c"]), num_draws=20_000, seed=1)
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.03)  # four standard errors are 0.023


def test_the_same_seed_draws_the_same_and_another_does_not():
    draws = [draw_weights(SINGLETONS, num_draws=50, seed=seed) for seed in (1, 1, 2)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def test_one_group_is_always_drawn_once():
    assert (draw_weights(np.array(["a", "a"]), num_draws=9, seed=1) == 1).all()


def test_the_interval_is_the_middle_95_percent():
    assert interval(np.arange(1001.0)) == (25, 975)


def test_undefined_draws_are_left_out_of_the_interval():
    draws = np.r_[np.arange(1001.0), np.full(500, np.nan)]
    assert interval(draws) == (25, 975)


def test_the_interval_of_undefined_draws_is_nan():
    assert np.isnan(interval(np.full(5, np.nan))).all()


def test_perfect_answers_have_exact_intervals_or_none():
    target = np.tile([1, 0], 20)
    table = metrics_with_intervals(
        target, np.where(target == 1, 0.75, 0.25), SINGLETONS, threshold=0.5, draws=Draws(200, 1)
    )
    for name in ("accuracy", "sensitivity", "specificity", "ppv", "npv"):
        exact = binomtest(20 if name != "accuracy" else 40, 20 if name != "accuracy" else 40)
        assert table[name]["value"] == table[name]["high"] == 1
        assert table[name]["low"] == pytest.approx(exact.proportion_ci(method="exact").low)
    for name in ("f1_score", "average_precision", "brier_score"):
        assert math.isnan(table[name]["low"])
        assert math.isnan(table[name]["high"])
        assert table[name]["undefined"] == "all draws of groups give the same value"
    assert table["brier_score"]["value"] == 1 / 16
    assert "perfectly" in table["auc_roc"]["undefined"]


def test_the_value_is_the_metric_of_the_plain_samples(counted):
    table = metrics_with_intervals(*grouped(counted), threshold=0.5, draws=Draws(200, 1))
    assert tuple(table) == METRICS
    assert table["sensitivity"]["value"] == 3 / 4
    assert table["auc_roc"]["value"] == pytest.approx(20.5 / 24)
    undefined = {name for name, entry in table.items() if "undefined" in entry}
    assert undefined == {"specificity_at_95_sensitivity", "expected_calibration_error"}
    assert all(
        entry["low"] <= entry["value"] <= entry["high"]
        for name, entry in table.items()
        if name not in undefined
    )


def test_the_calibration_error_is_a_figure_without_an_interval(counted):
    entry = metrics_with_intervals(*grouped(counted), threshold=0.5, draws=Draws(200, 1))[
        "expected_calibration_error"
    ]
    assert entry["value"] == pytest.approx((0.7**2 - 0.7 * 0.3) ** 0.5 / 10)
    assert math.isnan(entry["low"])
    assert math.isnan(entry["high"])
    assert "no interval would hold" in entry["undefined"]


def test_a_metric_of_an_absent_class_is_nan_with_a_nan_interval():
    table = metrics_with_intervals(
        np.zeros(40), np.full(40, 0.5), SINGLETONS, threshold=0.5, draws=Draws(20, 1)
    )
    for name in ("auc_roc", "average_precision", "partial_auc_above_80_sensitivity", "sensitivity", "npv"):
        assert all(np.isnan(table[name][end]) for end in ("value", "low", "high"))
    assert table["auc_roc"]["undefined"] == table["average_precision"]["undefined"] == "no image is positive"
    assert table["npv"]["undefined"] == "no image is called negative"
    assert (table["specificity"]["value"], table["specificity"]["low"]) == (0, 0)
    assert table["specificity"]["high"] == pytest.approx(1 - 0.025 ** (1 / 40))


def test_the_interval_of_an_accuracy_has_the_width_that_theory_gives():
    # 30 of 40 right: the normal interval is 2 * 1.96 * sqrt(3/4 * 1/4 / 40) = 0.268 wide
    target, probability = np.ones(40), np.repeat([0.9, 0.1], [30, 10])
    table = metrics_with_intervals(target, probability, SINGLETONS, threshold=0.5, draws=Draws(100, 1))
    assert width(table["accuracy"]) == pytest.approx(0.268, abs=0.03)


def test_groups_whose_images_agree_widen_the_interval():
    target, probability = np.ones(40), np.repeat([0.9, 0.1], [28, 12])
    widths = []
    for groups in (SINGLETONS, np.repeat(SINGLETONS[:10], 4)):
        table = metrics_with_intervals(target, probability, groups, threshold=0.5, draws=Draws(2000, 1))
        widths.append([width(table[name]) for name in ("accuracy", "f1_score")])
    # four copies of an image say as much as one: the interval doubles
    assert widths[1][0] / widths[0][0] == pytest.approx(2, abs=0.25)
    assert widths[1][1] / widths[0][1] == pytest.approx(2, abs=0.25)


def lead(target, first, second) -> dict[str, Entry]:
    models = (np.atleast_2d(first), np.atleast_2d(second))
    groups = SINGLETONS[: len(target)]
    return mean_difference(target, *models, groups, threshold=0.5, draws=Draws(200, 1))


def test_a_model_differs_from_itself_by_exactly_nothing(counted):
    found = lead(counted[0], counted[1], counted[1])
    assert found.pop(SPECIFICITY)["undefined"].startswith("4 effective positive groups")
    assert {(entry["value"], entry["low"], entry["high"]) for entry in found.values()} == {(0, 0, 0)}


def test_models_that_answer_alike_on_these_images_may_differ_on_others(counted):
    target, probability = counted
    found = lead(target, probability, np.where(probability >= 0.5, 0.99, 0.01))["sensitivity"]
    assert found["value"] == 0
    assert found["undefined"] == "all draws of groups give the same value"


def test_a_difference_is_first_minus_second(counted):
    target, probability = counted
    ahead, behind = (lead(target, *pair) for pair in ((target, probability), (probability, target)))
    assert ahead["auc_roc"]["value"] == pytest.approx(3.5 / 24)
    assert ahead["accuracy"]["value"] == pytest.approx(1 - 8 / 10)
    for name in ("auc_roc", "accuracy", "brier_score"):
        assert ahead[name]["low"] < ahead[name]["value"] < ahead[name]["high"]
        assert behind[name]["low"] == pytest.approx(-ahead[name]["high"], abs=1e-12)


def test_a_difference_of_means_is_the_mean_of_differences(counted):
    target, probability = counted
    found = lead(target, [target, probability], [probability, probability])
    assert found["auc_roc"]["value"] == pytest.approx(3.5 / 48)
    assert found["accuracy"]["value"] == pytest.approx(1 / 10)


def test_pairing_narrows_the_interval_of_two_like_models():
    generator = np.random.default_rng(3)
    target = np.tile([1, 0], 20)
    first = np.clip(generator.normal(0.3 + 0.4 * target, 0.2), 0, 1)
    second = np.clip(first + generator.normal(0, 0.01, size=40), 0, 1)
    alone = metrics_with_intervals(target, first, SINGLETONS, threshold=0.5, draws=Draws(500, 1))
    for name in ("auc_roc", "brier_score", "average_precision"):
        assert width(lead(target, first, second)[name]) < width(alone[name]) / 2


def test_a_difference_is_undefined_without_one_class():
    found = lead(np.ones(40), np.full(40, 0.5), np.full(40, 0.4))["auc_roc"]
    assert all(np.isnan(found[end]) for end in ("value", "low", "high"))
    assert found["undefined"] == "no image is negative"


@pytest.mark.parametrize(("num", "is_defined"), [(49, False), (50, True)])
def test_the_specificity_at_95_sensitivity_needs_fifty_malignant_groups(num, is_defined):
    target = np.repeat([1, 0], [num, 60])
    score = np.random.default_rng(1).normal(target)
    groups = np.arange(len(target))
    probability = 1 / (1 + np.exp(-score))
    found = metrics_with_intervals(target, probability, groups, threshold=0.5, draws=Draws(100, 1))
    assert np.isfinite(found[SPECIFICITY]["value"]) == is_defined
    assert ("undefined" in found[SPECIFICITY]) != is_defined


def test_unequal_groups_count_as_fewer_everywhere():
    # 59 groups, one of 11 images: (58 + 11)² / (58 + 121) = 26.6 effective ones
    target = np.repeat([1, 0], [69, 60])
    groups = np.r_[np.arange(58), np.full(11, 58), np.arange(59, 119)]
    probability = 1 / (1 + np.exp(-np.random.default_rng(1).normal(target)))
    draws = Draws(50, 1)
    alone = metrics_with_intervals(target, probability, groups, threshold=0.5, draws=draws)[SPECIFICITY]
    paired = difference(target, probability, 1 - probability, groups, metric=SPECIFICITY, draws=draws)
    assert alone["undefined"] == paired["undefined"]
    assert alone["undefined"].startswith("26.5 effective positive groups, and fewer than 50")


def test_rounding_is_no_spread():
    # the positive images are first in both orders, so both are perfect, but sums of other orders are rounded
    target = np.repeat([1, 0], [7, 6])
    first = np.linspace(0.95, 0.05, 13)
    second = np.r_[first[6::-1], first[7:]]
    groups = np.r_[np.arange(7), np.arange(7, 13)]
    found = difference(target, first, second, groups, metric="average_precision", draws=Draws(200, 1))
    assert found["value"] == pytest.approx(0, abs=1e-12)
    assert found["undefined"] == "the draws of groups leave no spread to measure"
    assert math.isnan(found["standard_error"])
    shown = difference(target, first, 1 - first, groups, metric="average_precision", draws=Draws(200, 1))
    assert shown["standard_error"] > 0


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"value": 0.895, "low": 0.749, "high": 0.9931}, "0.895 (0.749 to 0.993)"),
        ({"value": 1.0, "low": math.nan, "high": 1.0, "undefined": "why"}, "1.000 (undefined to 1.000): why"),
        ({"value": 0.5, "low": None, "high": None, "undefined": "why"}, "0.500 (interval undefined): why"),
        ({"value": None, "low": None, "high": None, "undefined": "why"}, "undefined: why"),
        ({"value": None, "low": None, "high": None}, "undefined"),  # of an earlier version
    ],
)
def test_an_entry_in_words(entry, words):
    assert bootstrap.explained(entry) == words
    assert bootstrap.in_words(entry) == words.removesuffix(": why")


def test_blocks_of_draws_do_not_change_the_result(counted, monkeypatch):
    draws = Draws(103, 1)
    whole = metrics_with_intervals(*grouped(counted), threshold=0.5, draws=draws)
    monkeypatch.setattr(bootstrap, "BLOCK_CELLS", 70)  # seven draws at a time
    assert metrics_with_intervals(*grouped(counted), threshold=0.5, draws=draws) == whole


def test_a_difference_of_a_metric_that_needs_a_threshold_is_refused(counted):
    target, probability = counted
    draws = Draws(10, 1)
    with pytest.raises(ValueError, match="must be one of"):
        difference(target, probability, probability, SINGLETONS[:10], metric="accuracy", draws=draws)
    with pytest.raises(ValueError, match="must be one of"):
        difference(target, probability, probability, SINGLETONS[:10], metric="brier_skill", draws=draws)
    assert (
        difference(target, probability, probability, SINGLETONS[:10], metric="log_loss", draws=draws)["high"]
        == 0
    )


def test_predictive_values_restated_by_hand(counted):
    # sensitivity 3/4 and specificity 5/6; at 1/10: 3/4 * 1/10 = 9/120 found, 1/6 * 9/10 = 18/120 alarmed
    (row,) = restated(*grouped(counted), threshold=0.5, prevalences=[0.1])
    assert row["prevalence"] == 0.1
    assert row["ppv"]["value"] == pytest.approx(9 / 27)
    assert row["npv"]["value"] == pytest.approx((5 / 6 * 9 / 10) / (5 / 6 * 9 / 10 + 1 / 4 * 1 / 10))
    assert row["ppv"]["low"] < 9 / 27 < row["ppv"]["high"]


def test_at_the_prevalence_of_the_data_the_predictive_values_are_those_of_the_data(counted):
    draws = Draws(10, 1)
    (row,) = restated(*grouped(counted), threshold=0.5, prevalences=[0.4])
    plain = metrics_with_intervals(*grouped(counted), threshold=0.5, draws=draws)
    for name in ("ppv", "npv"):
        assert row[name]["value"] == pytest.approx(plain[name]["value"])
