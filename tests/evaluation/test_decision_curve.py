import numpy as np
import pytest

from melanoma.evaluation.bootstrap import draw_weights
from melanoma.evaluation.decision_curve import THRESHOLDS, decision_curve, shift
from melanoma.evaluation.metrics import compute_metrics

pytestmark = pytest.mark.filterwarnings("error")


def curve(target, probability, prevalences, fitted=None):
    target, probability = np.asarray(target), np.asarray(probability, dtype=float)
    weights = draw_weights(np.arange(len(target)).astype(str), num_draws=100, seed=1)
    fitted = float(target.mean()) if fitted is None else fitted
    return decision_curve(
        target, probability, weights=weights, prevalences=prevalences, fitted_prevalence=fitted
    )


def at(table, threshold: float):
    return table.iloc[int(np.argmin(np.abs(table["threshold_probability"] - threshold)))]


def test_net_benefit_by_hand():
    # at 0.2 three of four are found and two of six alarmed: 3/10 - 2/10 * (0.2 / 0.8)
    target = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    probability = [0.9, 0.8, 0.6, 0.1, 0.7, 0.4, 0.1, 0.1, 0.1, 0.1]
    found = at(curve(target, probability, [0.4]), 0.2)
    assert found["net_benefit"] == pytest.approx(3 / 10 - 2 / 10 / 4)
    assert found["treat_all"] == pytest.approx(4 / 10 - 6 / 10 / 4)
    assert found["low"] <= found["net_benefit"] <= found["high"]


def test_a_flawless_model_has_the_prevalence_as_its_net_benefit_everywhere():
    table = curve([1, 1, 0, 0], [1, 1, 0, 0], [0.5])
    assert table["net_benefit"].tolist() == pytest.approx([0.5] * len(THRESHOLDS))


def test_who_calls_everything_malignant_is_as_good_as_treating_everybody():
    table = curve([1, 0, 0, 0], [1, 1, 1, 1], [0.25, 0.02])
    assert table["net_benefit"].tolist() == pytest.approx(table["treat_all"].tolist())


def test_who_calls_nothing_malignant_has_no_net_benefit():
    assert set(curve([1, 0, 0, 0], [0, 0, 0, 0], [0.25])["net_benefit"]) == {0}


def test_probabilities_are_shifted_to_the_odds_of_the_clinic():
    # odds of 1, fitted where half are malignant; where a fifth is, a quarter of that
    assert shift(np.array([0.5]), 0.5, 0.2)[0] == pytest.approx(0.2)
    assert shift(np.array([0.0, 1.0]), 0.5, 0.02).tolist() == pytest.approx([0, 1])
    assert shift(np.array([0.3]), 0.4, 0.4)[0] == pytest.approx(0.3)


def test_every_prevalence_has_every_threshold():
    table = curve([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.3], [0.02, 0.2])
    assert table.groupby("prevalence").size().to_dict() == {0.02: len(THRESHOLDS), 0.2: len(THRESHOLDS)}


def test_the_curve_is_the_net_benefit_of_the_metrics_at_each_threshold(counted):
    target, probability = counted
    weights = draw_weights(np.arange(10).astype(str), num_draws=1, seed=1)
    table = decision_curve(target, probability, weights=weights, prevalences=[0.4], fitted_prevalence=0.4)
    for threshold, benefit, end in zip(THRESHOLDS, table["net_benefit"], table["low"], strict=True):
        for own, expected in ((np.ones((1, 10)), benefit), (weights, end)):
            values = compute_metrics(target, probability, threshold=threshold, weights=own)
            alarmed = 1 - values["specificity"][0]
            by_hand = 0.4 * values["sensitivity"][0] - 0.6 * alarmed * threshold / (1 - threshold)
            assert expected == pytest.approx(by_hand, abs=1e-12)


def test_a_draw_without_one_class_leaves_no_curve():
    assert curve([0, 0, 0], [0.9, 0.1, 0.2], [0.2], fitted=0.2)["net_benefit"].isna().all()
