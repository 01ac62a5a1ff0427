"""Pictures with a part taken away or something added that is not the lesion, at the size networks see.

They ask a network what it looks at. What is drawn depends on the image's id alone, so that it is the same for
every model. All functions take and give `(size, size, 3)` uint8 and change no input.
"""

import hashlib
from collections.abc import Callable

import cv2
import numpy as np

HAIR_COLOR = (45, 32, 28)
INK_COLOR = (70, 60, 150)
NUM_HAIRS = 12
NUM_MARKS = 30  # of a ruler
Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def generator_of(image_id: str) -> np.random.Generator:
    """The same draws for the same image, whatever comes before it."""
    return np.random.default_rng(int(hashlib.sha256(image_id.encode()).hexdigest()[:16], 16))


def blacked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The lesion in black: what is left is its outline and the skin.

    Args:
        image: Shape `(size, size, 3)`, uint8.
        mask: Shape `(size, size)`, bool: the lesion.
    """
    return np.where(mask[..., None], np.uint8(0), image)


def filled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The lesion in the mean colour of the skin around it: its outline is all but gone too.

    Args:
        image: Shape `(size, size, 3)`, uint8.
        mask: Shape `(size, size)`, bool: the lesion; where it is all, the mean of all is taken.
    """
    skin = image.reshape(-1, 3) if mask.all() else image[~mask]
    return np.where(mask[..., None], skin.mean(0).round().astype(np.uint8), image)


def border_only(image: np.ndarray, *, border_fraction: float) -> np.ndarray:
    """A frame of the picture; its middle takes the mean colour of the frame.

    Args:
        image: Shape `(size, size, 3)`, uint8.
        border_fraction: Width of the frame, of the side.
    """
    size = len(image)
    width = max(1, round(border_fraction * size))
    middle = np.zeros((size, size), dtype=bool)
    middle[width : size - width, width : size - width] = True
    return filled(image, middle)


def with_hair(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Bent dark hairs, one pixel wide, across the picture."""
    drawn, size = image.copy(), len(image)
    along = np.linspace(0, 1, 24)[:, None]
    for _ in range(NUM_HAIRS):
        begin, end = generator.uniform(0, size, (2, 2))
        bend = (begin + end) / 2 + generator.normal(0, size / 10, 2)
        points = (1 - along) ** 2 * begin + 2 * along * (1 - along) * bend + along**2 * end
        cv2.polylines(drawn, [points.round().astype(np.int32)], False, HAIR_COLOR, 1, cv2.LINE_AA)
    return drawn


def with_ruler(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Marks of a ruler along one of the four edges, every fifth one longer."""
    turns, size = int(generator.integers(4)), len(image)
    drawn = np.rot90(image, turns).copy()
    for number in range(NUM_MARKS):
        at = int((number + 0.5) * size / NUM_MARKS)
        length = round(size * (0.09 if number % 5 == 0 else 0.05))
        drawn[:length, at] = 20
    return np.ascontiguousarray(np.rot90(drawn, -turns))


def with_ink(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A stroke of a violet pen near a corner, as surgeons mark lesions."""
    drawn, size = image.copy(), len(image)
    x, y = (int(value * size) for value in generator.choice([0.12, 0.88], 2))
    axes = (round(0.16 * size), round(0.07 * size))
    angle, width = float(generator.uniform(0, 180)), max(1, round(size / 40))
    cv2.ellipse(drawn, (x, y), axes, angle, 20, 320, INK_COLOR, width, cv2.LINE_AA)
    return drawn


def with_dark_corners(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The round view of a dermatoscope: black outside a circle about the middle."""
    size = len(image)
    radius = size * generator.uniform(0.54, 0.6)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return blacked(image, rows**2 + columns**2 > radius**2)


ADDED: dict[str, Draw] = {
    "hair": with_hair,
    "ruler": with_ruler,
    "ink": with_ink,
    "dark_corners": with_dark_corners,
}
