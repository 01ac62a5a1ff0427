"""Refuses pictures that cannot be dermoscopy, by bounds on simple facts; used by the served model.

This module is served with the model and needs numpy and Pillow only. Facts are measured on a thumbnail. Each
bound is beyond the most extreme of 2,492 real images (ISIC and PH2), so none of them is refused; elsewhere
more may be, because the bounds were chosen on these images. Refused are plain areas, pages of text,
screenshots, grey photographs and scans, blue sky, green plants and noise. Warm-coloured photographs are not
refused: a face, a hand, a wooden table. Passing does not prove that a picture shows a lesion.
"""

from dataclasses import asdict, dataclass

import numpy as np

from melanoma.data.images import resize_square
from melanoma.errors import ImageError

SIDE = 64  # pixels of the thumbnail
GREY = (0.299, 0.587, 0.114)

# Bounds, each with the most extreme value of the real images.
MIN_CONTRAST = 0.01  # 0.019
MIN_SATURATION = 0.015  # 0.028
MIN_RED_OVER_BLUE = -0.34  # -0.297
MIN_RED_OVER_GREEN = -0.15  # -0.111
MIN_SMOOTHNESS = 0.45  # 0.65
MAX_ONE_COLOUR_FRACTION = 0.5  # 0.36


@dataclass(frozen=True)
class Look:
    """Facts of the thumbnail of a picture; colours are in 0..1.

    Attributes:
        contrast: Standard deviation of grey.
        saturation: Mean of (largest - smallest channel) / largest channel; 0 for black pixels.
        red_over_blue: Mean of red - blue.
        red_over_green: Mean of red - green.
        smoothness: Correlation of grey between neighbouring pixels; 0 without contrast.
        one_colour_fraction: Fraction of pixels with exactly the most frequent colour.
    """

    contrast: float
    saturation: float
    red_over_blue: float
    red_over_green: float
    smoothness: float
    one_colour_fraction: float


def look(pixels: np.ndarray) -> Look:
    """Measure the facts of a picture, shape `(height, width, 3)`, uint8."""
    thumbnail = resize_square(pixels, SIDE)
    red, green, blue = np.ascontiguousarray(thumbnail.transpose(2, 0, 1)) / 255
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    largest = np.maximum(np.maximum(red, green), blue)
    spread = largest - np.minimum(np.minimum(red, green), blue)
    saturation = np.divide(spread, largest, out=np.zeros_like(spread), where=largest > 0)
    return Look(
        contrast=float(grey.std()),
        saturation=float(saturation.mean()),
        red_over_blue=float((red - blue).mean()),
        red_over_green=float((red - green).mean()),
        smoothness=_smoothness(grey),
        one_colour_fraction=_one_colour_fraction(thumbnail),
    )


def require_plausible(pixels: np.ndarray) -> None:
    """Refuse a picture that cannot be dermoscopy.

    Args:
        pixels: Shape `(height, width, 3)`, uint8.

    Raises:
        ImageError: A fact is out of bounds; the message names it.
    """
    reason = _first_reason(look(pixels))
    if reason is not None:
        raise ImageError(f"the image does not look like dermoscopy: {reason}")


def _first_reason(seen: Look) -> str | None:
    """The first fact that is out of bounds, in words with its value."""
    too_low = {
        "contrast": (MIN_CONTRAST, "its brightness is almost uniform"),
        "saturation": (MIN_SATURATION, "it has almost no colour"),
        "red_over_blue": (MIN_RED_OVER_BLUE, "it is mostly blue"),
        "red_over_green": (MIN_RED_OVER_GREEN, "it is mostly green"),
        "smoothness": (MIN_SMOOTHNESS, "it looks like noise"),
    }
    facts = asdict(seen)
    for name, (bound, words) in too_low.items():
        if facts[name] < bound:
            return f"{words} ({name} {facts[name]:.3f}, expected at least {bound:g})"
    if seen.one_colour_fraction > MAX_ONE_COLOUR_FRACTION:
        share = f"one_colour_fraction {seen.one_colour_fraction:.3f}"
        return f"most of it has exactly one colour ({share}, expected at most {MAX_ONE_COLOUR_FRACTION:g})"
    return None


def _smoothness(grey: np.ndarray) -> float:
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    spread = float(left.std() * right.std())
    return float(((left - left.mean()) * (right - right.mean())).mean()) / spread if spread > 0 else 0.0


def _one_colour_fraction(thumbnail: np.ndarray) -> float:
    red, green, blue = thumbnail.astype(np.uint32).transpose(2, 0, 1)
    codes = (red << 16) | (green << 8) | blue
    return float(np.unique(codes, return_counts=True)[1].max() / codes.size)
