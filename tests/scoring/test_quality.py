"""Facts of pictures whose fractions can be counted, and the same as OpenCV measures them."""

import cv2
import numpy as np
import pytest

from melanoma.data.checks import measures
from melanoma.data.images import load_square
from melanoma.scoring.quality import FACTS, WORDS, Bounds, Picture
from tests.data.zoo import skin

SIDE = 256
RANGES = {
    "sharpness": (2.0, None),
    "brightness": (0.08, 0.97),
    "contrast": (0.02, None),
    "saturation": (0.02, None),
    "clipped_fraction": (None, 0.8),
    "dark_border_fraction": (None, 0.7),
}


@pytest.fixture
def bounds(params):
    inspect = params.inspect
    return Bounds(RANGES, inspect.clipping_level, inspect.dark_border_max_brightness, inspect.hair_max_width)


def framed(width: int) -> np.ndarray:
    """Skin with a black frame."""
    picture = skin(3, height=SIDE, width=SIDE)
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    inside[width : SIDE - width, width : SIDE - width] = True
    return np.where(inside[..., None], picture, 0).astype(np.uint8)


def halves(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.concatenate([np.full((SIDE // 2, SIDE, 3), colour, np.uint8) for colour in colours])


def test_half_of_the_pixels_is_clipped_saturated_and_dark(bounds):
    picture = Picture(halves((0, 0, 0), (255, 0, 0)), bounds)
    assert FACTS["clipped_fraction"](picture) == 1 / 2
    assert FACTS["saturation"](picture) == 1 / 2
    assert FACTS["dark_border_fraction"](picture) == 1 / 2
    assert FACTS["brightness"](picture) == pytest.approx(76 / 255 / 2)  # 0.299 of 255
    assert FACTS["contrast"](picture) == pytest.approx(76 / 255 / 2)


def test_a_picture_of_skin_has_no_reason(bounds):
    assert bounds.reason(skin(1, height=SIDE, width=SIDE)) is None


@pytest.mark.parametrize(
    ("words", "picture"),
    [
        ("blurred", cv2.GaussianBlur(skin(1, height=SIDE, width=SIDE), (0, 0), 12)),
        ("badly exposed", skin(1, height=SIDE, width=SIDE) // 16),
        ("without colour", np.repeat(skin(1, height=SIDE, width=SIDE)[..., :1], 3, axis=2)),
        ("overexposed", np.maximum(skin(1, height=SIDE, width=SIDE), (255, 0, 0)).astype(np.uint8)),
        ("mostly dark border", framed(70)),
    ],
)
def test_each_fact_out_of_bounds_is_named_with_its_value(bounds, words, picture):
    name = next(name for name, said in WORDS.items() if said == words)
    reason = bounds.reason(picture)
    assert reason is not None
    assert reason.startswith(f"{words} ({name} ")


def test_a_narrow_frame_is_allowed(bounds):
    assert bounds.reason(framed(30)) is None


def test_a_large_dark_lesion_inside_the_picture_is_no_border(bounds):
    picture = skin(1, height=SIDE, width=SIDE)
    picture[16:240, 16:240] = picture[16:240, 16:240] // 8  # 77 % are dark
    assert FACTS["dark_border_fraction"](Picture(picture, bounds)) == 0
    assert FACTS["brightness"](Picture(picture, bounds)) > 0.08


def test_a_fact_without_a_range_refers_nothing(bounds):
    only_dark = Bounds({"dark_border_fraction": (None, 0.7)}, 1.0, 0.16, 9)
    assert only_dark.reason(np.full((SIDE, SIDE, 3), 200, np.uint8)) is None


def test_bounds_come_back_from_json(bounds):
    assert Bounds.from_dict(bounds.to_dict()) == bounds


def as_opencv_measures(square: np.ndarray, params) -> dict:
    return measures.measure(square, cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), params.inspect)


def require_equal(square: np.ndarray, bounds: Bounds, params) -> None:
    expected = as_opencv_measures(square, params)
    for name, fact in FACTS.items():
        found = fact(Picture(square, bounds))
        if name == "dark_border_fraction" and found <= 0.7:
            assert found >= expected[name] - 1e-3  # all that is dark
        else:
            assert found == pytest.approx(expected[name], rel=0.02, abs=2e-3), name


@pytest.mark.parametrize("seed", range(4))
def test_all_facts_are_those_of_inspect(bounds, params, seed):
    require_equal(skin(seed, height=SIDE, width=SIDE), bounds, params)
    require_equal(framed(60 + 3 * seed), bounds, params)


@pytest.mark.real_data
def test_all_facts_of_real_images_are_those_of_inspect(bounds, params, real_data):
    for path in sorted((real_data / "isic" / "images").glob("*.jpg"))[::100]:
        require_equal(load_square(path.read_bytes(), SIDE), bounds, params)
