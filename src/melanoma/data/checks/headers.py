"""Facts from the header of a file, without decoding pixels: format, size, depth, frames and truncation.

More formats are described than decoded, and pictures of any size: a GIF or a decompression bomb that is
refused still gets its facts.
"""

import io
from pathlib import Path

# Loaded once for all forked processes, each of which would load all formats of Pillow otherwise.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from melanoma.data import images
from melanoma.data.signatures import JPEG_MARKER, JPEG_START, PNG_START, format_of
from melanoma.errors import ImageError

DESCRIBED_FORMATS = (*images.FORMATS, "GIF", "TIFF", "JPEG2000")
EXTENSIONS = {  # by Pillow's name of the format
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    images.STEREO: {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "BMP": {".bmp", ".dib"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "JPEG2000": {".jp2", ".j2k", ".jpx"},
}
BITS_OF_MODES = {"1": 1, "I": 32, "F": 32}  # by Pillow's name of the mode; 8 for most others
LYING = range(5, 9)  # EXIF orientations that swap width and height

JPEG_END, PNG_END = b"\xff\xd9", b"IEND\xae\x42\x60\x82"


def open_header(encoded: bytes) -> Image.Image:
    """Open an image of `DESCRIBED_FORMATS`, of any size, to describe it without decoding.

    Raises:
        ImageError: The bytes are no image.
    """
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # no pixel is decoded here
    try:
        return Image.open(io.BytesIO(encoded), formats=DESCRIBED_FORMATS)
    except Exception as error:  # hostile bytes raise errors of many types
        shown = format_of(encoded)
        reason = f"the header of the {shown} image cannot be read" if shown else images.no_image(encoded)
        raise ImageError(reason) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def describe(image: Image.Image, encoded: bytes, path: Path) -> dict[str, object]:
    """Facts of an opened image, by names of `facts.FACT_DTYPES`; width and height are upright.

    Args:
        image: Image opened by `open_header`.
        encoded: All bytes of the file.
        path: Path of the file, of which only the suffix is used.
    """
    orientation = _exif_orientation(image)
    size = (image.width, image.height)
    width, height = reversed(size) if orientation in LYING else size
    return {
        "format": image.format,
        "extension_fits": _extension_fits(str(image.format), path),
        "exif_orientation": orientation,
        "mode": image.mode,
        "bit_depth": _bit_depth(image, encoded),
        "num_frames": images.num_frames(image),
        "width": width,
        "height": height,
    }


def describe_bytes(encoded: bytes, path: Path) -> dict[str, object]:
    """Facts that the first and last bytes show, even if the file cannot be opened."""
    shown = format_of(encoded)
    if shown is None:
        return {}
    return {
        "format": shown,
        "extension_fits": _extension_fits(shown, path),
        "is_truncated": is_truncated(encoded),
    }


def _extension_fits(image_format: str, path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS[image_format]


def _exif_orientation(image: Image.Image) -> int | None:
    """1 to 8, or None if absent or invalid; that of a PNG is complete after decoding only."""
    if image.format == "PNG" and "exif" not in image.info:
        return None  # Pillow would decode the picture to read further
    try:
        orientation = image.getexif().get(images.ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  # as above
        return None
    return orientation if orientation in range(1, 9) else None


def _bit_depth(image: Image.Image, encoded: bytes) -> int:
    if image.format == "PNG" and image.mode != "P":
        return encoded[24]  # Pillow opens RGB of 16 bits as RGB of 8
    if image.mode.startswith("I;16"):
        return 16
    return BITS_OF_MODES.get(image.mode, 8)


def is_truncated(encoded: bytes) -> bool | None:
    """Whether a file ends too early; None for formats that are not decoded.

    A JPEG needs its end-of-image marker, a PNG its IEND chunk; BMP and WebP hold their length. Segments and
    chunks are walked, because thumbnails have their own ends. Damage can mislead the walk, so a file that
    ends with the end marker of its format is not truncated either.
    """
    match format_of(encoded):
        case "JPEG":
            return not (_reaches_end_of_jpeg(encoded) or encoded.rstrip(b"\0").endswith(JPEG_END))
        case "PNG":
            return not (_reaches_end_of_png(encoded) or encoded.rstrip(b"\0").endswith(PNG_END))
        case "BMP":
            return len(encoded) < int.from_bytes(encoded[2:6], "little")
        case "WEBP":
            return len(encoded) < 8 + int.from_bytes(encoded[4:8], "little")
    return None


def _reaches_end_of_jpeg(encoded: bytes) -> bool:
    position = len(JPEG_START) - 1
    while marker := JPEG_MARKER.search(encoded, position):
        position = marker.end()
        if marker.group() == JPEG_END:
            return True
        position += int.from_bytes(encoded[position : position + 2], "big")
    return False


def _reaches_end_of_png(encoded: bytes) -> bool:
    position = len(PNG_START)
    while position + 12 <= len(encoded):  # length, name, content, checksum
        if encoded[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(encoded[position : position + 4], "big")
    return False
