from typing import Any

import numpy as np
import pytest

from melanoma.config.training import Augment
from melanoma.data.augment import (
    MID_GREY,
    NUM_DRAWS,
    augment_image,
    draw_colours,
    draw_uniform,
    draw_warps,
    scale,
)
from tests.data.pictures import textured

NOTHING: dict[str, Any] = {
    "rotation_degrees": 0,
    "horizontal_shift_fraction": 0,
    "vertical_shift_fraction": 0,
    "zoom_fraction": 0,
    "flips": False,
    "brightness_fraction": 0,
    "contrast_fraction": 0,
    "saturation_fraction": 0,
    "hue_degrees": 0,
    "aspect_fraction": 0,
    "channel_fraction": 0,
}


def only(**amounts: Any) -> Augment:
    return Augment(**(NOTHING | amounts))


ALL_WARPS = only(
    rotation_degrees=180,
    horizontal_shift_fraction=0.1,
    vertical_shift_fraction=0.1,
    zoom_fraction=0.15,
    aspect_fraction=0.1,
    flips=True,
)
ALL_COLOURS = only(
    brightness_fraction=0.2,
    contrast_fraction=0.2,
    saturation_fraction=0.3,
    hue_degrees=20,
    channel_fraction=0.1,
)


def draw(number: int, *, seed: int = 5) -> np.ndarray:
    return draw_uniform(np.random.default_rng(seed), number)


def warps(amounts: Augment, *, size: int = 101, number: int = 300) -> np.ndarray:
    """Shape `(number, 2, 3)`."""
    return draw_warps(draw(number), amounts, size=size)


def colours(amounts: Augment, *, number: int = 300) -> np.ndarray:
    """Shape `(number, 3, 4)`."""
    drawn = draw_colours(draw(number), amounts)
    assert drawn is not None
    return drawn


def colour_of(level: float, amounts: Augment) -> np.ndarray:
    """The matrix `(3, 4)` when all draws are `level`."""
    drawn = draw_colours(np.full((1, NUM_DRAWS), level), amounts)
    assert drawn is not None
    return drawn[0]


def which_of(image: np.ndarray, views: list[np.ndarray]) -> int:
    (found,) = (number for number, view in enumerate(views) if np.array_equal(image, view))
    return found


# ---- warps -----------------------------------------------------------------------------------


def test_with_nothing_allowed_a_picture_stays_as_it_is():
    picture = textured(1, side=64)
    for warp in warps(only(), size=64, number=20):
        np.testing.assert_allclose(warp, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
        np.testing.assert_array_equal(augment_image(picture, warp), picture)


def test_shape_and_type_are_kept_and_the_original_is_not_touched():
    picture = textured(1, side=64)
    before = picture.copy()
    changed = augment_image(picture, warps(ALL_WARPS, size=64)[0], colours(ALL_COLOURS)[0])
    assert changed.shape == (64, 64, 3)
    assert changed.dtype == np.uint8
    assert (changed != picture).any()
    np.testing.assert_array_equal(picture, before)


def test_each_row_of_draws_makes_its_own_warp_whatever_stands_beside_it():
    draws = draw(30)
    together = draw_warps(draws, ALL_WARPS, size=64)
    for row, warp in zip(draws, together, strict=True):
        np.testing.assert_array_equal(draw_warps(row[None], ALL_WARPS, size=64)[0], warp)
    assert len({warp.tobytes() for warp in together}) == 30


def test_rotations_are_proper_and_fill_the_allowed_angles_on_both_sides():
    linear = warps(only(rotation_degrees=30))[:, :, :2]
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-12)
    degrees = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert np.abs(degrees).max() <= 30
    assert degrees.min() < -27
    assert degrees.max() > 27


def test_plus_and_minus_180_degrees_are_the_full_circle():
    linear = warps(only(rotation_degrees=180))[:, :, :2]
    degrees = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    quarters = np.histogram(degrees, bins=[-180, -90, 0, 90, 180])[0]
    assert quarters.min() > 50  # 75 expected of each


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


def test_a_shift_of_whole_pixels_moves_the_picture_by_them():
    picture = textured(1, side=40)
    draws = np.full((1, NUM_DRAWS), 0.5)  # nothing at all
    draws[0, 2] = 1.0  # but the whole shift to the right: 1/10 of 40 pixels
    (warp,) = draw_warps(draws, only(horizontal_shift_fraction=0.1), size=40)
    np.testing.assert_array_equal(augment_image(picture, warp)[:, 4:], picture[:, :36])


def test_zooms_scale_both_axes_alike_within_their_fraction():
    linear = warps(only(zoom_fraction=0.2))[:, :, :2]
    scales = linear[:, 0, 0]
    np.testing.assert_allclose(linear, scales[:, None, None] * np.eye(2), atol=1e-12)
    assert 0.8 <= scales.min() < 0.82
    assert 1.18 < scales.max() <= 1.2


def test_aspect_stretches_one_axis_as_much_as_it_compresses_the_other():
    linear = warps(only(aspect_fraction=0.3))[:, :, :2]
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-12)
    np.testing.assert_array_equal(linear[:, [0, 1], [1, 0]], 0)
    logarithms = np.log(linear[:, 0, 0] / linear[:, 1, 1])  # the factor between the axes
    assert -0.3 <= logarithms.min() < -0.28
    assert 0.28 < logarithms.max() <= 0.3
    assert abs(logarithms.mean()) < 0.03  # 3 standard deviations of 300 draws


def test_aspect_is_along_the_axes_of_the_picture_whatever_its_rotation():
    linear = warps(only(aspect_fraction=0.3, rotation_degrees=180))[:, :, :2]
    columns = np.linalg.norm(linear, axis=1)  # how long each axis of the picture becomes
    np.testing.assert_allclose(columns.prod(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose((linear[:, :, 0] * linear[:, :, 1]).sum(axis=1), 0, atol=1e-12)


def test_flips_give_the_four_mirrorings_equally_often_and_exactly():
    picture = textured(1, side=32)
    views = [picture, np.fliplr(picture), np.flipud(picture), np.rot90(picture, 2)]
    drawn = warps(only(flips=True), size=32, number=400)
    counts = np.bincount([which_of(augment_image(picture, warp), views) for warp in drawn], minlength=4)
    assert counts.min() > 70  # 100 expected of each


def test_all_amounts_are_drawn_independently_of_each_other():
    drawn = warps(ALL_WARPS, number=2000)
    scales = np.sqrt(np.abs(np.linalg.det(drawn[:, :, :2])))
    moved = drawn @ [50.0, 50.0, 1.0] - 50
    angles = np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0])
    correlations = np.corrcoef([scales, moved[:, 0], moved[:, 1], angles])
    assert np.abs(correlations - np.eye(4)).max() < 0.1  # 4.5 standard deviations of 2000 draws


def test_borders_are_filled_by_reflection_and_never_with_black():
    white = np.full((40, 40, 3), 250, np.uint8)
    for warp in warps(ALL_WARPS, size=40, number=20):
        np.testing.assert_array_equal(augment_image(white, warp), white)


# ---- colours ---------------------------------------------------------------------------------


def test_without_amounts_no_colours_are_drawn_at_all():
    assert draw_colours(draw(3), ALL_WARPS) is None


@pytest.mark.parametrize(
    "amounts",
    [
        only(brightness_fraction=0.1),
        only(contrast_fraction=0.1),
        only(saturation_fraction=0.1),
        only(hue_degrees=1),
        only(channel_fraction=0.1),
    ],
)
def test_any_amount_alone_changes_colours(amounts):
    drawn = colours(amounts, number=5)
    assert (np.abs(drawn - np.eye(3, 4)).max(axis=(1, 2)) > 0).all()


def test_draws_in_the_middle_leave_every_colour_as_it_is():
    np.testing.assert_allclose(colour_of(0.5, ALL_COLOURS), np.eye(3, 4), atol=1e-12)


def extreme(**amounts: float) -> np.ndarray:
    """The matrix `(3, 4)` when every amount is drawn in full."""
    return colour_of(1.0, only(**amounts))


RED, GREEN, BLUE = (np.array(colour) for colour in ((200, 0, 0, 1), (0, 200, 0, 1), (0, 0, 200, 1)))
GREY = np.array((100, 100, 100, 1))


def test_brightness_is_a_factor_of_every_channel():
    np.testing.assert_allclose(extreme(brightness_fraction=0.5) @ [10, 100, 60, 1], [15, 150, 90], atol=1e-9)


def test_contrast_moves_channels_away_from_mid_grey():
    matrix = extreme(contrast_fraction=0.5)
    np.testing.assert_allclose(
        matrix @ [MID_GREY, MID_GREY + 20, MID_GREY - 40, 1], np.array([0, 30, -60]) + MID_GREY, atol=1e-9
    )


def test_saturation_moves_channels_away_from_their_mean():
    np.testing.assert_allclose(extreme(saturation_fraction=0.5) @ [90, 60, 30, 1], [105, 60, 15], atol=1e-9)


def test_each_channel_has_a_factor_of_its_own():
    drawn = colours(only(channel_fraction=0.1))
    factors = drawn[:, [0, 1, 2], [0, 1, 2]]
    np.testing.assert_allclose(drawn, factors[:, :, None] * np.eye(3, 4), atol=1e-12)
    assert 0.9 <= factors.min() < 0.91
    assert 1.09 < factors.max() <= 1.1
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.2  # 3.5 standard deviations of 300 draws


def test_a_third_of_the_colour_circle_turns_red_into_green_into_blue():
    matrix = extreme(hue_degrees=120)
    np.testing.assert_allclose(matrix @ RED, GREEN[:3], atol=1e-9)
    np.testing.assert_allclose(matrix @ GREEN, BLUE[:3], atol=1e-9)
    np.testing.assert_allclose(matrix @ BLUE, RED[:3], atol=1e-9)


def test_saturation_and_hue_leave_grey_grey():
    for matrix in colours(only(saturation_fraction=0.9, hue_degrees=180), number=20):
        np.testing.assert_allclose(matrix @ GREY, GREY[:3], atol=1e-9)


def test_the_one_matrix_is_brightness_after_contrast_after_saturation_and_hue():
    together = extreme(
        brightness_fraction=0.1,
        contrast_fraction=0.2,
        saturation_fraction=0.3,
        hue_degrees=40,
        channel_fraction=0.05,
    )
    stepwise = np.eye(4)
    for amounts in (
        {"hue_degrees": 40},
        {"saturation_fraction": 0.3},
        {"contrast_fraction": 0.2},
        {"brightness_fraction": 0.1},
        {"channel_fraction": 0.05},
    ):
        stepwise = np.vstack([extreme(**amounts), [0, 0, 0, 1]]) @ stepwise
    np.testing.assert_allclose(together, stepwise[:3], atol=1e-9)


@pytest.mark.parametrize("name", ["brightness_fraction", "contrast_fraction", "saturation_fraction"])
def test_fractions_are_filled_on_both_sides_and_not_left(name):
    drawn = colours(only(**{name: 0.2}))[:, :, :3]
    factors = np.linalg.eigvals(drawn).real
    factors = factors[np.arange(len(drawn)), np.abs(factors - 1).argmax(axis=1)]
    assert 0.8 - 1e-9 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.2 + 1e-9


def test_colours_are_rounded_and_clipped_to_what_a_byte_holds():
    picture = np.array([[[250, 100, 3]]], np.uint8)
    (still,) = draw_warps(np.full((1, NUM_DRAWS), 0.5), only(), size=1)
    changed = augment_image(picture, still, np.array([[1.1, 0, 0, 0], [0, 1, 0, 0.6], [0, 0, 1, -9]]))
    assert changed.tolist() == [[[255, 101, 0]]]


# ---- strength --------------------------------------------------------------------------------


def test_strength_multiplies_every_amount_and_leaves_the_flips():
    full = only(rotation_degrees=180, zoom_fraction=0.2, aspect_fraction=0.1, flips=True, hue_degrees=10)
    half = only(rotation_degrees=90, zoom_fraction=0.1, aspect_fraction=0.05, flips=True, hue_degrees=5)
    assert scale(full, 0.5) == half
    assert scale(full, 1.0) == full
    assert scale(full, 0.0) == only(flips=True)
