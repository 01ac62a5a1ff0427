"""Measures of drawn pictures whose fractions can be counted."""

from typing import Any

import cv2
import numpy as np
import pytest

from melanoma.data.checks import measures
from tests.data.pictures import drawn
from tests.data.zoo import skin

SIDE = 256
SKIN = (205, 160, 140)
BLUE, GREEN, VIOLET, ORANGE = (40, 90, 200), (40, 160, 60), (120, 50, 170), (240, 140, 40)


@pytest.fixture
def settings(params):
    return params.inspect


@pytest.fixture
def measured(settings):
    def measure(pixels: np.ndarray) -> dict[str, Any]:
        return measures.measure(pixels, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), settings)

    return measure


def plain(colour=SKIN) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def with_line(*, thickness: int, length: int, colour=(40, 25, 20)) -> np.ndarray:
    pixels = plain()
    pixels[100 : 100 + thickness, 50 : 50 + length] = colour
    return pixels


def seen_through_a_hole(radius: int) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.where((np.hypot(y - 127.5, x - 127.5) < radius)[..., None], plain(), 0).astype(np.uint8)


# ---- sharpness, exposure, colour -------------------------------------------------------------


@pytest.mark.parametrize(("level", "fraction"), [(0, 0), (51, 51 / 255), (255, 1)])
def test_brightness_of_flat_grey_is_its_level_and_all_else_is_none(measured, level, fraction):
    row = measured(plain((level, level, level)))
    assert row["brightness"] == pytest.approx(fraction)
    assert row["contrast"] == row["sharpness"] == row["saturation"] == 0


def test_contrast_of_half_black_half_white_is_one_half(measured):
    halves = plain((0, 0, 0))
    halves[: SIDE // 2] = 255
    row = measured(halves)
    assert row["contrast"] == pytest.approx(1 / 2)
    assert row["brightness"] == pytest.approx(1 / 2)


def test_sharpness_is_the_variance_of_the_laplacian_in_floats():
    grey = cv2.cvtColor(drawn(), cv2.COLOR_RGB2GRAY)
    assert measures.sharpness(grey) == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var())


def test_the_more_a_picture_is_blurred_the_less_sharp_it_is():
    grey = cv2.cvtColor(skin(1), cv2.COLOR_RGB2GRAY)
    blurred = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1, 2, 4)]
    sharpness = [measures.sharpness(picture) for picture in [grey, *blurred]]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[3] < sharpness[0] / 4


def test_saturation_is_the_mean_over_pixels(measured):
    quarter = plain((128, 128, 128))
    quarter[: SIDE // 4] = (200, 0, 0)
    assert measured(quarter)["saturation"] == pytest.approx(1 / 4)


def test_clipped_pixels_are_those_with_any_channel_at_its_end(measured):
    pixels = plain()
    pixels[:32] = (255, 160, 140)
    pixels[32:64] = 255
    pixels[64:96] = (253, 253, 253)
    assert measured(pixels)["clipped_fraction"] == 64 / SIDE


# ---- dark border -----------------------------------------------------------------------------


def test_a_dark_frame_is_counted_and_a_dark_lesion_is_not(measured):
    pixels = plain()
    pixels[:, :64] = 0
    pixels[100:150, 120:180] = 10
    assert measured(pixels)["dark_border_fraction"] == 1 / 4


@pytest.mark.parametrize("radius", [100, 120, 150])
def test_dark_corners_are_what_lies_outside_the_view_of_the_dermatoscope(measured, radius):
    pixels = seen_through_a_hole(radius)
    outside = (pixels[..., 0] == 0).mean()
    assert measured(pixels)["dark_border_fraction"] == pytest.approx(outside, abs=0.01)


def test_a_hair_does_not_join_a_dark_lesion_to_the_edge(measured, settings):
    pixels = plain()
    cv2.circle(pixels, (128, 128), 50, (15, 10, 10), thickness=-1)
    pixels[126 : 126 + settings.hair_max_width - 2, :128] = 10
    assert measured(pixels)["dark_border_fraction"] == 0


def test_a_black_picture_is_border_and_a_bright_one_has_none(measured):
    assert measured(plain((0, 0, 0)))["dark_border_fraction"] == 1
    assert measured(plain())["dark_border_fraction"] == 0


# ---- hair ------------------------------------------------------------------------------------


def test_a_thin_dark_line_is_hair(measured):
    pixels = with_line(thickness=2, length=100)
    assert measured(pixels)["hair_fraction"] == pytest.approx(2 * 100 / SIDE**2, rel=0.05)


@pytest.mark.parametrize("angle_degrees", range(0, 180, 15))
def test_hair_is_found_in_every_direction(measured, angle_degrees):
    x, y = 100 * np.cos(np.radians(angle_degrees)), 100 * np.sin(np.radians(angle_degrees))
    pixels = plain()
    cv2.line(pixels, (round(128 - x), round(128 - y)), (round(128 + x), round(128 + y)), (40, 25, 20), 3)
    drawn_fraction = (pixels[..., 0] == 40).mean()
    assert measured(pixels)["hair_fraction"] == pytest.approx(drawn_fraction, rel=0.2)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(plain(), id="nothing"),
        pytest.param(with_line(thickness=40, length=100), id="a bar"),
        pytest.param(with_line(thickness=2, length=10), id="a dot"),
        pytest.param(with_line(thickness=2, length=100, colour=(240, 220, 210)), id="a bright line"),
        pytest.param(with_line(thickness=2, length=100, colour=(200, 155, 135)), id="a faint line"),
        pytest.param(seen_through_a_hole(120), id="dark corners"),
    ],
)
def test_what_is_no_thin_dark_straight_line_is_no_hair(measured, pixels):
    assert measured(pixels)["hair_fraction"] == 0


def test_a_lesion_on_grainy_skin_is_no_hair(measured):
    assert measured(cv2.resize(skin(1), (SIDE, SIDE)))["hair_fraction"] < 0.01


# ---- ink -------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [BLUE, GREEN, VIOLET])
def test_colours_that_skin_has_not_are_ink(measured, colour):
    pixels = plain()
    pixels[:64, :64] = colour
    assert measured(pixels)["ink_fraction"] == 1 / 16


@pytest.mark.parametrize("colour", [SKIN, (120, 80, 60), (200, 60, 60), ORANGE, (90, 95, 100), (10, 10, 30)])
def test_skin_lesion_blood_and_grey_are_no_ink(measured, colour):
    pixels = plain()
    pixels[:64, :64] = colour
    assert measured(pixels)["ink_fraction"] == 0


def test_the_blue_cast_of_a_camera_is_no_ink(measured):
    pixels = plain((150, 170, 215))
    pixels[96:160, 96:160] = (120, 90, 80)
    assert measured(pixels)["ink_fraction"] == 0


# ---- all -------------------------------------------------------------------------------------


def test_a_picture_of_skin_is_within_all_fractions(measured):
    row = measured(cv2.resize(skin(2), (SIDE, SIDE)))
    fractions = set(row) - {"sharpness", "ita_degrees"}
    assert all(0 <= row[name] <= 1 for name in fractions)
    assert {type(value) for value in row.values()} == {float}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "measure", "bounds"),
    [
        ("ISIC_0012464", "hair_fraction", (0.5, 0.8)),  # hair all over
        ("ISIC_0000040", "hair_fraction", (0.0, 0.05)),  # none
        ("ISIC_0003005", "ink_fraction", (0.2, 0.35)),  # a blue plaster over a quarter
        ("ISIC_0000040", "ink_fraction", (0.0, 0.02)),  # bluish all over: the camera
        ("ISIC_0000290", "dark_border_fraction", (0.4, 0.6)),  # seen through a hole
        ("ISIC_0014716", "dark_border_fraction", (0.0, 0.05)),  # dark hairs reach the edge
    ],
)
def test_known_pictures_measure_as_they_look(real_data, measured, name, measure, bounds):
    pixels = cv2.imread(str(real_data / "isic" / "images" / f"{name}.jpg"), cv2.IMREAD_COLOR_RGB)
    least, most = bounds
    assert least <= measured(cv2.resize(pixels, (SIDE, SIDE)))[measure] <= most
