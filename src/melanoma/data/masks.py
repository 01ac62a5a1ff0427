"""Inspects and loads lesion masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from melanoma.data import crops, images


def open_mask(path: Path) -> Image.Image:
    """The mask, upright and grey.

    Raises:
        ImageError: The mask is missing or broken.
    """
    return images.upright_grey(images.open_image(images.read_bytes(path)))


def describe_mask(mask: Image.Image, picture_size: tuple[object, object]) -> dict[str, object]:
    """Facts of a mask, by names of `facts.FACT_DTYPES`.

    Pixels brighter than half of the maximum are lesion, because masks come as 0 and 1, 0 and 255, or JPEG.

    Args:
        mask: Result of `open_mask`.
        picture_size: Width and height of the upright picture; None if unknown.
    """
    counts = mask.histogram()
    brightest = max(level for level, count in enumerate(counts) if count)
    num_lesion = sum(counts[brightest // 2 + 1 :])
    return {
        "mask_decodes": True,
        "mask_fits": None if None in picture_size else mask.size == picture_size,
        "lesion_fraction": num_lesion / sum(counts),
    }


def load_lesion(
    path: Path, size: int, *, box: crops.Box | None = None, margin_fraction: float = 0.0
) -> np.ndarray:
    """Load the lesion mask, resized like its picture.

    Args:
        path: Path of the mask, which has the size of its picture.
        size: Height and width of the result in pixels.
        box: Box of the lesion if the picture was cropped by `images.load_crop`; None if it was not.
        margin_fraction: Margin of that crop.

    Returns:
        Shape `(size, size)`, bool.

    Raises:
        ImageError: The mask is missing or broken.
    """
    mask = open_mask(path)
    edges = None
    if box is not None:
        part = crops.square_around(box, width=mask.width, height=mask.height, margin_fraction=margin_fraction)
        edges = images.pixel_edges(part, mask)
    return lesion_of(mask, size, edges=edges)


def lesion_of(
    mask: Image.Image, size: int, *, edges: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """The lesion of an opened mask, or of its part within `edges`, `(size, size)`, bool."""
    pixels = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST, edges))
    return np.asarray(pixels > np.asarray(mask).max() // 2)
