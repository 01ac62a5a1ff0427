"""A file whose pixels are not all there is refused however it was closed; whole ones give the same pixels."""

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from melanoma.data import damage, images
from melanoma.data.checks import headers
from melanoma.data.signatures import JPEG_MARKER
from melanoma.errors import ImageError
from tests.data.pictures import encode
from tests.data.zoo import skin

END = b"\xff\xd9"
PICTURE = skin(7, height=200, width=300)
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "quality 60": {"quality": 60},
    "no subsampling": {"subsampling": 0, "quality": 95},
    "restart markers": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "progressive, no subsampling": {"progressive": True, "subsampling": 0, "quality": 95},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def jpeg(kind: str, picture: Any = PICTURE) -> bytes:
    return encode(picture, "JPEG", **KINDS[kind])


def closed(encoded: bytes, at: int) -> bytes:
    """Cut at a position and closed with an end marker."""
    return encoded[:at].rstrip(b"\xff") + END


def start_of_pixels(encoded: bytes) -> int:
    return encoded.index(b"\xff\xda") + 14


def plainly(encoded: bytes) -> np.ndarray:
    """What Pillow alone decodes, without any of the checks."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@kinds
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_whole_jpeg_gives_the_pixels_that_pillow_gives(kind, mode):
    encoded = jpeg(kind, Image.fromarray(PICTURE).convert(mode))
    np.testing.assert_array_equal(images.decode(encoded), plainly(encoded))


@kinds
@pytest.mark.parametrize("size", [(8, 8), (1, 1), (17, 33), (250, 9)])
def test_a_whole_jpeg_of_any_size_is_decoded(kind, size):
    encoded = jpeg(kind, Image.fromarray(PICTURE).resize(size))
    np.testing.assert_array_equal(images.decode(encoded), plainly(encoded))


@kinds
@pytest.mark.parametrize("size", [8, 40, 90, 150])
def test_a_jpeg_cut_anywhere_and_closed_with_an_end_marker_is_refused(kind, size):
    encoded = jpeg(kind)
    start = start_of_pixels(encoded)
    for at in np.linspace(start, len(encoded) - 2 - 16, 60).astype(int):
        if "progressive" not in kind:
            assert plainly(closed(encoded, at)).shape == PICTURE.shape  # Pillow says nothing
        with pytest.raises(ImageError, match=r"cannot be decoded completely \(.*(truncated|frames|damaged)"):
            images.load_square(closed(encoded, at), size)
        assert headers.is_truncated(closed(encoded, at)) is False  # the marker is there


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" not in kind])
def test_a_jpeg_with_a_hole_is_refused(kind):
    encoded = jpeg(kind)
    middle = (start_of_pixels(encoded) + len(encoded)) // 2
    with pytest.raises(ImageError, match="cannot be decoded completely"):
        images.decode(encoded[:middle] + encoded[middle + 400 :])


def test_a_jpeg_with_data_left_over_is_refused():
    encoded = jpeg("baseline")
    middle = (start_of_pixels(encoded) + len(encoded)) // 2
    doubled = encoded[:middle] + encoded[middle - 400 :]
    assert plainly(doubled).shape == PICTURE.shape
    with pytest.raises(ImageError, match="it has data after its last pixel"):
        images.decode(doubled)


@pytest.mark.parametrize("extra", [b"\xff" * 5, b"\0" * 4])
def test_a_few_fill_bytes_before_the_end_marker_are_legal(extra):
    encoded = jpeg("baseline")
    np.testing.assert_array_equal(images.decode(encoded[:-2] + extra + END), plainly(encoded))


@kinds
def test_what_follows_the_end_marker_is_legal(kind):
    encoded = jpeg(kind)
    for extra in (b"\0" * 5000, b"\xff\xd8 garbage", encoded):
        np.testing.assert_array_equal(images.decode(encoded + extra), plainly(encoded))


def test_a_stereo_jpeg_is_checked_like_a_plain_one():
    eyes = [Image.fromarray(skin(seed, height=80, width=90)) for seed in (1, 2)]
    encoded = encode(eyes[0], "MPO", save_all=True, append_images=eyes[1:])
    assert images.open_image(encoded).format == "MPO"
    np.testing.assert_array_equal(images.decode(encoded), plainly(encoded))
    (first_end, _) = [found.start() for found in JPEG_MARKER.finditer(encoded) if found.group() == END]
    cut = encoded[: first_end - 200] + bytes(200).replace(b"\0", b"\x55") + encoded[first_end:]
    with pytest.raises(ImageError, match="cannot be decoded completely"):
        images.decode(cut[: first_end - 200] + cut[first_end:])


def test_a_progressive_jpeg_without_its_last_scans_is_refused():
    encoded = jpeg("progressive")
    scans = damage.read_layout(encoded).scans
    assert len(scans) == 10
    for scan in scans[:-1]:
        with pytest.raises(ImageError, match="scans are missing"):
            images.decode(encoded[: scan.parts[-1]] + END)


def with_empty_scans(encoded: bytes, num: int) -> bytes:
    """A progressive JPEG with further scans that hold one bit a block."""
    last = damage.read_layout(encoded).scans[-1]
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x3f\x3f\x00" + b"\x00"  # component 1, coefficient 63
    return encoded[: last.parts[-1]] + num * scan + encoded[last.parts[-1] :]


def test_scans_are_counted_before_anything_is_decoded():
    encoded = jpeg("progressive")
    with pytest.raises(ImageError, match="more than 32 scans; save it"):
        images.decode(with_empty_scans(encoded, 3000))
    with pytest.raises(ImageError, match="more than 32 scans"):
        damage.read_layout(with_empty_scans(encoded, 23))
    assert len(damage.read_layout(with_empty_scans(encoded, 22)).scans) == 32


def test_scans_of_a_thumbnail_do_not_count():
    encoded = jpeg("baseline")
    inner = with_empty_scans(jpeg("progressive", Image.fromarray(PICTURE).resize((60, 40))), 100)
    segment = b"\xff\xe1" + struct.pack(">H", len(inner) + 8) + b"Exif\0\0" + inner
    np.testing.assert_array_equal(images.decode(encoded[:2] + segment + encoded[2:]), plainly(encoded))


def test_segments_are_counted_before_anything_is_decoded():
    encoded = jpeg("baseline")
    note = b"\xff\xfe\x00\x02"
    with pytest.raises(ImageError, match="more than 4,096 segments; save it again without metadata"):
        damage.read_layout(encoded[:2] + 5000 * note + encoded[2:])
    whole = encoded[:2] + 4000 * note + encoded[2:]
    np.testing.assert_array_equal(images.decode(whole), plainly(encoded))


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC9, 0xCA, 0xCF])
def test_a_jpeg_of_a_rare_coding_is_refused_by_name(frame):
    encoded = jpeg("baseline").replace(b"\xff\xc0", bytes((0xFF, frame)), 1)
    with pytest.raises(ImageError, match="JPEG coding is not supported"):
        damage.read_layout(encoded)


def test_two_frames_are_refused():
    encoded = jpeg("baseline")
    at = encoded.index(b"\xff\xc0")
    with pytest.raises(ImageError, match="2 frames"):
        images.decode(encoded[:at] + encoded[at : at + 19] + encoded[at:])


# ---- PNG, BMP, WebP --------------------------------------------------------------------------


def chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position < len(encoded):
        (length,) = struct.unpack(">I", encoded[position : position + 4])
        found.append((encoded[position + 4 : position + 8], encoded[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    joined = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
    return b"\x89PNG\r\n\x1a\n" + joined


def test_a_png_with_one_changed_byte_anywhere_in_its_pixels_is_refused():
    encoded = encode(PICTURE, "PNG")
    start = encoded.index(b"IDAT")
    for at in np.linspace(start + 4, len(encoded) - 17, 40).astype(int):
        changed = bytearray(encoded)
        changed[at] ^= 1
        with pytest.raises(ImageError, match=r"checksum of part b'IDAT' is wrong"):
            images.decode(bytes(changed))


def test_a_remark_with_its_checksum_is_legal():
    parts = chunks(encode(PICTURE, "PNG"))
    encoded = png([*parts[:-1], (b"tEXt", b"Comment\0hello"), parts[-1]])
    np.testing.assert_array_equal(images.decode(encoded), PICTURE)
    at = encoded.index(b"hello")
    with pytest.raises(ImageError, match="checksum of part b'tEXt' is wrong"):
        images.decode(encoded[:at] + b"h3llo" + encoded[at + 5 :])


def test_a_png_cut_short_with_its_checksums_mended_is_refused():
    parts = chunks(encode(PICTURE, "PNG"))
    pixels = b"".join(content for name, content in parts if name == b"IDAT")
    np.testing.assert_array_equal(images.decode(png([parts[0], (b"IDAT", pixels), parts[-1]])), PICTURE)
    for tenths in range(1, 10):
        cut = png([parts[0], (b"IDAT", pixels[: len(pixels) * tenths // 10]), parts[-1]])
        with pytest.raises(ImageError, match="cannot be decoded completely"):
            images.decode(cut)
    with pytest.raises(ImageError, match="ends before its last part"):
        images.decode(png([parts[0], (b"IDAT", pixels)]))


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}])
def test_a_webp_cut_short_with_its_lengths_mended_is_refused(options):
    encoded = encode(PICTURE, "WEBP", **options)
    for at in np.linspace(60, len(encoded) - 40, 20).astype(int):
        body = encoded[20 : at - at % 2]
        chunk = encoded[12:16] + struct.pack("<I", len(body)) + body
        cut = b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
        with pytest.raises(ImageError, match=r"cannot be decoded completely|not a JPEG"):
            images.decode(cut)


def test_a_bmp_shorter_than_its_header_says_is_refused():
    encoded = encode(PICTURE, "BMP")
    shorter = encoded[:-3000]
    with pytest.raises(ImageError, match="cannot be decoded completely"):
        images.decode(shorter[:2] + struct.pack("<I", len(shorter)) + shorter[6:])


def run_length_bmp(side: int, compression: int) -> bytes:
    """A BMP of a few bytes that claims `side` squared pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, compression, 0, 0, 0, 256, 0)
    pixels = b"\0\2\xff\xff" * 60 + b"\0\1"
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + bytes(1024) + pixels


@pytest.mark.parametrize(("compression", "name"), [(1, "RLE8"), (2, "RLE4"), (4, "JPEG"), (5, "PNG")])
def test_a_compressed_bmp_is_refused_unread(compression, name):
    encoded = run_length_bmp(7000, compression)
    assert len(encoded) < 1400
    with pytest.raises(ImageError, match=rf"BMP with {name} compression|not a JPEG|cannot be decoded"):
        images.open_image(encoded)
    with pytest.raises(ImageError, match=f"BMP with {name} compression is not supported; save it without"):
        damage.require_uncompressed(encoded)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_an_uncompressed_bmp_is_legal(mode):
    picture = Image.fromarray(PICTURE).convert(mode)
    np.testing.assert_array_equal(images.decode(encode(picture, "BMP")), plainly(encode(picture, "BMP")))


# ---- real files ------------------------------------------------------------------------------


@pytest.mark.real_data
def test_no_real_image_is_refused_and_none_changes(real_data):
    paths = sorted((real_data / "isic_originals").glob("*.jpg"))
    paths += [
        path
        for folder in ("isic", "ph2", "ham10000")
        for path in sorted(real_data.glob(f"{folder}/**/*.jpg"))[::20]
    ]
    assert len(paths) > 200
    assert any(not damage.read_layout(path.read_bytes()).is_one_scan for path in paths)
    for path in paths:
        encoded = path.read_bytes()
        assert np.array_equal(images.upright_rgb(images.open_image(encoded)), plainly(encoded)), path.name


@pytest.mark.real_data
def test_no_cut_of_a_real_image_is_decoded(real_data):
    paths = sorted((real_data / "isic_originals").glob("*.jpg"))[:6]
    paths += [
        path
        for folder in ("isic", "ph2", "ham10000")
        for path in sorted(real_data.glob(f"{folder}/**/*.jpg"))[:10]
    ]
    for path in paths:
        encoded = path.read_bytes()
        for at in np.linspace(start_of_pixels(encoded), len(encoded) - 20, 10).astype(int):
            with pytest.raises(ImageError):
                images.load_square(closed(encoded, at), 150)


# ---- legal files with much beside their pixels -------------------------------------------------


def test_remarks_profiles_and_exif_that_unpack_to_much_are_refused_or_passed_over_quickly():
    whole = encode(PICTURE, "PNG")
    parts = chunks(whole)
    bomb = zlib.compress(bytes(200_000_000))
    start = time.perf_counter()
    for name, head in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        encoded = png([parts[0], *[(name, head + bomb)] * 3, *parts[1:]])
        try:
            np.testing.assert_array_equal(images.load_square(encoded, 32), images.load_square(whole, 32))
        except ImageError as error:
            assert "not a JPEG" in str(error) or "decoded completely" in str(error)
    profile = b"".join(
        b"\xff\xe2" + struct.pack(">H", 65_535) + b"ICC_PROFILE\0" + bytes((number, 200)) + bytes(65_519)
        for number in range(1, 201)
    )
    encoded = jpeg("baseline")
    np.testing.assert_array_equal(
        images.load_square(encoded[:2] + profile + encoded[2:], 32), images.load_square(encoded, 32)
    )
    assert time.perf_counter() - start < 10
