import numpy as np
import pytest

from melanoma.data import artefacts

SIZE = 60


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(120, 220, size=(SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture
def mask():
    """A lesion of 20 by 30 pixels."""
    lesion = np.zeros((SIZE, SIZE), dtype=bool)
    lesion[20:40, 10:40] = True
    return lesion


def widened(mask: np.ndarray) -> np.ndarray:
    """The mask and what touches it."""
    wider = np.zeros_like(mask)
    wider[19:41, 9:41] = True
    return wider


def test_a_blacked_lesion_is_black_and_the_skin_stays(image, mask):
    changed = artefacts.blacked(image, mask)
    wider = widened(mask)  # by 2 % of 60 pixels: one pixel
    assert (changed[wider] == 0).all()
    assert (changed[~wider] == image[~wider]).all()
    assert changed.dtype == np.uint8


def test_a_filled_lesion_has_the_mean_colour_of_the_skin(image, mask):
    changed = artefacts.filled(image, mask)
    wider = widened(mask)
    assert (changed[wider] == image[~wider].mean(0).round()).all()
    assert (changed[~wider] == image[~wider]).all()


def test_a_lesion_that_covers_everything_is_filled_with_its_own_mean(image):
    changed = artefacts.filled(image, np.ones((SIZE, SIZE), dtype=bool))
    assert (changed == image.reshape(-1, 3).mean(0).round()).all()


def test_border_only_keeps_a_frame_of_the_declared_width(image):
    changed = artefacts.border_only(image, border_fraction=0.1)  # six pixels
    assert (changed[:6] == image[:6]).all()
    assert (changed[:, -6:] == image[:, -6:]).all()
    inside = changed[6:-6, 6:-6].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) == 1


@pytest.mark.parametrize("name", artefacts.ARTEFACTS)
def test_what_is_laid_over_depends_on_the_id_alone_and_leaves_the_input(image, name):
    before = image.copy()
    first, again = (artefacts.lay_over(image, name, "A") for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert (first != image).any()


@pytest.mark.parametrize("name", artefacts.ARTEFACTS)
def test_another_id_is_drawn_elsewhere(image, name):
    assert len({artefacts.lay_over(image, name, f"image {number}").tobytes() for number in range(6)}) == 6


@pytest.mark.parametrize("name", ["ruler", "ink"])
def test_marks_leave_most_of_the_picture_as_it_was(image, name):
    for number in range(8):
        changed = (np.abs(artefacts.lay_over(image, name, str(number)).astype(int) - image) > 8).any(axis=2)
        assert 0.005 < changed.mean() < 0.35
        assert changed[20:40, 20:40].mean() < 0.1  # the lesion lies there


def test_dark_corners_darken_the_corners_and_leave_the_middle(image):
    for number in range(8):
        drawn = artefacts.lay_over(image, "dark_corners", str(number)).astype(float)
        for corner in (drawn[:4, :4], drawn[:4, -4:], drawn[-4:, :4], drawn[-4:, -4:]):
            assert corner.mean() < 80
        assert np.abs(drawn[25:35, 25:35] - image[25:35, 25:35]).max() <= 2


def test_hair_is_darker_or_fairer_than_skin_in_every_image(image):
    flat = np.full_like(image, 220)
    for number in range(8):
        drawn = artefacts.lay_over(flat, "hair", str(number))
        assert (drawn.min(axis=2) < 190).mean() > 0.01
