"""Recalibration on simulated clinics: it mends what is wrong, and claims help only where there is some."""

import numpy as np
import pytest
from scipy.special import expit

from melanoma.evaluation import calibration_measures
from melanoma.monitoring import recalibration
from melanoma.monitoring.recalibration import Labelled
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, Calibration, OperatingPoint

OWN = OperatingPoint(Calibration("logistic", slope=1.0, intercept=0.0, prevalence=0.1), 0.1, 0.05, 0.5)


@pytest.fixture
def settings(params):
    return params.recalibrate.model_copy(update={"num_bootstrap_draws": 300})


def clinic(seed, num_groups, *, intercept=0.0, slope=1.0, mean=-2.2, num_images=1):
    """Answers whose true log odds are `intercept + slope * logit(score)`."""
    generator = np.random.default_rng([seed, num_groups])
    group = np.repeat(np.arange(num_groups), num_images)
    log_odds = generator.normal(mean, 1.6, num_groups)[group]
    log_odds = log_odds + generator.normal(0, 0.4, len(group)) * (num_images > 1)
    target = generator.random(len(group)) < expit(intercept + slope * log_odds)
    return Labelled(target.astype(int), expit(log_odds), group.astype(str))


@pytest.mark.parametrize(("intercept", "slope"), [(2.0, 1.0), (-1.0, 0.4), (0.5, 2.0)])
def test_a_shifted_clinic_is_calibrated_afterwards(params, settings, intercept, slope):
    labelled = clinic(1, 600, intercept=intercept, slope=slope)
    found = recalibration.recalibrate(labelled, OWN, settings, params.evaluate)
    assert not found.why_not("logistic")
    before, after = found.before, found.after
    of_slope, of_intercept = "calibration_slope", "calibration_intercept"
    assert before[of_slope]["value"] == pytest.approx(slope, rel=0.3)
    is_far = {name: not before[name]["low"] < ideal < before[name]["high"] for name, ideal in IDEAL.items()}
    assert any(is_far.values())
    for name, ideal in IDEAL.items():
        assert after[name]["low"] < ideal < after[name]["high"]
    assert after[of_intercept]["value"] == pytest.approx(0, abs=0.1)
    assert after[of_slope]["value"] == pytest.approx(1, abs=0.15)
    calibration = found.point.calibration
    assert (calibration.intercept, calibration.slope) == pytest.approx((intercept, slope), rel=0.35, abs=0.35)
    assert after["sensitivity"]["value"] > 0.85  # 0.95 was asked


IDEAL = {"calibration_intercept": 0, "calibration_slope": 1}


def test_a_right_calibration_is_not_helped(params, settings):
    found = recalibration.recalibrate(clinic(2, 300), OWN, settings, params.evaluate)
    (reason,) = found.why_not("logistic")
    assert reason.startswith("recalibration is not shown to help: the cross-fitted gain in log loss is ")
    assert found.gain["log_loss"]["low"] < 0
    assert found.before["calibration_slope"]["low"] < 1 < found.before["calibration_slope"]["high"]


@pytest.mark.slow
@pytest.mark.parametrize(("num_groups", "mean", "num_images"), [(100, -3.2, 1), (100, -2.2, 3)])
def test_help_is_seldom_claimed_in_error(params, settings, num_groups, mean, num_images):
    settings = settings.model_copy(update={"min_labels": 1, "min_of_each_class": 5})
    drawn = [clinic(seed, num_groups, mean=mean, num_images=num_images) for seed in range(200)]
    enough = [one for one in drawn if not recalibration.missing(one, settings)]
    assert len(enough) > 150
    found = [recalibration.recalibrate(one, OWN, settings, params.evaluate) for one in enough]
    assert np.mean([not one.why_not("logistic") for one in found]) <= 0.05


def test_no_answer_is_judged_by_its_own_label(params, settings):
    """Another label changes the operating point of all folds but its own."""
    labelled = clinic(3, 100, intercept=1)
    crossed = recalibration.cross_fit(labelled, OWN, settings, params.evaluate)
    at = int(np.flatnonzero(labelled.target == 1)[0])
    mine = crossed.threshold == crossed.threshold[at]
    assert 15 < mine.sum() < 25
    # Another image of the fold changes its score: all operating points stay that this fold is judged by.
    score = labelled.score.copy()
    score[at] = 0.999
    again = recalibration.cross_fit(
        Labelled(labelled.target, score, labelled.group_ids), OWN, settings, params.evaluate
    )
    np.testing.assert_array_equal(again.threshold[mine], crossed.threshold[mine])
    others = np.flatnonzero(mine & (np.arange(len(mine)) != at))
    np.testing.assert_array_equal(again.probability[others], crossed.probability[others])
    assert (again.probability[~mine] != crossed.probability[~mine]).all()


def test_groups_stay_in_one_fold_and_each_fold_has_both_classes(settings):
    labelled = clinic(4, 120, num_images=3)
    seen = np.zeros(len(labelled.target), int)
    for others, fold in recalibration._folds(labelled, settings):
        assert not set(labelled.group_ids[others]) & set(labelled.group_ids[fold])
        assert set(labelled.target[fold]) == {0, 1}
        seen[fold] += 1
    assert (seen == 1).all()


def test_decisions_are_cross_fitted_too(params, settings):
    labelled = clinic(5, 200, intercept=1)
    crossed = recalibration.cross_fit(labelled, OWN, settings, params.evaluate)
    is_called = crossed.probability >= crossed.threshold
    assert not is_called[crossed.decision == NEGATIVE].any()
    assert is_called[crossed.decision == POSITIVE].all()
    found = recalibration.recalibrate(labelled, OWN, settings, params.evaluate)
    sensitivity = is_called[labelled.target == 1].mean()
    assert found.after["sensitivity"]["value"] == pytest.approx(sensitivity)
    referred = np.isin(crossed.decision, [NEGATIVE, POSITIVE], invert=True).mean()
    assert found.after["three_way"]["referred_fraction"]["value"] == pytest.approx(referred)


def test_the_gain_is_the_mean_difference_of_losses(params, settings):
    labelled = clinic(6, 150, intercept=1)
    found = recalibration.recalibrate(labelled, OWN, settings, params.evaluate)

    def log_loss(probability):
        of_truth = np.where(labelled.target == 1, probability, 1 - probability)
        return -np.log(of_truth).mean()

    gain = log_loss(labelled.score) - log_loss(found.crossed.probability)
    assert found.gain["log_loss"]["value"] == pytest.approx(gain)
    measured = calibration_measures.measure(labelled.target, found.crossed.probability, labelled.group_ids)
    assert found.after["calibration_slope"] == pytest.approx(measured["calibration_slope"])


@pytest.mark.parametrize(
    ("method", "helps"),
    # An isotonic calibration says 0 or 1 for some images, and some of them are wrong.
    [("temperature", True), ("logistic", True), ("isotonic", False), ("none", False)],
)
def test_each_method_of_calibration_can_be_fitted(params, settings, method, helps):
    evaluate = params.evaluate.model_copy(update={"calibration": method})
    found = recalibration.recalibrate(clinic(7, 300, intercept=2), OWN, settings, evaluate)
    assert found.point.calibration.method == method
    assert (not found.why_not(method)) == helps


def test_a_clinic_where_high_scores_mean_negative_is_not_helped(params, settings):
    labelled = clinic(8, 200, intercept=1, slope=-1)
    found = recalibration.recalibrate(labelled, OWN, settings, params.evaluate)
    assert "logistic calibration would reverse the order of the scores" in found.why_not("logistic")[0]
    assert (
        recalibration.recalibrate(clinic(8, 200, intercept=2), OWN, settings, params.evaluate).why_not(
            "logistic"
        )
        == []
    )


def test_what_is_missing_is_counted_in_groups(settings):
    settings = settings.model_copy(update={"min_labels": 10, "min_of_each_class": 3})
    groups = np.array([f"g{number // 2}" for number in range(12)])
    target = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    assert recalibration.missing(Labelled(target, target / 2, groups), settings) == [
        "needs 10 labelled groups, has 6: 4 are missing",
        "needs 3 labelled groups with a positive image, has 2: 1 are missing",
    ]
    groups = np.array([f"g{number}" for number in range(12)])
    assert recalibration.missing(Labelled(target, target / 2, groups), settings) == []
