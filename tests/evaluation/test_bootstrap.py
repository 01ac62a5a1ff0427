import numpy as np
import pytest

from melanoma.evaluation.bootstrap import difference, draw_weights, interval, metrics_with_intervals
from melanoma.evaluation.metrics import METRICS

pytestmark = pytest.mark.filterwarnings("error")

SINGLETONS = np.array([f"group_{number}" for number in range(40)])


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


def test_constant_data_has_an_interval_of_zero_width():
    target = np.tile([1, 0], 20)
    table = metrics_with_intervals(
        target,
        np.where(target == 1, 0.75, 0.25),
        threshold=0.5,
        weights=draw_weights(SINGLETONS, num_draws=200, seed=1),
    )
    for name in ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1_score", "auc_roc"):
        assert table[name] == {"value": 1, "low": 1, "high": 1}
    assert table["brier_score"] == pytest.approx({"value": 1 / 16, "low": 1 / 16, "high": 1 / 16})


def test_the_value_is_the_metric_of_the_plain_samples(counted):
    weights = draw_weights(SINGLETONS[:10], num_draws=200, seed=1)
    table = metrics_with_intervals(*counted, threshold=0.5, weights=weights)
    assert tuple(table) == METRICS
    assert table["sensitivity"]["value"] == 3 / 4
    assert table["auc_roc"]["value"] == 20.5 / 24
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in table.values())


def test_a_metric_of_an_absent_class_is_nan_with_a_nan_interval():
    weights = draw_weights(SINGLETONS, num_draws=20, seed=1)
    table = metrics_with_intervals(np.zeros(40), np.full(40, 0.5), threshold=0.5, weights=weights)
    assert all(np.isnan(value) for value in table["auc_roc"].values())
    assert table["specificity"] == {"value": 0, "low": 0, "high": 0}


def test_the_interval_of_an_accuracy_has_the_width_that_theory_gives():
    # 30 of 40 right: the normal interval is 2 * 1.96 * sqrt(3/4 * 1/4 / 40) = 0.268 wide
    target, probability = np.ones(40), np.repeat([0.9, 0.1], [30, 10])
    weights = draw_weights(SINGLETONS, num_draws=4000, seed=1)
    table = metrics_with_intervals(target, probability, threshold=0.5, weights=weights)
    assert width(table["accuracy"]) == pytest.approx(0.268, abs=0.03)


def test_groups_whose_images_agree_widen_the_interval():
    target, probability = np.ones(40), np.repeat([0.9, 0.1], [28, 12])
    widths = []
    for groups in (SINGLETONS, np.repeat(SINGLETONS[:10], 4)):
        weights = draw_weights(groups, num_draws=2000, seed=1)
        table = metrics_with_intervals(target, probability, threshold=0.5, weights=weights)
        widths.append(width(table["accuracy"]))
    # four copies of an image say as much as one: the interval doubles
    assert widths[1] / widths[0] == pytest.approx(2, abs=0.25)


def test_a_model_differs_from_itself_by_exactly_nothing(counted):
    target, probability = counted
    weights = draw_weights(SINGLETONS[:10], num_draws=200, seed=1)
    lead = difference(target, probability, probability, metric="auc_roc", weights=weights)
    assert lead == {"value": 0, "low": 0, "high": 0}


def test_the_difference_is_first_minus_second(counted):
    target, probability = counted
    weights = draw_weights(SINGLETONS[:10], num_draws=200, seed=1)
    perfect = target.astype(float)
    ahead = difference(target, perfect, probability, metric="auc_roc", weights=weights)
    behind = difference(target, probability, perfect, metric="auc_roc", weights=weights)
    assert ahead["value"] == pytest.approx(3.5 / 24)
    assert ahead["high"] > ahead["low"] >= 0  # nothing beats a perfect ranking
    assert behind == pytest.approx(
        {"value": -ahead["value"], "low": -ahead["high"], "high": -ahead["low"]}, abs=1e-12
    )


def test_pairing_narrows_the_interval_of_two_like_models():
    generator = np.random.default_rng(3)
    target = np.tile([1, 0], 20)
    first = generator.normal(target, 1)
    second = first + generator.normal(0, 0.05, size=40)
    weights = draw_weights(SINGLETONS, num_draws=500, seed=1)
    alone = metrics_with_intervals(target, first, threshold=0.5, weights=weights)["auc_roc"]
    assert width(difference(target, first, second, metric="auc_roc", weights=weights)) < width(alone) / 2


def test_the_difference_is_nan_without_one_class():
    weights = draw_weights(SINGLETONS, num_draws=20, seed=1)
    lead = difference(np.ones(40), np.full(40, 0.5), np.full(40, 0.4), metric="auc_roc", weights=weights)
    assert all(np.isnan(value) for value in lead.values())
