"""Reads the format and the number of pixels from the first bytes of a file.

This module is served with the model and needs only Python. It reads a header in microseconds, so that the
server counts the pixels of a request before it decodes anything.
"""

import re
from typing import Literal

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A marker that ends the coded pixels of a JPEG. Within them 0xff is followed by zero, by a restart marker (d0
# to d7), or by another fill byte.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that hold the picture's size
JPEG_SCAN = 0xDA
MAX_SEGMENTS = 4096  # before the pixels of a JPEG; a 24-megapixel picture of a camera has about 30

OTHER_FORMATS = (
    (re.compile(rb"....ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "AVIF"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), "TIFF or a camera's raw format"),
    (re.compile(rb".{128}DICM", re.DOTALL), "DICOM"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\x00\x00\x00\x0cJXL |\xff\x0a"), "JPEG XL"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"8BPS"), "Photoshop"),
    (re.compile(rb"\s*<(svg|\?xml)"), "SVG or XML"),
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"PK\x03\x04"), "ZIP"),
    (re.compile(rb"data:|/9j/|iVBORw0KGgo|Qk[0-3]|UklGR"), "base64 text"),
)
REMEDIES = {
    "base64 text": "it was encoded twice: decode it once, for instance with base64.b64decode",
    "gzip": "decompress it first",
    "ZIP": "unpack it first",
}


def format_of(encoded: bytes) -> str | None:
    """The format by the first bytes, if it is one that is decoded; None otherwise."""
    if encoded.startswith(JPEG_START):
        return "JPEG"
    if encoded.startswith(PNG_START):
        return "PNG"
    if encoded.startswith(b"BM"):
        return "BMP"
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return "WEBP"
    return None


def advice(encoded: bytes) -> str:
    """For bytes of another format, what they look like and what to do; the end of a message, may be empty."""
    for pattern, name in OTHER_FORMATS:
        if pattern.match(encoded):
            return f" (this looks like {name}: {REMEDIES.get(name, 'convert it to JPEG or PNG')})"
    return ""


def stored_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as stored, without EXIF orientation; None if no header is found."""
    match format_of(encoded):
        case "JPEG":
            return _jpeg_size(encoded)
        case "PNG":
            return _pair(encoded, 16, 4, "big")
        case "BMP":
            is_old = encoded[14:18] == b"\x0c\x00\x00\x00"
            return _pair(encoded, 18, 2 if is_old else 4, "little", signed=not is_old)
        case "WEBP":
            return _webp_size(encoded)
    return None


def _pair(
    encoded: bytes, start: int, size: int, order: Literal["little", "big"], *, signed: bool = False
) -> tuple[int, int] | None:
    """Two adjacent integers of `size` bytes; None if the file ends before them."""
    if len(encoded) < start + 2 * size:
        return None
    first = int.from_bytes(encoded[start : start + size], order, signed=signed)
    second = int.from_bytes(encoded[start + size : start + 2 * size], order, signed=signed)
    return abs(first), abs(second)  # the height of a BMP is negative if its rows start at the top


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker = JPEG_MARKER.search(encoded, position)
        if marker is None:
            return None
        position = marker.end()
        if encoded[position - 1] in JPEG_FRAMES:
            size = _pair(encoded, position + 3, 2, "big")
            return size and (size[1], size[0])
        position += int.from_bytes(encoded[position : position + 2], "big")
    return None


def _webp_size(encoded: bytes) -> tuple[int, int] | None:
    kind = encoded[12:16]
    if kind == b"VP8X":
        size = _pair(encoded, 24, 3, "little")
        return size and (size[0] + 1, size[1] + 1)
    if kind == b"VP8 ":
        size = _pair(encoded, 26, 2, "little")
        return size and (size[0] & 0x3FFF, size[1] & 0x3FFF)
    bits = int.from_bytes(encoded[21:25], "little")
    return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1) if kind == b"VP8L" and len(encoded) > 24 else None
