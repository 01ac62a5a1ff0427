import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from patsy import dmatrix
from scipy.special import expit

from melanoma.evaluation.calibration_curve import bins, smooth
from melanoma.evaluation.calibration_measures import measure
from melanoma.scoring.operating_point import logit
from tests.simulations.calibration import binormal

pytestmark = pytest.mark.filterwarnings("error")

MEASURED = ["malignant_fraction", "low", "high"]


def curve(target, probability, groups=None) -> pd.DataFrame:
    groups = np.arange(len(target)) if groups is None else np.asarray(groups)
    return smooth(np.asarray(target), np.asarray(probability, dtype=float), groups)


def test_with_few_groups_the_curve_is_the_logistic_recalibration():
    target, log_odds, groups = binormal(1, num_groups=30, prevalence=0.3)
    found = smooth(target, expit(log_odds), groups)
    reference = sm.GLM(target, sm.add_constant(log_odds), family=sm.families.Binomial()).fit()
    at = logit(found["mean_probability"].to_numpy())
    np.testing.assert_allclose(found["malignant_fraction"], reference.predict(sm.add_constant(at)), atol=1e-6)
    assert reference.params[1] == pytest.approx(
        measure(target, expit(log_odds), groups)["calibration_slope"]["value"]
    )


@pytest.mark.parametrize(
    ("num_groups", "quantiles"), [(80, (0.1, 0.5, 0.9)), (400, (0.05, 0.35, 0.65, 0.95))]
)
def test_with_more_groups_it_is_the_regression_on_the_natural_spline_of_patsy(num_groups, quantiles):
    target, log_odds, groups = binormal(2, num_groups=num_groups, prevalence=0.5)
    low, *inner, high = np.quantile(log_odds, quantiles)

    def spline(x: np.ndarray) -> np.ndarray:
        given = {"x": x, "inner": inner, "low": low, "high": high}
        return np.asarray(dmatrix("cr(x, knots=inner, lower_bound=low, upper_bound=high) - 1", given))

    reference = sm.GLM(target, spline(log_odds), family=sm.families.Binomial()).fit()
    found = smooth(target, expit(log_odds), groups)
    at = logit(found["mean_probability"].to_numpy())
    np.testing.assert_allclose(found["malignant_fraction"], reference.predict(spline(at)), atol=1e-6)


def test_the_curve_lies_within_its_band_and_both_within_0_and_1():
    target, log_odds, groups = binormal(3, num_groups=200, prevalence=0.2)
    found = smooth(target, expit(log_odds), groups)
    assert (found["low"] < found["malignant_fraction"]).all()
    assert (found["malignant_fraction"] < found["high"]).all()
    assert found[MEASURED].to_numpy().min() >= 0
    assert found[MEASURED].to_numpy().max() <= 1
    assert found["mean_probability"].iloc[[0, -1]].tolist() == pytest.approx(
        [expit(log_odds).min(), expit(log_odds).max()]
    )
    assert set(found["undefined"]) == {""}


def test_copies_of_images_do_not_narrow_the_band():
    target, log_odds, groups = binormal(4, num_groups=100, prevalence=0.4)
    once = smooth(target, expit(log_odds), groups)
    often = smooth(np.repeat(target, 3), np.repeat(expit(log_odds), 3), np.repeat(groups, 3))
    np.testing.assert_allclose(often[MEASURED], once[MEASURED], atol=0.02)


@pytest.mark.parametrize(
    ("target", "probability", "reason"),
    [
        ([], [], "there is no image"),
        ([0, 0, 0], [0.1, 0.2, 0.3], "all images are of one class"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "all images are of one class"),
        ([0, 1, 0], [0.1, np.nan, 0.3], "1 of 3 probabilities are not finite"),
        ([0, 1, 0, 1], [0.3] * 4, "all probabilities are equal"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], "no negative image has a higher probability"),
    ],
)
def test_without_a_curve_the_table_says_why(target, probability, reason):
    found = curve(target, probability)
    assert len(found) > 0
    assert found[MEASURED].isna().all(axis=None)
    assert found["undefined"].str.contains(reason).all()


def test_two_malignant_groups_give_a_curve_without_a_band():
    found = curve([1, 1, 0, 0, 0, 0], [0.4, 0.25, 0.5, 0.3, 0.2, 0.1])
    assert found["malignant_fraction"].notna().all()
    assert found[["low", "high"]].isna().all(axis=None)
    assert set(found["undefined"]) == {"too few groups for a band"}
    three = curve([1, 1, 1, 0, 0, 0], [0.4, 0.25, 0.6, 0.5, 0.3, 0.1])
    assert three[MEASURED].notna().all(axis=None)


def test_ties_take_knots_away_and_not_the_curve():
    generator = np.random.default_rng(5)
    probability = generator.choice([0.1, 0.3, 0.6], 600)
    target = (generator.random(600) < probability).astype(int)
    found = curve(target, probability)
    for value in (0.1, 0.3, 0.6):
        row = found.iloc[int(np.argmin(np.abs(found["mean_probability"] - value)))]
        assert row["low"] < target[probability == value].mean() < row["high"]


def test_the_bins_of_a_counted_example():
    table = bins(np.array([0, 1, 1, 1, 0]), np.array([0.1, 0.15, 0.6, 0.7, 1.0]), num_bins=5)
    assert table["num_images"].tolist() == [2, 0, 0, 2, 1]
    assert table["malignant_fraction"].dropna().tolist() == [1 / 2, 1, 0]
    assert table["mean_probability"].dropna().tolist() == pytest.approx([0.125, 0.65, 1.0])
    assert table["bin_low"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert table["bin_high"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
