"""The box around a lesion, and the square that is cropped around it.

Needs numpy and SciPy only: this module travels with the served model, which crops as `pack` does.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

NONE, MASK, UNET = "none", "mask", "unet"
MIN_PROBABILITY = 0.5  # at or above it a pixel counts as lesion


@dataclass(frozen=True)
class Box:
    """A part of a picture; edges as fractions 0..1 of the upright picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Crop:
    """Settings by which the images of a cohort were cropped and a served model must crop.

    Attributes:
        kind: `mask` (masks drawn by people) or `unet` (lesions found by a network).
        margin_fraction: Margin on each side, as a fraction of the lesion's longer side.
        min_lesion_fraction: Smallest lesion, as a fraction of the image; smaller ones are not cropped.
        segmenter_sha256: Hex digest of the exported network; None where there is none.
    """

    kind: str
    margin_fraction: float
    min_lesion_fraction: float
    segmenter_sha256: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> "Crop | None":
        """None (the whole picture) where nothing was written."""
        return None if content is None else cls(**content)

    def in_words(self) -> str:
        """What is cut out, in a sentence without its end."""
        drawn_by = "a hand-drawn mask" if self.kind == MASK else "a U-Net"
        return (
            f"a square around the lesion, located by {drawn_by}, with a margin of {self.margin_fraction:g} "
            "of the lesion's longer side; the whole image if no lesion was found"
        )


@dataclass(frozen=True)
class Cutting:
    """The crop of each image of a cohort.

    Attributes:
        crop: Settings of the crop.
        boxes: Box of the lesion by image_id; an image without one stays whole.
    """

    crop: Crop
    boxes: Mapping[str, Box]


def kind_of(crop: Crop | None) -> str:
    """`none`, `mask` or `unet`."""
    return NONE if crop is None else crop.kind


def find_box(lesion: np.ndarray, *, min_lesion_fraction: float) -> Box | None:
    """The smallest box around the largest connected piece of a mask.

    Args:
        lesion: Shape `(height, width)`, bool.
        min_lesion_fraction: Smallest piece, as a fraction of the pixels.

    Returns:
        None if no piece is that large.
    """
    piece = largest_piece(lesion)
    if not piece.any() or piece.mean() < min_lesion_fraction:
        return None
    height, width = lesion.shape
    rows, columns = np.flatnonzero(piece.any(axis=1)), np.flatnonzero(piece.any(axis=0))
    return Box(
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def largest_piece(lesion: np.ndarray) -> np.ndarray:
    """The pixels of the largest 4-connected piece, of equals that which ends last; all False without any."""
    from scipy import ndimage  # noqa: PLC0415  # a server that cuts nothing does without it

    backwards, _ = ndimage.label(lesion[::-1, ::-1])  # numbered from 1 on by where a piece ends
    sizes = np.bincount(backwards.ravel())
    sizes[0] = 0
    return np.asarray(lesion & (backwards[::-1, ::-1] == np.argmax(sizes)))


def square_around(box: Box, *, width: int, height: int, margin_fraction: float) -> Box:
    """A square in the picture's own pixels around a box: the lesion keeps its proportions.

    Its side is the box's longer one with the margin on both ends. Where it would stick out of the picture it
    is moved inside; where it is larger than the picture, it is cut there and is no square any more.

    Args:
        box: Box of the lesion.
        width: Width of the upright picture in pixels.
        height: Height of the upright picture in pixels.
        margin_fraction: Margin on each side, as a fraction of the longer side.
    """
    longer = max((box.right - box.left) * width, (box.bottom - box.top) * height)
    side = longer * (1 + 2 * margin_fraction)
    left, right = _span(box.left, box.right, side / width)
    top, bottom = _span(box.top, box.bottom, side / height)
    return Box(left, top, right, bottom)


def _span(low: float, high: float, length: float) -> tuple[float, float]:
    """An interval of `length` about the middle of another, both within 0..1."""
    if length >= 1:
        return 0.0, 1.0
    start = min(max((low + high - length) / 2, 0.0), 1 - length)
    return start, min(start + length, 1.0)
