import cv2
import numpy as np
import pytest

from melanoma.data.groups import fine_structure
from melanoma.data.hashes import THUMBNAIL_SIDE, orientations
from tests.data.pictures import textured

SIGMA = 2.0


def small_grey(seed: int, *, margin: int = 0) -> np.ndarray:
    return cv2.cvtColor(textured(seed, side=THUMBNAIL_SIDE + margin), cv2.COLOR_RGB2GRAY)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    stack = np.stack([one, other])
    return float(fine_structure.correlations(stack, np.array([[0, 1]]), SIGMA)[0])


@pytest.mark.parametrize("orientation", range(8))
def test_a_picture_correlates_wholly_with_itself_however_turned(orientation):
    turned = orientations(small_grey(1))[orientation]
    assert correlation(small_grey(1), turned) == pytest.approx(1, abs=1e-5)


def test_unlike_pictures_hardly_correlate():
    assert abs(correlation(small_grey(1), small_grey(2))) < 0.5


def test_correlation_is_symmetric_and_hardly_changed_by_brightness_and_contrast():
    one, other = small_grey(1), small_grey(2)
    value = correlation(one, other)
    assert correlation(other, one) == pytest.approx(value, abs=1e-4)
    assert correlation(one // 2 + 60, other) == pytest.approx(value, abs=0.05)
    assert correlation(one, one // 2 + 60) > 0.98


def test_a_shift_of_a_few_pixels_does_not_matter_and_a_large_one_does():
    large = small_grey(1, margin=20)
    here = large[10:-10, 10:-10]
    assert correlation(here, large[7:-13, 12:-8]) > 0.8
    assert correlation(here, large[:-20, 20:]) < 0.5


def test_two_dark_blobs_with_texture_of_their_own_hardly_correlate():
    y, x = np.mgrid[:THUMBNAIL_SIDE, :THUMBNAIL_SIDE] - THUMBNAIL_SIDE / 2
    blob = 180 - 120 * np.exp(-(x**2 + y**2) / 200)
    noises = np.random.default_rng(0).normal(0, 8, size=(2, *blob.shape))
    one, other = ((blob + noise).clip(0, 255).astype(np.uint8) for noise in noises)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.8
    assert correlation(one, other) < 0.4


def test_dark_corners_alone_make_no_copies():
    y, x = np.mgrid[:THUMBNAIL_SIDE, :THUMBNAIL_SIDE] - THUMBNAIL_SIDE / 2
    is_dark = np.hypot(x, y) > 26
    one, other = (np.where(is_dark, 0, small_grey(seed) // 4 + 120).astype(np.uint8) for seed in (1, 2))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.8
    assert correlation(one, other) < 0.5


def test_a_flat_picture_correlates_with_nothing():
    flat = np.full((THUMBNAIL_SIDE, THUMBNAIL_SIDE), 90, np.uint8)
    assert correlation(flat, flat) == pytest.approx(0, abs=1e-3)


def test_pairs_are_measured_one_by_one_across_blocks(monkeypatch):
    stack = np.stack([small_grey(seed) for seed in range(5)])
    rows = np.array([(row, other) for row in range(5) for other in range(5)])
    whole = fine_structure.correlations(stack, rows, SIGMA)
    monkeypatch.setattr(fine_structure, "PAIRS_AT_ONCE", 4)
    np.testing.assert_allclose(fine_structure.correlations(stack, rows, SIGMA), whole, atol=1e-5)
    assert whole.reshape(5, 5).diagonal() == pytest.approx(1, abs=1e-5)


def test_no_pairs_have_no_correlations():
    none = np.empty((0, 2), np.int64)
    assert fine_structure.correlations(np.stack([small_grey(1)]), none, SIGMA).shape == (0,)
