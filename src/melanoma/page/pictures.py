"""Pictures inside the page: bounded in width, as small as they go without loss."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from melanoma.errors import DataError

PIXELS_OF_A_FIGURE = 40_000_000  # more is no figure but a bomb or a mistake


@dataclass(frozen=True)
class Picture:
    """A picture that travels inside the page.

    Attributes:
        uri: `data:image/webp;base64,…`.
        width: Pixels, as drawn here.
        height: Pixels.
        caption: Shown below it.
        alt: Read out instead of it.
    """

    uri: str
    width: int
    height: int
    caption: str
    alt: str


def embed(path: Path, *, caption: str, alt: str, max_width: int) -> Picture:
    """The picture at `path`, shrunk to at most `max_width` pixels, as lossless WebP.

    Raises:
        DataError: It is no picture, or far too large for a figure.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > PIXELS_OF_A_FIGURE:
                raise DataError(f"{path} has {opened.width} x {opened.height} pixels: too many for a figure.")
            picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            f"{path} is no picture that can be read ({error}). Draw it anew, or remove it."
        ) from error
    if picture.width > max_width:
        height = max(1, round(picture.height * max_width / picture.width))
        picture = picture.resize((max_width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, quality=80, method=4)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{encoded}", picture.width, picture.height, caption, alt)
