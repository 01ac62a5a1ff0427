from typing import Any

import numpy as np
import pytest

from melanoma.data.augment import augment_image, draw_warp
from melanoma.sections import Augment
from tests.data.pictures import textured

NOTHING: dict[str, Any] = {
    "rotation_degrees": 0,
    "horizontal_shift_fraction": 0,
    "vertical_shift_fraction": 0,
    "zoom_fraction": 0,
    "flips": False,
}
EVERYTHING = Augment(
    rotation_degrees=180,
    horizontal_shift_fraction=0.1,
    vertical_shift_fraction=0.1,
    zoom_fraction=0.15,
    flips=True,
)
IDENTITY = [[1, 0, 0], [0, 1, 0]]


def only(**amounts: Any) -> Augment:
    return Augment(**(NOTHING | amounts))


def warps(amounts: Augment, *, size: int = 101, number: int = 300) -> np.ndarray:
    """Shape `(number, 2, 3)`."""
    generator = np.random.default_rng(5)
    return np.stack([draw_warp(size, amounts, generator) for _ in range(number)])


def which_of(image: np.ndarray, views: list[np.ndarray]) -> int:
    (found,) = (number for number, view in enumerate(views) if np.array_equal(image, view))
    return found


def test_with_nothing_allowed_a_picture_stays_as_it_is():
    generator = np.random.default_rng(0)
    picture = textured(1, side=64)
    np.testing.assert_allclose(draw_warp(64, only(), generator), IDENTITY, atol=1e-12)
    np.testing.assert_array_equal(augment_image(picture, only(), generator), picture)


def test_shape_and_type_are_kept_and_the_original_is_not_touched():
    picture = textured(1, side=64)
    before = picture.copy()
    changed = augment_image(picture, EVERYTHING, np.random.default_rng(0))
    assert changed.shape == (64, 64, 3)
    assert changed.dtype == np.uint8
    assert (changed != picture).any()
    np.testing.assert_array_equal(picture, before)


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others():
    picture = textured(1, side=64)
    one, same, other = (augment_image(picture, EVERYTHING, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("amounts", [only(), only(flips=True), only(rotation_degrees=30), EVERYTHING])
def test_the_number_of_draws_is_always_the_same(amounts):
    generator, reference = np.random.default_rng(0), np.random.default_rng(0)
    draw_warp(64, amounts, generator)
    draw_warp(64, EVERYTHING, reference)
    assert generator.random() == reference.random()


def test_rotations_are_proper_and_fill_the_allowed_angles_on_both_sides():
    linear = warps(only(rotation_degrees=30))[:, :, :2]
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-12)
    degrees = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert np.abs(degrees).max() <= 30
    assert degrees.min() < -27
    assert degrees.max() > 27


@pytest.mark.parametrize("amounts", [only(rotation_degrees=180), only(zoom_fraction=0.5), only(flips=True)])
def test_the_centre_stays_where_it_is_unless_it_is_shifted(amounts):
    centre = np.array([50.0, 50.0, 1.0])  # of pixels 0..100
    np.testing.assert_allclose(warps(amounts) @ centre, np.full((300, 2), 50.0), atol=1e-9)


@pytest.mark.parametrize(("axis", "name"), [(0, "horizontal_shift_fraction"), (1, "vertical_shift_fraction")])
def test_shifts_move_along_their_axis_by_at_most_their_fraction(axis, name):
    drawn = warps(only(**{name: 0.1}), size=200)
    shifts = drawn[:, axis, 2]
    assert np.abs(shifts).max() <= 20  # 1/10 of 200 pixels
    assert shifts.min() < -18
    assert shifts.max() > 18
    np.testing.assert_allclose(drawn[:, 1 - axis, 2], 0, atol=1e-12)
    np.testing.assert_allclose(drawn[:, :, :2], np.broadcast_to(np.eye(2), (300, 2, 2)), atol=1e-12)


def test_zooms_scale_both_axes_alike_within_their_fraction():
    linear = warps(only(zoom_fraction=0.2))[:, :, :2]
    scales = linear[:, 0, 0]
    np.testing.assert_allclose(linear, scales[:, None, None] * np.eye(2), atol=1e-12)
    assert 0.8 <= scales.min() < 0.82
    assert 1.18 < scales.max() <= 1.2


def test_flips_give_the_four_mirrorings_equally_often_and_exactly():
    picture = textured(1, side=32)
    views = [picture, np.fliplr(picture), np.flipud(picture), np.rot90(picture, 2)]
    generator = np.random.default_rng(0)
    seen = [which_of(augment_image(picture, only(flips=True), generator), views) for _ in range(400)]
    counts = np.bincount(seen, minlength=4)
    assert counts.min() > 70  # 100 expected of each


def test_borders_are_filled_by_reflection_and_never_with_black():
    white = np.full((40, 40, 3), 250, np.uint8)
    generator = np.random.default_rng(0)
    for _ in range(20):
        np.testing.assert_array_equal(augment_image(white, EVERYTHING, generator), white)
