import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.scoring.occlusion import occlusion_map, overlay


def reads(rows: slice, columns: slice):
    """A scorer that says how bright one place is."""
    return lambda images: images[:, rows, columns].reshape(len(images), -1).mean(1) / 255


def picture(size: int = 64) -> np.ndarray:
    image = np.full((size, size, 3), 40, dtype=np.uint8)
    image[8:16, 40:48] = 250
    return image


def test_the_place_that_the_score_rests_on_stands_out():
    found = occlusion_map(picture(), reads(slice(8, 16), slice(40, 48)))
    row, column = np.unravel_index(np.argmax(found), found.shape)
    assert 8 <= row < 16
    assert 40 <= column < 48
    assert found[8:16, 40:48].min() > 0
    assert np.abs(found[40:, :16]).max() == 0


def test_what_speaks_against_malignant_is_negative():
    found = occlusion_map(picture(), lambda images: 1 - reads(slice(8, 16), slice(40, 48))(images))
    assert found[8:16, 40:48].max() < 0


def test_a_score_that_never_changes_gives_a_map_of_zeros():
    assert not occlusion_map(picture(), lambda images: np.full(len(images), 0.7)).any()


@settings(deadline=None, max_examples=30)
@given(st.integers(9, 80), st.integers(1, 9))
def test_every_pixel_is_covered_whatever_the_size(size, num_steps):
    image = np.full((size, size, 3), 200, dtype=np.uint8)
    image[:2] = 0
    found = occlusion_map(image, lambda images: images.reshape(len(images), -1).mean(1), num_steps=num_steps)
    assert found.shape == (size, size)
    assert np.isfinite(found).all()


def test_the_image_itself_is_left_alone():
    image = picture()
    before = image.copy()
    occlusion_map(image, reads(slice(0, 8), slice(0, 8)))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(("sign", "strongest"), [(1, 0), (-1, 2)], ids=["red", "blue"])
def test_the_overlay_is_red_for_and_blue_against(sign, strongest):
    fall = np.zeros((64, 64))
    fall[10, 10] = sign
    drawn = overlay(picture(), fall)
    assert drawn.dtype == np.uint8
    assert drawn[10, 10].argmax() == strongest
    assert len(set(drawn[30, 30].tolist())) == 1  # grey elsewhere


def test_an_overlay_of_nothing_is_the_picture_in_grey():
    drawn = overlay(picture(), np.zeros((64, 64)))
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (drawn[0, 0] == 40).all()
