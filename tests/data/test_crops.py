import numpy as np
import pytest

from melanoma.data import crops
from melanoma.data.crops import Box, Crop, find_box, largest_piece, square_around

WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def mask(*rows: str) -> np.ndarray:
    """`#` is lesion."""
    return np.array([[sign == "#" for sign in row] for row in rows])


# ---- where the lesion is ---------------------------------------------------------------------


def test_the_box_is_the_smallest_around_the_lesion():
    lesion = mask(
        "....",
        ".##.",
        "..#.",
        "....",
        "....",
    )
    assert find_box(lesion, min_lesion_fraction=0.0) == Box(1 / 4, 1 / 5, 3 / 4, 3 / 5)


def test_only_the_largest_piece_counts():
    lesion = mask(
        "#....",
        "...##",
        "...#.",
        "##...",
    )
    expected = mask(
        ".....",
        "...##",
        "...#.",
        ".....",
    )
    np.testing.assert_array_equal(largest_piece(lesion), expected)
    assert find_box(lesion, min_lesion_fraction=0.0) == Box(3 / 5, 1 / 4, 1.0, 3 / 4)


def test_corners_that_touch_do_not_make_one_piece():
    assert largest_piece(mask("#.", ".#")).sum() == 1


def test_a_piece_is_found_along_all_its_turns():
    snake = mask(
        "#####",
        "....#",
        "#####",
        "#....",
        "#####",
    )
    np.testing.assert_array_equal(largest_piece(snake), snake)


@pytest.mark.parametrize("lesion", [mask("...", "..."), mask(".#.", "...")])
def test_nothing_or_too_little_is_no_lesion(lesion):
    assert find_box(lesion, min_lesion_fraction=0.2) is None


def test_exactly_the_least_part_is_a_lesion():
    assert find_box(mask("#...", "...."), min_lesion_fraction=1 / 8) == Box(0.0, 0.0, 1 / 4, 1 / 2)


def test_a_lesion_that_fills_the_picture_has_the_picture_as_its_box():
    assert find_box(np.ones((3, 4), bool), min_lesion_fraction=0.5) == WHOLE


# ---- what is cut out -------------------------------------------------------------------------


def test_the_square_has_the_longer_side_and_the_middle_of_the_box():
    # 200 x 100 pixels; the box is 20 x 40 pixels about (100, 50)
    box = Box(0.45, 0.3, 0.55, 0.7)
    square = square_around(box, width=200, height=100, margin_fraction=0.0)
    assert vars(square) == pytest.approx(vars(Box(0.4, 0.3, 0.6, 0.7)))


def test_the_margin_is_a_part_of_the_longer_side_on_each_end():
    box = Box(0.45, 0.3, 0.55, 0.7)  # 20 x 40 of 200 x 100 pixels: 40 + 2 * 10
    square = square_around(box, width=200, height=100, margin_fraction=0.25)
    assert vars(square) == pytest.approx(vars(Box(0.35, 0.2, 0.65, 0.8)))


def test_a_square_that_would_stick_out_is_moved_inside():
    box = Box(0.0, 0.9, 0.2, 1.0)  # of 100 x 100: 20 x 10 pixels in the corner
    square = square_around(box, width=100, height=100, margin_fraction=0.0)
    assert vars(square) == pytest.approx(vars(Box(0.0, 0.8, 0.2, 1.0)))


def test_a_square_larger_than_the_picture_is_cut_there():
    box = Box(0.2, 0.0, 0.7, 1.0)  # of 200 x 100: 100 x 100 pixels, with the margin 150
    square = square_around(box, width=200, height=100, margin_fraction=0.25)
    assert vars(square) == pytest.approx(vars(Box(0.075, 0.0, 0.825, 1.0)))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_cut_lies_in_the_picture_and_holds_the_box(seed):
    generator = np.random.default_rng(seed)
    left, right = np.sort(generator.random(2))
    top, bottom = np.sort(generator.random(2))
    width, height = generator.integers(50, 500, size=2)
    square = square_around(Box(left, top, right, bottom), width=width, height=height, margin_fraction=0.15)
    assert 0 <= square.left <= left + 1e-9
    assert right - 1e-9 <= square.right <= 1
    assert 0 <= square.top <= top + 1e-9
    assert bottom - 1e-9 <= square.bottom <= 1


# ---- what travels ----------------------------------------------------------------------------


def test_a_crop_is_written_and_read():
    crop = Crop("unet", 0.15, 0.005, "a" * 64)
    assert Crop.from_dict(crop.to_dict()) == crop
    assert Crop.from_dict(None) is None


def test_a_crop_has_a_kind_and_a_sentence():
    assert crops.kind_of(None) == "none"
    crop = Crop("mask", 0.15, 0.005, None)
    assert crops.kind_of(crop) == "mask"
    assert "a hand-drawn mask" in crop.in_words()
    assert "margin of 0.15" in crop.in_words()
