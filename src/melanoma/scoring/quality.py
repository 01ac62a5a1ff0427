"""Image facts for which `validate` refuses training images, measured on the square that a network sees.

The same measures as `data.checks.measures`, without OpenCV, because this module travels with the served
model; a test compares both on real images.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

GREY = np.array((0.299, 0.587, 0.114), dtype=np.float32)
WORDS = {  # what is said of an image whose fact is out of bounds
    "sharpness": "blurred",
    "brightness": "badly exposed",
    "contrast": "without contrast",
    "saturation": "without colour",
    "clipped_fraction": "overexposed",
    "dark_border_fraction": "mostly dark border",
}


@dataclass(frozen=True)
class Bounds:
    """Bounds of the facts, at the network's image size.

    Attributes:
        ranges: Lowest and highest value of each fact; None where there is no bound.
        clipping_level: Fraction of a channel's range from which a value counts as clipped.
        dark_level: Grey level, 0..1, up to which a pixel is dark.
        hair_width: Pixels; narrower dark parts are no border.
    """

    ranges: Mapping[str, tuple[float | None, float | None]]
    clipping_level: float
    dark_level: float
    hair_width: int

    def to_dict(self) -> dict[str, Any]:
        """The bounds as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Bounds":
        """Read the result of `to_dict`."""
        ranges = {name: (low, high) for name, (low, high) in content["ranges"].items()}
        return cls(**(dict(content) | {"ranges": ranges}))

    def reason(self, square: np.ndarray) -> str | None:
        """Which fact of an image is out of bounds, in words with its value; None if none is.

        Args:
            square: Shape `(size, size, 3)`, uint8, RGB.
        """
        return self.reason_of(self.facts(square))

    def facts(self, square: np.ndarray) -> dict[str, float]:
        """The facts of an image that have bounds, by name; see `reason`."""
        picture = Picture(square, self)
        return {name: FACTS[name](picture) for name in self.ranges}

    def reason_of(self, facts: Mapping[str, float]) -> str | None:
        """Like `reason`, of facts that are measured already."""
        for name, (low, high) in self.ranges.items():
            value = facts[name]
            if low is not None and value < low:
                return f"{WORDS[name]} ({name} {value:.3g}, expected at least {low:.3g})"
            if high is not None and value > high:
                return f"{WORDS[name]} ({name} {value:.3g}, expected at most {high:.3g})"
        return None


class Picture:
    """A square with what several facts need, computed once."""

    def __init__(self, square: np.ndarray, bounds: Bounds) -> None:
        """Keep the square, `(size, size, 3)`, uint8, RGB, and the levels at which it is measured."""
        self.square, self.bounds = square, bounds

    @cached_property
    def grey(self) -> np.ndarray:
        """Grey levels 0..255, int16."""
        return np.rint(self.square.astype(np.float32) @ GREY).astype(np.int16)

    @cached_property
    def largest(self) -> np.ndarray:
        """The largest channel of each pixel, uint8."""
        red, green, blue = np.moveaxis(self.square, 2, 0)
        return np.maximum(np.maximum(red, green), blue)


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian of grey."""
    padded = np.pad(picture.grey, 1, mode="reflect")
    sides = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return float((sides - 4 * picture.grey).astype(np.float32).var())


def brightness(picture: Picture) -> float:
    """Mean of grey, 0..1."""
    return float(picture.grey.mean()) / 255


def contrast(picture: Picture) -> float:
    """Standard deviation of grey, 0..1."""
    return float(picture.grey.astype(np.float32).std()) / 255


def saturation(picture: Picture) -> float:
    """Mean of (largest - smallest channel) / largest channel; 0 for black pixels."""
    red, green, blue = np.moveaxis(picture.square, 2, 0)
    spread = picture.largest - np.minimum(np.minimum(red, green), blue)
    return float((spread / np.maximum(picture.largest, 1).astype(np.float32)).mean())


def clipped_fraction(picture: Picture) -> float:
    """Fraction of pixels with a channel at its end."""
    return float((picture.largest >= picture.bounds.clipping_level * 255).mean())


def dark_border_fraction(picture: Picture) -> float:
    """Fraction of pixels in dark areas that touch the edge; where few are dark, the fraction that is dark.

    Few: no more than the highest value allowed, so that their place does not matter.
    """
    bounds = picture.bounds
    dark = picture.grey <= bounds.dark_level * 255
    _, most = bounds.ranges["dark_border_fraction"]
    if most is None or dark.mean() <= most:
        return float(dark.mean())
    width = bounds.hair_width
    framed = np.pad(dark, width, constant_values=True)
    wide = ndimage.binary_opening(framed, np.ones((width, width), dtype=bool), border_value=1)
    areas, _ = ndimage.label(wide)
    return float((areas == areas[0, 0])[width:-width, width:-width].mean())


FACTS: dict[str, Callable[[Picture], float]] = {
    "sharpness": sharpness,
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "clipped_fraction": clipped_fraction,
    "dark_border_fraction": dark_border_fraction,
}
