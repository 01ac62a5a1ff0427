"""Figures embedded in the page, limited in width and compressed without loss."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from melanoma.errors import DataError

MAX_PIXELS = 40_000_000  # a larger file is a decompression bomb or a mistake


@dataclass(frozen=True)
class Picture:
    """A figure embedded in the page.

    Attributes:
        uri: `data:image/webp;base64,…`.
        width: Width in pixels.
        height: Height in pixels.
        caption: Caption shown below it.
        alt: Alternative text for screen readers.
    """

    uri: str
    width: int
    height: int
    caption: str
    alt: str


def embed(path: Path, *, caption: str, alt: str, max_width: int) -> Picture:
    """The image at `path` as lossless WebP, at most `max_width` pixels wide.

    Raises:
        DataError: The file is not an image, or has more than `MAX_PIXELS`.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise DataError(f"{path} has {opened.width} x {opened.height} pixels: too many for a figure.")
            picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}). Create it again or remove it."
        ) from error
    if picture.width > max_width:
        height = max(1, round(picture.height * max_width / picture.width))
        picture = picture.resize((max_width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, quality=80, method=4)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{encoded}", picture.width, picture.height, caption, alt)
