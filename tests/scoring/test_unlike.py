from dataclasses import replace

import numpy as np
import pytest

from melanoma.errors import TrackingError
from melanoma.scoring.quality import Bounds
from melanoma.scoring.unlike import Unlike, refer

NO_BOUNDS = Bounds({}, 1.0, 0.0, 1)
SQUARE = np.zeros((1, 4, 4, 3), np.uint8)


def along_axes(*, num_axes: int = 3, max_distance: float = 1.0) -> Unlike:
    """Mean zero; the first feature varies by 1, the second by 1/4, the third and all others by 1/16."""
    axes, variances = np.eye(3, dtype=np.float32), np.array([1, 1 / 4, 1 / 16], np.float32)
    other = 1 / 16 if num_axes < 3 else np.inf
    return Unlike(
        np.zeros(3, np.float32), axes[:, :num_axes], variances[:num_axes], other, max_distance, NO_BOUNDS
    )


@pytest.mark.parametrize("num_axes", [2, 3])
def test_the_distance_is_in_standard_deviations_of_each_axis_whatever_the_length(num_axes):
    features = np.array([[1, 0, 0], [7, 0, 0], [0, 2, 0], [0, 0, -3], [3, 4, 0]], np.float32)
    # (0.6, 0.8, 0): the root of 0.36 + 4 * 0.64
    expected = [1, 1, 2, 4, np.sqrt(2.92)]
    np.testing.assert_allclose(along_axes(num_axes=num_axes).distance(features), expected, rtol=1e-5)


def test_the_distance_is_from_the_mean():
    unlike = replace(along_axes(), mean=np.array([0.6, 0.8, 0], np.float32))
    assert unlike.distance(np.array([[3, 4, 0]], np.float32))[0] == pytest.approx(0, abs=1e-5)


def test_no_images_have_no_distances():
    assert along_axes().distance(np.empty((0, 3), np.float32)).shape == (0,)


def test_an_image_beyond_the_limit_has_a_reason_and_one_at_the_limit_has_none():
    features = np.array([[3, 4, 0]], np.float32)
    distance = float(along_axes().distance(features)[0])
    assert along_axes(max_distance=distance).reasons(SQUARE, features) == [None]
    (reason,) = along_axes(max_distance=distance - 0.01).reasons(SQUARE, features)
    assert reason == "unlike the training images (distance 1.71, expected at most 1.7)"


def test_features_that_are_no_numbers_have_a_reason():
    (reason,) = along_axes().reasons(SQUARE, np.array([[np.nan, 0, 0]], np.float32))
    assert reason is not None


def test_a_fact_of_the_image_is_told_before_its_distance():
    bounds = Bounds({"brightness": (0.5, None)}, 1.0, 0.0, 1)
    unlike = replace(along_axes(max_distance=0.1), bounds=bounds)
    (reason,) = unlike.reasons(SQUARE, np.array([[3, 4, 0]], np.float32))
    assert reason == "badly exposed (brightness 0, expected at least 0.5)"


def test_reasons_replace_every_decision_and_nothing_else():
    decisions = np.array(["positive", "negative", "refer"])
    assert refer(decisions, ["blurred", None, None]).tolist() == ["refer", "negative", "refer"]


def test_a_saved_file_answers_as_before(tmp_path):
    unlike, features = along_axes(num_axes=2), np.random.default_rng(1).normal(size=(5, 3))
    unlike.save(tmp_path / "unlike.npz")
    loaded = Unlike.load(tmp_path / "unlike.npz")
    assert (loaded.max_distance, loaded.bounds) == (1.0, NO_BOUNDS)
    np.testing.assert_array_equal(loaded.distance(features), unlike.distance(features))


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_a_file_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "unlike.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrackingError, match=r"unlike.npz cannot be read as the features of training images"):
        Unlike.load(path)
