import numpy as np
import pytest

from melanoma.scoring.occlusion import FAINTEST_FULL_SCALE, OUTLINE, occlusion_map, overlay

GREY = 128


def square_of(brightness: int, *, height: int = 60, width: int = 60) -> np.ndarray:
    """A grey image with a square of another brightness around row 15, column 45."""
    image = np.full((height, width, 3), GREY, np.uint8)
    image[10:20, 40:50] = brightness
    return image


def brightness_of_square(images: np.ndarray) -> np.ndarray:
    return np.asarray(images[:, 10:20, 40:50].mean(axis=(1, 2, 3)) / 255)


def top_of(saliency: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(saliency.argmax(), saliency.shape)
    return int(row), int(column)


def test_the_map_is_highest_where_the_score_comes_from():
    saliency = occlusion_map(square_of(250), brightness_of_square, num_steps=6)
    row, column = top_of(saliency)
    assert (abs(row - 15) <= 5, abs(column - 45) <= 5) == (True, True)
    assert saliency.max() > 0
    assert abs(saliency[45, 15]) < saliency.max() / 100  # far away nothing depends on it


def test_the_map_is_negative_where_a_cover_raises_the_score():
    saliency = occlusion_map(square_of(5), brightness_of_square, num_steps=6)
    row, column = top_of(-saliency)
    assert (abs(row - 15) <= 5, abs(column - 45) <= 5) == (True, True)
    assert saliency.min() < 0


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 60), (61, 47)])
@pytest.mark.parametrize("num_steps", [1, 5, 8])
def test_equal_scores_give_a_map_of_zeros_at_any_size(size, num_steps):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    saliency = occlusion_map(image, lambda images: np.full(len(images), 0.3), num_steps=num_steps)
    assert saliency.tolist() == np.zeros(size).tolist()


def test_an_image_of_one_colour_has_a_map_of_zeros():
    flat = np.full((20, 30, 3), 77, np.uint8)
    saliency = occlusion_map(flat, lambda images: images.mean(axis=(1, 2, 3)), num_steps=4)
    assert not saliency.any()


def test_the_map_is_smooth():
    saliency = occlusion_map(square_of(250), brightness_of_square, num_steps=6)
    jumps = max(np.abs(np.diff(saliency, axis=axis)).max() for axis in (0, 1))
    assert jumps < saliency.max() / 5  # hard covers of 10 pixels would jump by the whole height


def test_images_are_scored_as_uint8_one_row_of_covers_at_once():
    batches = []

    def score(images: np.ndarray) -> np.ndarray:
        batches.append((images.dtype.name, images.shape))
        return np.zeros(len(images))

    occlusion_map(square_of(250), score, num_steps=3)
    assert batches == [("uint8", (num_images, 60, 60, 3)) for num_images in (1, 3, 3, 3)]


def test_the_image_itself_is_left_as_it_is():
    image = square_of(250)
    occlusion_map(image, brightness_of_square, num_steps=3)
    assert (image == square_of(250)).all()


def test_scores_that_are_nan_give_a_map_of_nan_and_an_overlay_without_colour():
    image = square_of(250)
    saliency = occlusion_map(image, lambda images: np.full(len(images), np.nan), num_steps=3)
    assert np.isnan(saliency).all()
    assert (overlay(image, saliency) == image).all()  # the image is grey already


def test_falls_are_red_rises_blue_and_the_rest_grey():
    saliency = np.zeros((60, 60))
    saliency[5:25, 5:25], saliency[35:55, 35:55] = 0.4, -0.4
    drawn = overlay(square_of(250), saliency).astype(int)
    red, _, blue = drawn[15, 15]
    assert red > blue + 50
    red, _, blue = drawn[45, 45]
    assert blue > red + 50
    assert drawn[30, 30].tolist() == [GREY] * 3


def test_a_line_runs_around_what_reaches_half_of_the_scale():
    saliency = np.zeros((60, 60))
    saliency[20:40, 20:40] = 0.4
    is_line = (overlay(np.full((60, 60, 3), GREY, np.uint8), saliency) == OUTLINE).all(axis=-1)
    expected = np.zeros((60, 60), bool)
    expected[20:40, 20:40] = True
    expected[21:39, 21:39] = False
    assert (is_line == expected).all()


def test_noise_stays_paler_than_a_change_of_full_scale():
    image, saliency = np.full((9, 9, 3), GREY, np.uint8), np.zeros((9, 9))
    saliency[2:7, 2:7] = 1

    def saturation(largest: float) -> int:
        pixel = overlay(image, saliency * largest)[4, 4].astype(int)
        return int(pixel.max() - pixel.min())

    assert saturation(FAINTEST_FULL_SCALE / 50) < saturation(FAINTEST_FULL_SCALE) / 2
    assert saturation(FAINTEST_FULL_SCALE) == saturation(1.0)


def test_a_map_is_stretched_over_a_larger_image():
    saliency = np.zeros((30, 30))
    saliency[20:, 20:] = 1
    drawn = overlay(np.full((90, 120, 3), GREY, np.uint8), saliency).astype(int)
    assert drawn.shape == (90, 120, 3)
    assert drawn[80, 110, 0] > drawn[80, 110, 2] + 50
    assert drawn[30, 40].tolist() == [GREY] * 3
