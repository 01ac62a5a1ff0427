"""Lesion masks: facts about a mask, and the mask as pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from melanoma.data import crops, images
from melanoma.errors import ImageError


def inspect_mask(path: Path, picture_size: tuple[object, object]) -> dict[str, object]:
    """Facts of a mask, by the names of `facts.FACT_DTYPES`; absent where they cannot be known.

    A pixel brighter than half of the brightest is lesion: masks come as 0 and 1, 0 and 255, or JPEG.

    Args:
        path: Mask file; a missing or broken file becomes a `mask_problem`.
        picture_size: Width and height of the upright picture; None where they are unknown.
    """
    try:
        mask = images.upright_grey(images.open_image(images.read_bytes(path)))
    except ImageError as error:
        return {"mask_decodes": False, "mask_problem": str(error)}
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
    """Where the lesion is, squashed as the picture is, without values in between.

    Args:
        path: Mask file, as large as its picture.
        size: Side in pixels.
        box: Box by which `images.load_crop` cropped the picture; None for a whole picture.
        margin_fraction: Margin as in `images.load_crop`.

    Returns:
        Shape `(size, size)`, bool.

    Raises:
        ImageError: Missing or broken.
    """
    mask = images.upright_grey(images.open_image(images.read_bytes(path)))
    edges = None
    if box is not None:
        part = crops.square_around(box, width=mask.width, height=mask.height, margin_fraction=margin_fraction)
        edges = images.pixel_edges(part, mask)
    pixels = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST, edges))
    return np.asarray(pixels > np.asarray(mask).max() // 2)
