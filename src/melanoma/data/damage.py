"""Refuses files with missing pixels, and files that cost far more than their pixels.

libjpeg fills missing pixels with grey and only warns, and Pillow drops these warnings: a JPEG that was cut
and closed with an end marker decodes without an error. Pillow does not check the checksums of PNG pixels
either. This module is served with the model, and training reads its images through it too.

A JPEG of one scan is decoded with a few fill bytes instead of its end marker, because the decoder reads up to
8 bytes ahead. With data missing the decoder asks for more; with data left over it never reads the last bytes.
If a JPEG has several scans or restart markers, each part is tested in a similar way before the pixels are
decoded, and the scans must hold every coefficient to its last bit.

Not detected: up to about 10 missing bytes at the end of a part (part of a block of 8 x 8 pixels), changed
bytes after which the decoder still ends in the right place, and left-over data in a JPEG of several scans. A
JPEG has no checksums.
"""

import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from melanoma.data.signatures import JPEG_FRAMES, JPEG_MARKER, JPEG_SCAN, MAX_SEGMENTS, PNG_START
from melanoma.errors import ImageError

MAX_SCANS = 32  # per JPEG; encoders write 1 or about 10, and each costs time for all pixels
SEQUENTIAL = (0xC0, 0xC1)  # frames whose scans hold complete coefficients
PROGRESSIVE = 0xC2
END, TEMPORARY, START = 0xD9, 0x01, 0xD8
NUM_AHEAD = 8  # bytes that libjpeg reads ahead
# Of 34 patterns tried on real images this one hides the fewest missing bytes, because it seldom ends a block.
FILL = b"\x55" * NUM_AHEAD
ONES = b"\xff\x00"  # one byte of ones, which is no code; a block needs more than two of them
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
NUM_LAST = 8  # bytes at the end of a scan that must be read; some cameras add a few extra ones
BMP_COMPRESSIONS = {1: "RLE8", 2: "RLE4", 4: "JPEG", 5: "PNG"}


@dataclass(frozen=True)
class Scan:
    """A pass over the pixels of a JPEG.

    Attributes:
        components: Numbers of its colour components.
        first: First coefficient, 0..63.
        last: Last coefficient, 0..63.
        low_bit: Lowest bit of the coefficients that is known after it; 0 if they are complete.
        parts: End positions of the data before each restart marker, and of all data.
    """

    components: bytes
    first: int
    last: int
    low_bit: int
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The structure of a JPEG: kind of frame, numbers of components, and scans."""

    frame: int
    components: bytes
    scans: tuple[Scan, ...]

    @property
    def is_one_scan(self) -> bool:
        """Whether the first scan holds all pixels, so that the decoder reads no other."""
        return self.frame in SEQUENTIAL and len(self.scans[0].components) == len(self.components)


def load_jpeg(image: Image.Image) -> None:
    """Decode the pixels of an opened JPEG, which may be drafted.

    Args:
        image: Image of format JPEG or MPO that Pillow opened from a buffer in memory.

    Raises:
        ImageError: Pixels are missing, data are left over, or there are too many scans.
        Exception: Pillow raises errors of any type for other damage.
    """
    encoded = image.fp.getvalue()  # type: ignore[attr-defined]
    layout = read_layout(encoded)
    parts = [end for scan in layout.scans for end in scan.parts]
    if not layout.is_one_scan:
        _require_parts(encoded, parts)
        image.load()
        return
    _require_parts(encoded, parts[:-1])
    stream = _OneScan(encoded, parts[-1])
    image.fp = image._fp = stream  # type: ignore[attr-defined]  # a stereo JPEG seeks in the latter
    image.load()
    if not stream.is_needed:
        raise ImageError("the file is damaged: it has data after its last pixel")


class _OneScan(io.BytesIO):
    """A JPEG without its end marker, whose last bytes come in a separate read."""

    def __init__(self, encoded: bytes, end: int) -> None:
        super().__init__(b"".join((memoryview(encoded)[:end], FILL)))
        self._last = end - NUM_LAST

    @property
    def is_needed(self) -> bool:
        """Whether the last bytes were read."""
        return self.tell() > self._last

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most up to the beginning of the last bytes."""
        left = self._last - self.tell()
        is_short = size is not None and 0 <= size <= left
        return super().read(size if left <= 0 or is_short else left)


# ---- the segments of a JPEG ------------------------------------------------------------------


def read_layout(encoded: bytes) -> Layout:
    """Walk the segments of a JPEG up to its end marker without decoding.

    Raises:
        ImageError: There is no end marker, no pixels, more than `MAX_SCANS` scans or `MAX_SEGMENTS` other
            segments, several pictures in one frame, or a coding that is not decoded.
    """
    frames: list[tuple[int, bytes]] = []
    scans: list[Scan] = []
    position, num_segments = 2, 0
    while num_segments <= MAX_SEGMENTS:
        marker = JPEG_MARKER.search(encoded, position)
        if marker is None:
            raise ImageError("the file is truncated: it has no end marker")
        code, position = encoded[marker.end() - 1], marker.end()
        if code == END:
            return _checked(frames, scans)
        if code in (START, TEMPORARY):
            continue
        length = int.from_bytes(encoded[position : position + 2], "big")
        segment = encoded[position + 2 : position + length]
        position += length
        if code == JPEG_SCAN:
            scans.append(_read_scan(segment, _parts_of_scan(encoded, position)))
            position = scans[-1].parts[-1]
        elif code in JPEG_FRAMES:
            frames.append((code, segment[6::3][: segment[5] if len(segment) > 5 else 0]))
        num_segments += 1
        if len(scans) > MAX_SCANS:
            raise ImageError(f"it has more than {MAX_SCANS} scans; save it as a baseline JPEG or a PNG")
    raise ImageError(f"it has more than {MAX_SEGMENTS:,} segments; save it again without metadata")


def _parts_of_scan(encoded: bytes, start: int) -> tuple[int, ...]:
    marker = JPEG_MARKER.search(encoded, start)
    end = len(encoded) if marker is None else marker.start()
    while end > start and encoded[end - 1] == 0xFF:  # fill bytes before a marker
        end -= 1
    restarts = [found.start() for found in RESTART.finditer(encoded, start, end)]
    if any(encoded[at + 1] != 0xD0 + number % 8 for number, at in enumerate(restarts)):
        raise ImageError("the file is damaged: a restart marker is missing")
    return (*restarts, end)


def _read_scan(segment: bytes, parts: tuple[int, ...]) -> Scan:
    num_components = segment[0] if segment else 0
    after = 1 + 2 * num_components
    if not num_components or len(segment) < after + 3:
        raise ImageError("the file is damaged: the header of a scan is wrong")
    first, last, bits = segment[after : after + 3]
    return Scan(segment[1:after:2], first, last, bits & 0x0F, parts)


def _checked(frames: list[tuple[int, bytes]], scans: list[Scan]) -> Layout:
    if len(frames) != 1 or not scans:
        raise ImageError(f"the file is damaged: it has {len(frames)} frames and {len(scans)} scans")
    layout = Layout(*frames[0], tuple(scans))
    if layout.frame not in (*SEQUENTIAL, PROGRESSIVE):
        raise ImageError("its JPEG coding is not supported; save it as a baseline JPEG or a PNG")
    if not layout.is_one_scan and not _is_complete(layout):
        raise ImageError("the file is truncated: scans are missing")
    return layout


def _is_complete(layout: Layout) -> bool:
    """Whether the scans hold every coefficient of every component to its last bit."""
    low_bits = {component: np.full(64, 15) for component in layout.components}
    for scan in layout.scans:
        for component in scan.components:
            if component in low_bits:
                last = scan.last if layout.frame == PROGRESSIVE else 63
                low_bits[component][scan.first : last + 1] = scan.low_bit
    return not any(bits.any() for bits in low_bits.values())


# ---- parts of a JPEG -------------------------------------------------------------------------


def _require_parts(encoded: bytes, ends: Sequence[int]) -> None:
    """Refuse a part whose data end before its pixels.

    After a complete part the decoder looks for a marker and consumes everything before it; within a part it
    consumes what a block needs. So it is tested after each part whether it consumes all that it is given.
    """
    if not ends:
        return
    probe = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded))
    probe.draft(None, (1, 1))  # the smallest pixels that the decoder writes
    probe.load_prepare()
    name, extents, _, arguments = probe.tile[0]
    decoder = Image._getdecoder(probe.mode, name, arguments, probe.decoderconfig)
    decoder.setimage(probe.im, extents)
    position, left = 0, b""
    for number, end in enumerate(ends, start=1):
        left = _feed(decoder, left + encoded[position:end])
        left = _feed(decoder, left + FILL)
        for _ in range(NUM_AHEAD):
            left = _feed(decoder, left + ONES)
            if left:
                raise ImageError(f"the file is truncated or damaged: data of part {number} are missing")
        position = end
    decoder.cleanup()


def _feed(decoder: Any, data: bytes) -> bytes:
    """Return the bytes that the decoder did not consume."""
    num_taken, _ = decoder.decode(data)
    if num_taken < 0:
        raise ImageError("the file is damaged: its parts are wrong")
    return data[num_taken:]


# ---- other formats ---------------------------------------------------------------------------


def require_checksums(encoded: bytes) -> None:
    """Raise an `ImageError` that names the chunk of a PNG whose checksum is wrong."""
    position = len(PNG_START)
    view = memoryview(encoded)
    while position + 12 <= len(encoded):  # length, name, content, checksum
        end = position + 8 + int.from_bytes(view[position : position + 4], "big")
        name = bytes(view[position + 4 : position + 8])
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ImageError(f"the file is damaged: the checksum of part {name!r} is wrong")
        if name == b"IEND":
            return
        position = end + 4
    raise ImageError("the file is truncated: it ends before its last part")


def require_uncompressed(encoded: bytes) -> None:
    """Raise an `ImageError` for a BMP with compressed pixels, which may be any number of them."""
    compression = int.from_bytes(encoded[30:34], "little") if encoded[14:18] != b"\x0c\0\0\0" else 0
    if compression in BMP_COMPRESSIONS:
        kind = BMP_COMPRESSIONS[compression]
        raise ImageError(
            f"BMP with {kind} compression is not supported; save it without compression, or as PNG"
        )
