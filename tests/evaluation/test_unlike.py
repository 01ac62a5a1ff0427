import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from melanoma.errors import DataError
from melanoma.evaluation import unlike
from melanoma.scoring.operating_point import Calibration, OperatingPoint
from melanoma.scoring.quality import Bounds

BOUNDS = Bounds({}, 1.0, 0.0, 1)
POINT = OperatingPoint(Calibration(), 0.5, 0.4, 0.6)


def around(direction: int, *, num: int, seed: int, num_features: int = 40) -> np.ndarray:
    """Positive features that point more or less along one axis."""
    noise = np.random.default_rng(seed).random((num, num_features))
    return noise + 5 * (np.arange(num_features) == direction)


@pytest.fixture
def fitted():
    return unlike.fit(
        around(0, num=200, seed=1), around(0, num=100, seed=2), referred_fraction=0.05, bounds=BOUNDS
    )


def test_at_most_the_declared_fraction_of_validation_lies_beyond_the_limit(fitted):
    distances = fitted.distance(around(0, num=100, seed=2))
    assert (distances > fitted.max_distance).sum() == 5


@pytest.mark.parametrize(
    ("num", "fraction", "beyond"), [(99, 0.01, 0), (100, 0.01, 1), (250, 0.01, 2), (9, 0, 0)]
)
def test_fewer_images_than_one_in_the_fraction_leave_none_beyond(num, fraction, beyond):
    validation = around(0, num=num, seed=3)
    fitted = unlike.fit(around(0, num=200, seed=1), validation, referred_fraction=fraction, bounds=BOUNDS)
    assert (fitted.distance(validation) > fitted.max_distance).sum() == beyond


def test_images_of_another_kind_lie_beyond_the_limit_and_those_of_the_same_kind_within(fitted):
    assert (fitted.distance(around(7, num=50, seed=4)) > fitted.max_distance).all()
    assert (fitted.distance(around(0, num=100, seed=5)) > fitted.max_distance).mean() <= 0.2


def test_few_axes_answer_nearly_as_all_do(monkeypatch):
    training, validation = around(0, num=300, seed=1), around(0, num=100, seed=2)
    asked = np.r_[around(0, num=50, seed=6), around(3, num=50, seed=7)]
    found = []
    for number in (10, 40):
        monkeypatch.setattr(unlike, "NUM_AXES", number)
        fitted = unlike.fit(training, validation, referred_fraction=0.1, bounds=BOUNDS)
        found.append(fitted.distance(asked))
    assert np.corrcoef(found[0], found[1])[0, 1] > 0.99


def test_with_all_axes_the_distance_is_that_of_scikit_learn():
    training, asked = around(0, num=60, seed=1), around(1, num=5, seed=2)
    fitted = unlike.fit(training, asked, referred_fraction=0.5, bounds=BOUNDS)
    unit, query = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (training, asked))
    expected = np.sqrt(LedoitWolf().fit(unit).mahalanobis(query))
    np.testing.assert_allclose(fitted.distance(asked), expected, rtol=1e-3)


def test_features_that_do_not_vary_leave_a_finite_distance():
    training = np.tile(around(0, num=1, seed=1), (10, 1))
    fitted = unlike.fit(training, training, referred_fraction=0.01, bounds=BOUNDS)
    assert np.isfinite(fitted.max_distance)
    assert fitted.distance(around(3, num=1, seed=2))[0] > fitted.max_distance


@pytest.mark.parametrize(("num_training", "num_validation"), [(1, 10), (10, 0)])
def test_too_few_images_are_refused_by_their_number(num_training, num_validation):
    training, validation = around(0, num=num_training, seed=1), around(0, num=num_validation, seed=2)
    with pytest.raises(DataError, match=f"got {num_training} and {num_validation}"):
        unlike.fit(training, validation, referred_fraction=0.01, bounds=BOUNDS)


def test_the_fewest_images_are_enough():
    training, validation = around(0, num=2, seed=1), around(0, num=1, seed=2)
    assert unlike.fit(training, validation, referred_fraction=0.01, bounds=BOUNDS).max_distance > 0


def test_features_that_are_not_finite_are_refused(fitted):
    training = around(0, num=10, seed=1)
    training[3, 0] = np.nan
    with pytest.raises(DataError, match="of 1 training images are not finite"):
        unlike.fit(training, around(0, num=3, seed=2), referred_fraction=0.01, bounds=BOUNDS)


# ---- bounds of the facts ---------------------------------------------------------------------


def test_bounds_are_those_by_which_validate_refuses(params):
    bounds = unlike.image_bounds(params.checks, params.inspect, size=128, sharpness_ratio=1.5)
    assert bounds.ranges["sharpness"] == (1.5 * params.checks.min_sharpness, None)
    assert bounds.ranges["dark_border_fraction"] == (None, params.checks.max_dark_border_fraction)
    assert bounds.hair_width == round(params.inspect.hair_max_width / 2)


def test_a_check_that_only_warns_gives_no_bound(params):
    checks = params.checks.image_checks.model_copy(update={"blurred": "warn"})
    limits = params.checks.model_copy(update={"image_checks": checks})
    bounds = unlike.image_bounds(limits, params.inspect, size=256, sharpness_ratio=1.0)
    assert "sharpness" not in bounds.ranges
    assert "contrast" in bounds.ranges


def test_the_ratio_is_the_median_of_the_images_that_were_measured():
    images = np.random.default_rng(0).integers(0, 256, size=(3, 32, 32, 3)).astype(np.uint8)
    own = np.array([unlike.sharpness_ratio(image[None], np.array([1.0])) for image in images])
    ratio = unlike.sharpness_ratio(images, own / np.array([2.0, 4.0, 8.0]))
    assert ratio == pytest.approx(4)
    assert unlike.sharpness_ratio(images, np.array([np.nan, own[1] / 3, np.nan])) == pytest.approx(3)
    assert unlike.sharpness_ratio(images, np.full(3, np.nan)) == 1


# ---- what it does ----------------------------------------------------------------------------


def test_what_is_left_is_measured_beside_all_images():
    target = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    probability = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.1, 0.2, 0.95])
    reasons = [None, None, "blurred (sharpness 1)", None, None, None, None, "unlike the training images (x)"]
    found = unlike.measure(target, probability, np.arange(8), reasons=reasons, point=POINT)
    assert (found["num_referred"], found["referred_fraction"]["value"]) == (2, 1 / 4)
    assert found["reasons"] == {"blurred": 1, "unlike the training images": 1}
    assert (found["all"]["num_images"], found["left"]["num_images"]) == (8, 6)
    assert (found["all"]["sensitivity"]["value"], found["left"]["sensitivity"]["value"]) == (2 / 3, 1)
    assert (found["all"]["specificity"]["value"], found["left"]["specificity"]["value"]) == (4 / 5, 1)
    assert found["left"]["auc_roc"]["value"] == 1
    assert found["all"]["auc_roc"]["value"] == pytest.approx(8.5 / 15)
    assert found["three_way"]["counts"]["positive"] == {"negative": 1, "refer": 0, "positive": 2}


def test_without_reasons_all_images_are_left():
    target, probability = np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2])
    found = unlike.measure(target, probability, np.arange(3), reasons=[None] * 3, point=POINT)
    assert found["reasons"] == {}
    assert found["all"] == found["left"]
