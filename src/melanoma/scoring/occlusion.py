"""Where a network looks: how far its score falls when a part of the image is covered.

Needs nothing of the network but its scores. Source: Zeiler and Fergus, Visualizing and understanding
convolutional networks, ECCV 2014.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

Score = Callable[[np.ndarray], np.ndarray]
NUM_STEPS = 8  # patches along a side: 64 images to score
OVERLAP = 2  # a patch is this many steps wide, so that the map has no grid
MAX_OPACITY = 0.6  # of the colour over the picture


def occlusion_map(image: np.ndarray, score: Score, *, num_steps: int = NUM_STEPS) -> np.ndarray:
    """How much the score falls when the surroundings of each pixel take the mean colour of the image.

    Args:
        image: Shape `(size, size, 3)`, uint8.
        score: From `(n, size, size, 3)` uint8 to `(n,)`.
        num_steps: Patches along a side.

    Returns:
        Shape `(size, size)`, float64; mean over the patches that cover a pixel. Positive where the pixel
        speaks for malignant, negative where it speaks against.
    """
    size = len(image)
    patches = _patches(size, num_steps)
    covered = np.repeat(image[None], len(patches) + 1, axis=0)
    for number, where in enumerate(patches):
        covered[number][where] = image.reshape(-1, 3).mean(0).round().astype(np.uint8)
    scores = score(covered)
    total, num_covering = np.zeros((size, size)), np.zeros((size, size))
    for where, value in zip(patches, scores[:-1], strict=True):
        total[where] += scores[-1] - value
        num_covering[where] += 1
    return total / num_covering


def _patches(size: int, num_steps: int) -> list[tuple[slice, slice]]:
    """Squares that cover every pixel, each about `OVERLAP` steps wide."""
    step = size / num_steps
    starts = (np.arange(num_steps + OVERLAP - 1) - OVERLAP + 1) * step
    sides = [slice(max(0, round(at)), min(size, round(at + OVERLAP * step))) for at in starts]
    return [(rows, columns) for rows in sides for columns in sides]


def overlay(image: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """The image in grey; red where covering lowers the score, blue where it raises it.

    Args:
        image: Shape `(size, size, 3)`, uint8.
        fall: From `occlusion_map`; the strongest colour stands for the largest value.

    Returns:
        Shape `(size, size, 3)`, uint8.
    """
    largest = np.abs(fall).max()
    strength = (np.abs(fall) / largest if largest > 0 else np.zeros_like(fall))[..., None] * MAX_OPACITY
    colour = np.where(fall[..., None] > 0, (214, 40, 40), (38, 90, 190))
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float64)[..., None]
    return np.asarray((1 - strength) * grey + strength * colour).round().astype(np.uint8)
