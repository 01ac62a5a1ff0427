"""What a lesion mask is: does it decode, does it fit its picture, how much of it is lesion."""

from pathlib import Path

import numpy as np
from PIL import Image

from melanoma.data import crops, images
from melanoma.errors import ImageError


def inspect_mask(path: Path, picture_size: tuple[object, object]) -> dict[str, object]:
    """Facts of a mask, by the names of `facts.FACT_DTYPES`; absent where they cannot be known.

    A pixel brighter than half of the brightest is lesion: masks come as 0 and 1, 0 and 255, or JPEG.

    Args:
        path: Of the mask; a missing or broken file becomes a `mask_problem`.
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
        path: Of the mask, as large as its picture.
        size: Side in pixels.
        box: Where the picture was cut by `images.load_crop`; None: it was not.
        margin_fraction: As there.

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
