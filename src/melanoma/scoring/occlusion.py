"""Occlusion sensitivity: how far the score falls when a part of the image is covered.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2. It
needs only scores of the network. It shows which parts the score depends on, not why.

A cover has the image's mean colour, so that it removes colour and structure alike (a blurred patch of a dark
lesion stays dark), and soft edges, because a hard edge is a structure of its own. A covered image is still
not
natural: small changes mean little.

Needs numpy and Pillow only: this module travels with the served model.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

COVER_STEPS = 1.5  # half the width of a cover in steps: neighbouring covers overlap, so the map is smooth
FAINTEST_FULL_SCALE = 0.05  # smallest change at full colour, so that noise stays pale
STRONGEST_COLOUR = 0.85  # opacity of the last colour over the grey image
# Orange to red where the score falls, light to dark blue where it rises: apart for colour-blind people
# too (after ColorBrewer's PuOr and RdBu), from pale to dark, so that strength can be read in print.
FALLS = np.array([[254, 224, 182], [241, 131, 40], [165, 15, 21]], dtype=np.float64)
RISES = np.array([[209, 229, 240], [67, 147, 195], [5, 48, 97]], dtype=np.float64)
OUTLINE = 255  # grey level of the line around changes above half of the full scale


def occlusion_map(
    image: np.ndarray, score: Callable[[np.ndarray], np.ndarray], *, num_steps: int
) -> np.ndarray:
    """How far the score falls when each place is covered; negative if it rises.

    Args:
        image: Shape `(height, width, 3)`, uint8, RGB; any size.
        score: Function from images `(n, height, width, 3)`, uint8, to scores `(n,)`. It is called with one
            image and then `num_steps` times with `num_steps` images.
        num_steps: Number of covers along each side; structures smaller than a step are not resolved.

    Returns:
        Shape `(height, width)`, float64, in units of the score: at each pixel the mean fall over the
        covers that hide it, weighted by how far they do. nan where a score was nan.
    """
    rows, columns = _cover_profiles(image.shape[0], num_steps), _cover_profiles(image.shape[1], num_steps)
    fill = image.mean(axis=(0, 1))
    uncovered = score(image[None])[0]
    falls = np.stack([uncovered - score(_covered(image, fill, row, columns)) for row in rows])
    return np.asarray(rows.T @ falls @ columns / np.outer(rows.sum(0), columns.sum(0)))


def _cover_profiles(length: int, num_steps: int) -> np.ndarray:
    """How far each cover hides each pixel along one side, `(num_steps, length)`, 0..1.

    Raised cosines: 1 at the middle of a cover, 0 beyond its edge. Every pixel is hidden by one at least.
    """
    step = length / num_steps
    middles = (np.arange(num_steps) + 0.5) * step
    distance = np.abs(np.arange(length) + 0.5 - middles[:, None]) / (COVER_STEPS * step)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.minimum(distance, 1)))


def _covered(image: np.ndarray, fill: np.ndarray, row: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The image under each cover of one row of covers, `(num_steps, height, width, 3)`, uint8."""
    hidden = (row[:, None] * columns[:, None, :])[..., None]
    return np.rint(image + hidden * (fill - image)).astype(np.uint8)


def overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The image in grey with the occlusion map in colour.

    Orange to red: covering makes the score fall. Blue: the score rises. A white line surrounds changes above
    half of the full scale, which is the largest change, at least `FAINTEST_FULL_SCALE`.

    Args:
        image: Shape `(height, width, 3)`, uint8, RGB.
        saliency: Map from `occlusion_map`; resized to the image; nan counts as 0.

    Returns:
        Shape `(height, width, 3)`, uint8, RGB.
    """
    change = _stretched(np.nan_to_num(saliency), (image.shape[1], image.shape[0]))
    strength = change / max(FAINTEST_FULL_SCALE, float(np.abs(change).max()))
    grey = np.repeat((image @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    opacity = STRONGEST_COLOUR * np.sqrt(np.abs(strength))[..., None]
    mixed = grey + opacity * (_colours(strength) - grey)
    mixed[_outline(np.abs(strength) >= 0.5)] = OUTLINE
    return np.rint(mixed).astype(np.uint8)


def _stretched(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`values` resized to `size` (width, height) with bilinear interpolation."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float64)


def _colours(strength: np.ndarray) -> np.ndarray:
    """Colour of each strength in -1..1, `(height, width, 3)`."""
    places = np.linspace(0, 1, len(FALLS))
    falls = [np.interp(strength, places, channel) for channel in FALLS.T]
    rises = [np.interp(-strength, places, channel) for channel in RISES.T]
    return np.where((strength >= 0)[..., None], np.stack(falls, axis=-1), np.stack(rises, axis=-1))


def _outline(inside: np.ndarray) -> np.ndarray:
    """Pixels inside that have a neighbour outside; the border of the image does not count."""
    padded = np.pad(inside, 1, mode="edge")
    all_neighbours = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(inside & ~all_neighbours)
