"""Removes the lesion from a picture, or adds artefacts such as hair, to test what a network looks at.

Pictures have the size that networks see. What is drawn depends on the image id alone, so that it is the same
for every model. The synthetic dataset draws hair, rulers and corners with the same functions, so a network
trained on it reacts less to them.

Sizes are fractions of the picture's side. A hair is one pixel wide, about a tenth of a millimetre of skin at
150 px.
"""

import hashlib
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

# Margin around a mask, as a fraction of the side: people draw borders inside the outermost pigment.
LESION_MARGIN_FRACTION = 0.02
PEN_COLOURS = np.array(((0.30, 0.16, 0.52), (0.13, 0.22, 0.58), (0.10, 0.38, 0.34)))  # violet, blue, green


def generator_of(image_id: str) -> np.random.Generator:
    """A generator that depends on the image id alone."""
    return np.random.default_rng(int(hashlib.sha256(image_id.encode()).hexdigest()[:16], 16))


def blacked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint the lesion black. Its size and outline stay visible.

    Args:
        image: Shape `(size, size, 3)`, uint8; not changed.
        mask: Lesion, shape `(size, size)`, bool; a margin of `LESION_MARGIN_FRACTION` is painted too.
    """
    return np.where(_widened(mask)[..., None], np.uint8(0), image)


def filled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint the lesion in the mean colour of the skin around it.

    Args:
        image: Shape `(size, size, 3)`, uint8; not changed.
        mask: As for `blacked`; if it covers everything, the mean of the whole picture is used.
    """
    return _flattened(image, _widened(mask))


def border_only(image: np.ndarray, *, border_fraction: float) -> np.ndarray:
    """Keep a frame of the picture and paint the middle in the mean colour of the frame.

    A lesion that reaches the frame stays visible there.

    Args:
        image: Shape `(size, size, 3)`, uint8; not changed.
        border_fraction: Width of the frame as a fraction of the side; at least one pixel.
    """
    size = len(image)
    width = max(1, round(border_fraction * size))
    middle = np.zeros((size, size), dtype=bool)
    middle[width : size - width, width : size - width] = True
    return _flattened(image, middle)


def lay_over(image: np.ndarray, artefact: str, image_id: str) -> np.ndarray:
    """Draw one of `ARTEFACTS` on the picture.

    Args:
        image: Shape `(size, size, 3)`, uint8; not changed.
        artefact: Name of the artefact.
        image_id: Image id, which determines what is drawn.
    """
    picture = ARTEFACTS[artefact](generator_of(f"{artefact} {image_id}"), image.astype(np.float32) / 255)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _widened(mask: np.ndarray) -> np.ndarray:
    """The mask with a margin."""
    margin = round(LESION_MARGIN_FRACTION * len(mask))
    square = np.ones((2 * margin + 1, 2 * margin + 1), dtype=np.uint8)
    return cv2.dilate(mask.astype(np.uint8), square).astype(bool)


def _flattened(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Paint the covered part in the mean colour of the rest."""
    seen = image.reshape(-1, 3) if covered.all() else image[~covered]
    return np.where(covered[..., None], seen.mean(0).round().astype(np.uint8), image)


# ---- drawing: pictures are (size, size, 3), float in [0, 1] -----------------------------------


def add_hair(rng: np.random.Generator, picture: np.ndarray, *, fewest: int = 3) -> np.ndarray:
    """Draw `fewest` to `fewest + 22` thin curved hairs, dark or fair, roughly along one direction."""
    size = len(picture)
    strands = np.zeros((size, size), dtype=np.float32)
    along = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(fewest, fewest + 23))):
        angle = along + rng.normal(0, 0.35)
        start = rng.uniform(-0.1, 1.1, size=2) * size
        end = start + rng.uniform(0.3, 1.0) * size * np.array((np.cos(angle), np.sin(angle)))
        knee = (start + end) / 2 + rng.normal(0, 0.08, size=2) * size
        t = np.linspace(0, 1, 24)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * knee + t**2 * end
        points = np.round(curve * 8).astype(np.int32)
        thickness = 1 + int(rng.random() < 0.15 * size / 256)
        cv2.polylines(strands, [points], False, 1.0, thickness, cv2.LINE_AA, shift=3)
    strands = rng.uniform(0.5, 0.95) * cv2.GaussianBlur(strands, (0, 0), 0.6)[..., None]
    colour = np.array((0.16, 0.11, 0.09)) + rng.uniform(0, 0.35) * np.array((1.0, 0.8, 0.55))
    return (picture * (1 - strands) + colour * strands).astype(np.float32)


def add_ruler(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Draw a millimetre scale near an edge, in any direction."""
    size = len(picture)
    ink = np.zeros((size, size), dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array((np.cos(angle), np.sin(angle)))
    across = np.array((-along[1], along[0]))
    centre = size * (0.5 + rng.uniform(0.36, 0.42) * across)
    pitch = size * rng.uniform(0.03, 0.045)
    num_marks = 11
    marks = [centre + along * pitch * (k - num_marks // 2) for k in range(num_marks)]
    _draw_line(ink, marks[0], marks[-1])
    for number, mark in enumerate(marks):
        length = pitch * (0.9 if number % 5 == 0 else 0.5)
        _draw_line(ink, mark, mark - across * length)
    ink = rng.uniform(0.5, 0.9) * ink[..., None]
    return picture * (1 - ink) + 0.12 * ink


def _draw_line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, thickness: int = 1) -> None:
    """Draw a line between two points given as `(column, row)`; all in pixels."""
    first, last = (np.round(point * 8).astype(int).tolist() for point in (start, end))
    cv2.line(canvas, first, last, 1.0, thickness, cv2.LINE_AA, shift=3)


def darken_corners(
    rng: np.random.Generator, picture: np.ndarray, *, widest: float = 1.22, faintest: float = 0.5
) -> np.ndarray:
    """Draw the shadow of a round lens, from a faint fall-off to black corners.

    Args:
        rng: Decides position, size, softness and darkness.
        picture: Shape `(size, size, 3)`, float in [0, 1]; not changed.
        widest: Maximum radius of the view as a fraction of half the side; the minimum is 0.24 less.
        faintest: Minimum fraction of light that is lost in full shadow.
    """
    axis = np.linspace(-1, 1, len(picture))
    centre = rng.normal(0, 0.05, size=2)
    distance = np.hypot(axis[None, :] - centre[0], axis[:, None] - centre[1])
    depth = (distance - rng.uniform(widest - 0.24, widest)) / rng.uniform(0.012, 0.09)
    shadow = 1 / (1 + np.exp(-np.clip(depth, -30, 30)))
    return picture * (1 - rng.uniform(faintest, 0.97) * shadow[..., None])


def add_ink(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Draw translucent strokes of a surgical pen around the middle."""
    size = len(picture)
    strokes = np.zeros((size, size), dtype=np.float32)
    for angle in rng.uniform(0, 2 * np.pi) + np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(2, 5)))):
        towards = np.array((np.cos(angle), np.sin(angle)))
        middle = size / 2 * (1 + rng.uniform(0.84, 0.96) * towards)
        turned = angle + np.pi / 2 + rng.normal(0, 0.5)
        half = size * rng.uniform(0.04, 0.09) * np.array((np.cos(turned), np.sin(turned)))
        thickness = max(1, round(size * rng.uniform(0.015, 0.035)))
        _draw_line(strokes, middle - half, middle + half, thickness)
    strokes = rng.uniform(0.6, 0.9) * cv2.GaussianBlur(strokes, (0, 0), 0.008 * size)[..., None]
    ink = rng.choice(PEN_COLOURS)
    return picture * (1 - strokes + ink * strokes)


# Stronger than in the synthetic dataset, so that they are visible in every image.
ARTEFACTS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "hair": partial(add_hair, fewest=12),
    "ruler": add_ruler,
    "ink": add_ink,
    "dark_corners": partial(darken_corners, widest=1.1, faintest=0.85),
}
