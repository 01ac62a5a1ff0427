"""Augmentation of training images: one affine warp each and, where wanted, one change of colours.

Rotation, shifts, zoom and flips are composed into one matrix, so that a pixel is interpolated once;
brightness, contrast, saturation and hue into another, so that it is rounded once more. What is drawn is
kept apart from what is done with it: a device warps by the same matrices.
"""

import cv2
import numpy as np

from melanoma.config.training import Augment

NUM_DRAWS = 10  # of an image, whatever is wanted: four for the warp, two for the flips, four for colours
MID_GREY = 127.5


def scale(amounts: Augment, strength: float) -> Augment:
    """`amounts` times `strength`, 0..1; flips stay as they are."""
    return amounts.model_copy(update={name: value * strength for name, value in amounts if name != "flips"})


def draw_warps(draws: np.ndarray, amounts: Augment, *, size: int) -> np.ndarray:
    """Random warps about the centre of `size` x `size` pictures.

    Args:
        draws: Shape `(n, NUM_DRAWS)`, uniform in 0..1.
        amounts: `params.yaml: augment`.
        size: Side of the square in pixels.

    Returns:
        Shape `(n, 2, 3)`: where a point `(x, y, 1)` of the picture goes. Flips come first, then rotation and
        zoom, then shifts.
    """
    angle, zoom, shift_x, shift_y = 2 * draws[:, :4].T - 1
    flips = np.where(draws[:, 4:6] < 0.5, -1.0, 1.0) if amounts.flips else np.ones((len(draws), 2))
    factor = 1 + zoom * amounts.zoom_fraction
    radians = np.deg2rad(angle * amounts.rotation_degrees)
    cosine, sine = factor * np.cos(radians), factor * np.sin(radians)
    linear = np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), -1, 0) * flips[:, None, :]
    shifts = size * np.stack(
        [shift_x * amounts.horizontal_shift_fraction, shift_y * amounts.vertical_shift_fraction], axis=-1
    )
    centre = np.full(2, (size - 1) / 2)
    offset = centre - linear @ centre + shifts
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def draw_colours(draws: np.ndarray, amounts: Augment) -> np.ndarray | None:
    """Random changes of colour.

    A colour is split into its grey (the mean of its channels) and the rest. Saturation is a factor of the
    rest, hue turns it about the grey axis, contrast is a factor of the distance from mid-grey (not from the
    picture's mean, which a matrix cannot know), brightness a factor of all.

    Args:
        draws: Shape `(n, NUM_DRAWS)`, uniform in 0..1.
        amounts: `params.yaml: augment`.

    Returns:
        Shape `(n, 3, 4)`: what a colour `(red, green, blue, 1)` in 0..255 becomes, to be clipped to that
        range. `None` when no change is wanted.
    """
    fractions = [amounts.brightness_fraction, amounts.contrast_fraction, amounts.saturation_fraction]
    if not any((*fractions, amounts.hue_degrees)):
        return None
    brightness, contrast, saturation, turn = (2 * draws[:, 6:].T - 1) * [
        [amount] for amount in (*fractions, np.deg2rad(amounts.hue_degrees))
    ]
    # Row i, column j of a turn about the grey axis depends on j - i alone: thirds of a circle apart.
    thirds = 2 * np.pi / 3 * (np.arange(3)[None, :] - np.arange(3)[:, None])
    turned = np.cos(turn[:, None, None] + thirds)
    linear = (1 + 2 * (1 + saturation)[:, None, None] * turned) / 3
    factor = (1 + brightness) * (1 + contrast)
    offset = np.broadcast_to(((1 + brightness) * -contrast * MID_GREY)[:, None, None], (len(draws), 3, 1))
    return np.concatenate([factor[:, None, None] * linear, offset], axis=2)


def augment_image(image: np.ndarray, warp: np.ndarray, colour: np.ndarray | None = None) -> np.ndarray:
    """A warped copy; borders are filled by reflection, without repeating the last pixel.

    Args:
        image: Shape `(size, size, 3)`, uint8.
        warp: Shape `(2, 3)`, see `draw_warps`.
        colour: Shape `(3, 4)`, see `draw_colours`.

    Returns:
        Shape and type of `image`.
    """
    size = (image.shape[1], image.shape[0])
    warped = cv2.warpAffine(image, warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped if colour is None else cv2.transform(warped, colour)
