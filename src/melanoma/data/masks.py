"""What a lesion mask is: does it decode, does it fit its picture, how much of it is lesion."""

from pathlib import Path

from melanoma.data import images
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
