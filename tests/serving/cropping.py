"""Crops as the served model makes them, without its decoding processes."""

import numpy as np

from melanoma.data.images import load_crop, load_square
from melanoma.serving.segmenter import Cutter


def cut(cutter: Cutter, encoded: bytes, size: int) -> np.ndarray | None:
    """The square around the lesion, `(size, size, 3)`, uint8; None where no lesion is found."""
    box = cutter.find_box(load_square(encoded, cutter.segmenter.image_size))
    if box is None:
        return None
    return load_crop(encoded, size, box, margin_fraction=cutter.crop.margin_fraction)
