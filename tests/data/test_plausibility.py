"""What the served model takes for dermoscopy: drawn pictures that are caught, and those that are not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from melanoma.data.images import load_square
from melanoma.data.plausibility import look, require_plausible
from melanoma.errors import ImageError
from tests.data.zoo import skin

HEIGHT, WIDTH = 300, 400


def plain(*colour: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def text_page() -> np.ndarray:
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(page)
    for y in range(10, HEIGHT, 14):
        draw.text((10, y), "The patient came with a mole that had grown over two years. " * 2, fill="black")
    return np.asarray(page)


def screenshot() -> np.ndarray:
    window = Image.new("RGB", (WIDTH, HEIGHT), (240, 240, 240))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, WIDTH, 24), fill=(200, 60, 40))
    draw.rectangle((20, 50, 150, 200), fill=(180, 120, 90))
    return np.asarray(window)


def gradient(first: tuple[int, int, int], last: tuple[int, int, int]) -> np.ndarray:
    share = np.linspace(0, 1, HEIGHT)[:, None, None]
    return np.broadcast_to(np.array(first) * (1 - share) + np.array(last) * share, (HEIGHT, WIDTH, 3)).astype(
        np.uint8
    )


def grey_photograph() -> np.ndarray:
    grey = skin(3, height=HEIGHT, width=WIDTH).mean(axis=-1, keepdims=True).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def noise() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, size=(HEIGHT, WIDTH, 3)).astype(np.uint8)


REFUSED = {
    "black": (plain(0, 0, 0), "brightness is almost uniform"),
    "white": (plain(255, 255, 255), "brightness is almost uniform"),
    "one colour of skin": (plain(205, 160, 140), "brightness is almost uniform"),
    "text page": (text_page(), "it has almost no colour"),
    "grey photograph": (grey_photograph(), "it has almost no colour"),
    "screenshot": (screenshot(), "most of it has exactly one colour"),
    "sky": (gradient((135, 206, 235), (70, 130, 180)), "it is mostly blue"),
    "meadow": (gradient((60, 160, 60), (90, 190, 40)), "it is mostly green"),
    "noise": (noise(), "it looks like noise"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_dermoscopy_is_refused_with_the_fact(name):
    pixels, reason = REFUSED[name]
    with pytest.raises(ImageError, match=rf"does not look like dermoscopy: .*{reason} "):
        require_plausible(pixels)


@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_lesion_is_taken(seed):
    require_plausible(skin(seed))


def test_a_warm_picture_without_a_lesion_is_taken_too():
    """The limit of simple facts, said where people look for it: this is no test for lesions."""
    require_plausible(gradient((250, 160, 60), (120, 40, 30)))


def test_facts_of_a_picture_that_can_be_counted():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :16] = (255, 51, 0)
    seen = look(pixels)
    assert seen.red_over_blue == pytest.approx(1 / 4)
    assert seen.red_over_green == pytest.approx(1 / 4 * 4 / 5)
    assert seen.saturation == pytest.approx(1 / 4)
    assert seen.one_colour_fraction == pytest.approx(3 / 4)


def test_facts_do_not_depend_on_the_size_of_the_picture():
    small, large = (look(np.repeat(np.repeat(skin(1), n, axis=0), n, axis=1)) for n in (1, 3))
    assert small.contrast == pytest.approx(large.contrast, abs=0.01)
    assert small.saturation == pytest.approx(large.saturation, abs=0.01)


@pytest.mark.real_data
def test_no_real_image_is_refused(real_data):
    refused = []
    paths = [
        *(real_data / "isic" / "images").iterdir(),
        *(real_data / "ph2" / "images").iterdir(),
        *(real_data / "isic_originals").glob("*.jpg"),
    ]
    for path in paths:
        try:
            require_plausible(load_square(path.read_bytes(), 150))
        except ImageError as error:
            refused.append(f"{path.name}: {error}")
    assert len(paths) > 2400
    assert refused == []
