"""Augmentation of training images: one affine warp each and, where wanted, one change of colours.

Rotation, shifts, zoom, aspect and flips are composed into one matrix, so that a pixel is interpolated once;
brightness, contrast, saturation, hue and a factor of each channel into another, so that it is rounded once
more. What is drawn is
kept apart from what is done with it: a device warps by the same matrices.
"""

import cv2
import numpy as np

from melanoma.config.training import Augment

# Draws of an image, whatever is wanted. The first: four for the warp, two for the flips, four for colours.
# The further ones, for aspect and channels, are drawn after those of all images, so they change no other.
NUM_FIRST, NUM_FURTHER = 10, 4
NUM_DRAWS = NUM_FIRST + NUM_FURTHER
MID_GREY = 127.5


def scale(amounts: Augment, strength: float) -> Augment:
    """`amounts` times `strength`, 0..1; flips stay as they are."""
    return amounts.model_copy(update={name: value * strength for name, value in amounts if name != "flips"})


def draw_uniform(generator: np.random.Generator, number: int) -> np.ndarray:
    """The draws of `number` images, shape `(number, NUM_DRAWS)`, uniform in 0..1."""
    return np.hstack([generator.random((number, NUM_FIRST)), generator.random((number, NUM_FURTHER))])


def draw_warps(draws: np.ndarray, amounts: Augment, *, size: int) -> np.ndarray:
    """Random warps about the centre of `size` x `size` pictures.

    Args:
        draws: Shape `(n, NUM_DRAWS)`, see `draw_uniform`.
        amounts: A set of `params.yaml: augment`.
        size: Side of the square in pixels.

    Returns:
        Shape `(n, 2, 3)`: where a point `(x, y, 1)` of the picture goes. Flips come first, then aspect (one
        axis is stretched, the other compressed, the area is kept), rotation and zoom, then shifts.
    """
    angle, zoom, shift_x, shift_y = 2 * draws[:, :4].T - 1
    flips = np.where(draws[:, 4:6] < 0.5, -1.0, 1.0) if amounts.flips else np.ones((len(draws), 2))
    factor = 1 + zoom * amounts.zoom_fraction
    radians = np.deg2rad(angle * amounts.rotation_degrees)
    cosine, sine = factor * np.cos(radians), factor * np.sin(radians)
    stretch = np.exp((2 * draws[:, 10] - 1) * amounts.aspect_fraction / 2)
    axes = flips * np.stack([stretch, 1 / stretch], axis=-1)
    linear = np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), -1, 0) * axes[:, None, :]
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
    picture's mean, which a matrix cannot know), brightness a factor of all. Last, each channel has a factor
    of its own.

    Args:
        draws: Shape `(n, NUM_DRAWS)`, see `draw_uniform`.
        amounts: A set of `params.yaml: augment`.

    Returns:
        Shape `(n, 3, 4)`: what a colour `(red, green, blue, 1)` in 0..255 becomes, to be clipped to that
        range. `None` when no change is wanted.
    """
    fractions = [amounts.brightness_fraction, amounts.contrast_fraction, amounts.saturation_fraction]
    if not any((*fractions, amounts.hue_degrees, amounts.channel_fraction)):
        return None
    brightness, contrast, saturation, turn = (2 * draws[:, 6:NUM_FIRST].T - 1) * [
        [amount] for amount in (*fractions, np.deg2rad(amounts.hue_degrees))
    ]
    # Row i, column j of a turn about the grey axis depends on j - i alone: thirds of a circle apart.
    thirds = 2 * np.pi / 3 * (np.arange(3)[None, :] - np.arange(3)[:, None])
    turned = np.cos(turn[:, None, None] + thirds)
    linear = (1 + 2 * (1 + saturation)[:, None, None] * turned) / 3
    factor = (1 + brightness) * (1 + contrast)
    offset = np.broadcast_to(((1 + brightness) * -contrast * MID_GREY)[:, None, None], (len(draws), 3, 1))
    channels = 1 + (2 * draws[:, 11:] - 1) * amounts.channel_fraction
    return channels[:, :, None] * np.concatenate([factor[:, None, None] * linear, offset], axis=2)


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
