"""The one way from encoded bytes to the pixels a network sees, in training and in serving alike.

Needs Pillow and numpy only: this module travels with the served model. The aspect ratio is given up
(the picture is squashed to a square), as in the published system.
"""

import io
import math
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from melanoma.data import damage
from melanoma.data.crops import Box, square_around
from melanoma.data.signatures import advice
from melanoma.errors import ImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
STEREO = "MPO"  # Pillow's name of a JPEG that holds further pictures
ORIENTATION_TAG = 0x0112  # of EXIF
LYING = (5, 6, 7, 8)  # its values of pictures that are stored on their side
MAX_PIXELS = 64_000_000  # read from the header, before any pixel is decoded; the archive's largest have 24 M
MAX_BYTES = 512 * 2**20  # more than any image of MAX_PIXELS fills: 4 channels of 16 bits, uncompressed


def decode(encoded: bytes, *, min_side: int | None = None) -> np.ndarray:
    """The whole picture as RGB, upright.

    Alpha is dropped, palettes and CMYK are converted, 16-bit grey is scaled to 8 bits.

    Args:
        encoded: A JPEG, PNG, BMP or WebP file.
        min_side: Allow a JPEG to be decoded at a reduced scale whose sides stay at least this long;
            several times faster for camera-sized pictures. `None` decodes every pixel.

    Returns:
        Shape `(height, width, 3)`, uint8.

    Raises:
        ImageError: No image of these formats, more than 64 million pixels, animated, or truncated.
    """
    image = open_image(encoded)
    if min_side is not None:
        image.draft("RGB", (min_side, min_side))
    return upright_rgb(image)


def upright_rgb(image: Image.Image) -> np.ndarray:
    """The pixels of an opened image; see `decode`. `image` itself keeps its mode and its EXIF.

    Raises:
        ImageError: Truncated or damaged.
    """
    with _refusing_damage():
        return np.asarray(_to_rgb(_upright(image)), dtype=np.uint8)


def upright_grey(image: Image.Image) -> Image.Image:
    """An opened image in grey of 8 bits, upright: what masks are read as.

    Raises:
        ImageError: Truncated or damaged.
    """
    with _refusing_damage():
        return _upright(image).convert("L")


@contextmanager
def _refusing_damage() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # hostile bytes make Pillow's decoders raise errors of many types
        raise ImageError(f"the image cannot be decoded completely ({error})") from error


def _upright(image: Image.Image) -> Image.Image:
    if image.format in ("JPEG", STEREO) and image.fp is not None:  # type: ignore[attr-defined]
        damage.load_jpeg(image)
    else:
        image.load()
    is_turned = image.getexif().get(ORIENTATION_TAG, 1) != 1
    return ImageOps.exif_transpose(image) if is_turned else image  # which would copy it


def open_image(encoded: bytes) -> Image.Image:
    """Read the header only.

    Raises:
        ImageError: As for `decode`, except for faults that only decoding shows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"the image has more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # as above: the header parsers too
        raise ImageError(no_image(encoded)) from error
    require_usable(image)
    return image


def no_image(encoded: bytes) -> str:
    """Why bytes that cannot be opened are refused, with the format that they look like and what to do."""
    return f"the bytes are not a {', '.join(FORMATS)} image{advice(encoded)}"


def require_usable(image: Image.Image) -> None:
    """Refuse an opened image that may not be decoded, before any pixel is.

    Raises:
        ImageError: Of another format, more than 64 million pixels, animated, a compressed BMP, or a PNG with
            a wrong checksum.
    """
    encoded = image.fp.getvalue()  # type: ignore[attr-defined]
    if image.format not in (*FORMATS, STEREO):
        raise ImageError(no_image(encoded))
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"the image has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
    if num_frames(image) > 1:
        raise ImageError(f"the image is animated ({num_frames(image)} frames)")
    with _refusing_damage():
        if image.format == "PNG":
            damage.require_checksums(encoded)
        elif image.format == "BMP":
            damage.require_uncompressed(encoded)


def num_frames(image: Image.Image) -> int:
    """Frames of an animation; 1 of all else.

    Raises:
        ImageError: They cannot be counted.
    """
    if image.format == STEREO:  # a JPEG with a preview or a second eye: the first counts
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # as above: frames are counted by parsing
        raise ImageError(f"the frames of the image cannot be counted ({error})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # convert("RGB") would clip 16-bit grey at 255
        grey = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(np.minimum(grey, 255).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def resize_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Squash `(height, width, 3)` uint8 pixels to `(size, size, 3)`, antialiased bilinear."""
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)


def load_square(encoded: bytes, size: int) -> np.ndarray:
    """Decode and squash: what `pack` stores and the server feeds to the network.

    A JPEG is decoded at the smallest scale of at least twice `size`: less work, and still antialiased.

    Returns:
        Shape `(size, size, 3)`, uint8, RGB.

    Raises:
        ImageError: See `decode`.
    """
    (square,) = load_squares(encoded, [size])
    return square


def load_crop(encoded: bytes, size: int, box: Box, *, margin_fraction: float) -> np.ndarray:
    """Decode, cut out the square around a lesion and squash: `load_square` of a part of the picture.

    A JPEG is decoded at the smallest scale that leaves the part at least twice `size`. Where the part has
    fewer pixels than `size` it is enlarged.

    Args:
        encoded: A JPEG, PNG, BMP or WebP file.
        size: Side of the result in pixels.
        box: Box of the lesion in the upright picture.
        margin_fraction: See `crops.square_around`.

    Returns:
        Shape `(size, size, 3)`, uint8, RGB.

    Raises:
        ImageError: See `decode`.
    """
    (square,) = load_squares(encoded, [size], box, margin_fraction=margin_fraction)
    return square


def load_squares(
    encoded: bytes, sizes: Sequence[int], box: Box | None = None, *, margin_fraction: float = 0.0
) -> list[np.ndarray]:
    """`load_square`, or with a box `load_crop`, of several sizes.

    Each size gives the same pixels as alone. A picture is decoded once for all sizes, except that a JPEG is
    decoded again where a larger size needs a larger scale.

    Args:
        encoded: A JPEG, PNG, BMP or WebP file.
        sizes: Sides of the squares in pixels, rising.
        box: Box of the lesion in the upright picture; None for the whole picture.
        margin_fraction: See `crops.square_around`.

    Returns:
        For each size an array `(size, size, 3)`, uint8, RGB.

    Raises:
        ImageError: See `decode`.
    """
    squares, upright, decoded_size = [], None, None
    for size in sizes:
        image = open_image(encoded)
        part = None if box is None else _part(image, box, margin_fraction)
        shortest = 1.0 if part is None else min(part.right - part.left, part.bottom - part.top)
        side = math.ceil(2 * size / shortest)
        image.draft("RGB", (side, side))
        with _refusing_damage():  # the pixels of `resize_square(decode(...))`, without two copies of them all
            if upright is None or image.size != decoded_size:
                decoded_size, upright = image.size, _to_rgb(_upright(image))
            edges = None if part is None else pixel_edges(part, upright)
            resized = upright.resize((size, size), Image.Resampling.BILINEAR, edges)
            squares.append(np.asarray(resized, dtype=np.uint8))
    return squares


def _part(image: Image.Image, box: Box, margin_fraction: float) -> Box:
    width, height = upright_size(image)
    return square_around(box, width=width, height=height, margin_fraction=margin_fraction)


def pixel_edges(part: Box, image: Image.Image) -> tuple[float, float, float, float]:
    """The edges of a part of an image in its pixels, as Pillow takes them."""
    return (
        part.left * image.width,
        part.top * image.height,
        min(part.right * image.width, image.width),
        min(part.bottom * image.height, image.height),
    )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image once it is turned as its EXIF says.

    Raises:
        ImageError: Damaged; of a PNG all pixels are read, as its EXIF may come after them.
    """
    width, height = image.size
    with _refusing_damage():
        is_lying = image.getexif().get(ORIENTATION_TAG, 1) in LYING
    return (height, width) if is_lying else (width, height)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: The file cannot be read, is larger than `MAX_BYTES`, or is a pipe or a device, which may
            have no end.
    """
    try:
        status = path.stat()
        mode = status.st_mode
        if stat.S_ISREG(mode) and status.st_size > MAX_BYTES:
            raise ImageError(f"the file has {status.st_size:,} bytes, more than {MAX_BYTES:,}")
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # a folder says itself that it is one
            return path.read_bytes()
    except OSError as error:
        raise ImageError(f"the file cannot be read ({error.strerror})") from error
    except ValueError as error:  # a zero byte in the name
        raise ImageError(f"the file cannot be read ({error})") from error
    raise ImageError("the file cannot be read (it is a pipe or a device)")
