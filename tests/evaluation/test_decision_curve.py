import numpy as np
import pytest
from scipy.stats import norm

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
    # odds of 1, fitted where half are positive; where a fifth is, a quarter of that
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


def binormal(num: int, prevalence: float, *, gap: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and log likelihood ratios of scores that are normal in both classes, `gap` apart."""
    generator = np.random.default_rng(3)
    target = (np.arange(num) < prevalence * num).astype(int)
    return target, gap * generator.normal(gap * target, 1) - gap**2 / 2


def true_net_benefit(prevalence: float, *, gap: float = 1.5) -> np.ndarray:
    odds = THRESHOLDS / (1 - THRESHOLDS)
    cut = (np.log(odds) - np.log(prevalence / (1 - prevalence))) / gap + gap / 2
    return norm.sf(cut - gap) * prevalence - norm.sf(cut) * (1 - prevalence) * odds


@pytest.mark.parametrize("fitted", [0.5, 0.3])
@pytest.mark.parametrize("prevalence", [0.02, 0.2])
def test_a_calibrated_model_has_the_net_benefit_of_the_closed_form_elsewhere(fitted, prevalence):
    target, log_ratio = binormal(200_000, 0.3)
    probability = 1 / (1 + np.exp(-(log_ratio + np.log(fitted / (1 - fitted)))))
    weights = np.ones((1, len(target)))
    table = decision_curve(
        target, probability, weights=weights, prevalences=[prevalence], fitted_prevalence=fitted
    )
    np.testing.assert_allclose(table["net_benefit"], true_net_benefit(prevalence), atol=0.002)
    # with the prior of another prevalence somebody acts at another risk
    wrong = decision_curve(
        target, probability, weights=weights, prevalences=[prevalence], fitted_prevalence=0.9
    )
    assert np.abs(wrong["net_benefit"] - true_net_benefit(prevalence)).max() > 0.01 * prevalence


@pytest.mark.parametrize(
    ("target", "fitted", "reason"),
    [
        ([0, 0, 0], 0.2, "there is no positive image"),
        ([1, 1, 1], 0.2, "there is no negative image"),
        ([1, 0, 0], 0.0, "where one class is absent"),
        ([1, 0, 0], 1.0, "where one class is absent"),
        ([1, 0, 0], np.nan, "is not known"),
        ([1, 0, 0], None, "is not known"),
    ],
)
@pytest.mark.parametrize("probability", [[0.9, 0.1, 0.2], [1.0, 0.0, 0.0]])
def test_without_a_class_or_a_prevalence_there_is_no_curve_and_the_table_says_why(
    target, fitted, reason, probability
):
    target, weights = np.array(target), np.ones((2, 3))
    table = decision_curve(
        target, np.array(probability), weights=weights, prevalences=[0.2, 0.1], fitted_prevalence=fitted
    )
    assert table[["net_benefit", "low", "high"]].isna().all(axis=None)
    assert table["undefined"].str.contains(reason).all()


def test_where_there_is_a_curve_nothing_is_undefined():
    table = curve([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.3], [0.02, 0.2])
    assert table["net_benefit"].notna().all()
    assert set(table["undefined"]) == {""}
