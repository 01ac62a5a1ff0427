from functools import partial

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from melanoma.errors import DataError
from melanoma.evaluation import calibration
from melanoma.scoring.operating_point import Calibration, logit

METHODS = ("temperature", "logistic", "isotonic")
FITTED = ("none", *METHODS)
fit = partial(calibration.fit, trained_prevalence=0.5)


def overconfident(seed: int, *, num: int = 400, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Targets drawn with the probabilities of logits that the scores treble and shift."""
    generator = np.random.default_rng(seed)
    true_logit = generator.normal(0, 1.2, num)
    target = (generator.random(num) < 1 / (1 + np.exp(-true_logit))).astype(int)
    return target, 1 / (1 + np.exp(-(3 * true_logit + shift)))


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_probabilities_are_better_than_scores(method):
    target, score = overconfident(1)
    fitted = fit(method, target, score)
    unseen, unseen_score = overconfident(2)
    assert log_loss(unseen, np.clip(fitted.apply(unseen_score), 1e-6, 1 - 1e-6)) < log_loss(
        unseen, unseen_score
    )


def test_temperature_finds_the_factor_and_logistic_the_shift_too():
    target, score = overconfident(3, num=20_000, shift=2.0)
    fitted = fit("logistic", target, score)
    assert fitted.slope == pytest.approx(1 / 3, rel=0.05)
    assert fitted.intercept == pytest.approx(-2 / 3, rel=0.1)
    target, score = overconfident(3, num=20_000)
    fitted = fit("temperature", target, score)
    assert fitted.slope == pytest.approx(1 / 3, rel=0.05)
    assert fitted.intercept == 0


def test_logistic_is_nearly_sklearns_own_where_there_is_much_data():
    target, score = overconfident(4, num=20_000)
    reference = LogisticRegression(C=np.inf).fit(logit(score)[:, None], target)
    expected = reference.predict_proba(logit(score)[:, None])[:, 1]
    np.testing.assert_allclose(fit("logistic", target, score).apply(score), expected, atol=2e-3)


def test_temperature_is_nearly_sklearns_own_where_there_is_much_data():
    target, score = overconfident(4, num=20_000)
    features = logit(score)[:, None]
    flipped = np.where(np.random.default_rng(1).random(len(target)) < 0.2, 1 - target, target)
    network = LogisticRegression(C=np.inf).fit(features, flipped)  # too unsure: its labels are noisy
    reference = CalibratedClassifierCV(FrozenEstimator(network), method="temperature").fit(features, target)
    own = network.predict_proba(features)[:, 1]
    fitted = fit("temperature", target, own)
    assert abs(fitted.slope - 1) > 0.1  # there is something to mend
    expected = reference.predict_proba(features)[:, 1]
    np.testing.assert_allclose(fitted.apply(own), expected, atol=2e-3)


def test_isotonic_is_sklearns_own_also_between_the_knots():
    target, score = overconfident(5, num=60)
    reference = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, target)
    grid = np.linspace(0, 1, 500)
    fitted = fit("isotonic", target, score)
    np.testing.assert_allclose(fitted.apply(grid), reference.predict(grid), atol=1e-9)


@pytest.mark.parametrize("method", FITTED)
def test_the_order_of_the_scores_never_turns(method):
    target, score = overconfident(6, num=80)
    probability = fit(method, target, score).apply(np.linspace(0, 1, 1001))
    assert (np.diff(probability) >= 0).all()
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_classes_that_are_told_apart_wholly_give_no_infinite_slope():
    target = np.array([0, 0, 0, 1, 1, 1])
    fitted = fit("logistic", target, np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]))
    assert 0 < fitted.slope < 10
    assert 0.01 < fitted.apply(np.array([0.1]))[0] < 0.5


@pytest.mark.parametrize("method", ["temperature", "logistic"])
def test_a_network_worse_than_chance_is_not_turned_round(method):
    target, score = overconfident(7)
    assert fit(method, target, 1 - score) == Calibration(prevalence=0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_cannot_be_calibrated_on(label):
    with pytest.raises(DataError, match="one class only"):
        fit("logistic", np.full(4, label), np.linspace(0, 1, 4))


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(method, bad):
    target, score = overconfident(8, num=40)
    with pytest.raises(DataError, match="2 of 40 scores of validation images are not finite"):
        fit(method, target, np.r_[bad, bad, score[2:]])
    fit(method, target, score)


@pytest.mark.parametrize("method", FITTED)
def test_equal_scores_are_left_as_they_are(method):
    target, _ = overconfident(9, num=40)
    assert fit(method, target, np.full(40, 0.3)) == Calibration(prevalence=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_one_malignant_image_and_ties_give_finite_probabilities_in_order(method):
    target, score = np.arange(20) == 17, np.repeat(np.linspace(0.1, 0.9, 4), 5)
    probability = fit(method, target.astype(int), score).apply(score)
    assert np.isfinite(probability).all()
    assert (np.diff(probability) >= 0).all()


# ---- the prevalence at which the probabilities hold ------------------------------------------


def rare(num: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A tenth is positive; scores are those of a network that saw half."""
    target = (np.arange(num) % 10 == 0).astype(int)
    log_ratio = np.random.default_rng(10).normal(4 * target - 2, 2)  # its own logit where half are positive
    return target, 1 / (1 + np.exp(-log_ratio))


@pytest.mark.parametrize("trained", [0.5, 0.1])
@pytest.mark.parametrize("method", ["none", "temperature"])
def test_what_shifts_no_score_holds_at_the_prevalence_of_training(method, trained):
    assert calibration.fit(method, *rare(), trained_prevalence=trained).prevalence == trained


@pytest.mark.parametrize("trained", [0.5, 0.1])
def test_what_is_fitted_holds_at_the_mean_of_its_probabilities(trained):
    target, score = rare()
    isotonic = calibration.fit("isotonic", target, score, trained_prevalence=trained)
    assert isotonic.prevalence == 0.1 == pytest.approx(isotonic.apply(score).mean())
    logistic = calibration.fit("logistic", target, score, trained_prevalence=trained)
    # Platt: 40 positive images count as 41/42, 360 negative ones as 1/362
    assert logistic.prevalence == pytest.approx((40 * 41 / 42 + 360 / 362) / 400)
    assert logistic.prevalence == pytest.approx(logistic.apply(score).mean(), abs=1e-5)


def test_a_calibration_that_could_not_be_fitted_holds_at_the_prevalence_of_training():
    target, score = rare()
    assert calibration.fit("logistic", target, 1 - score, trained_prevalence=0.5).prevalence == 0.5
