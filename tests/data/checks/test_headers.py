import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from melanoma.data import images
from melanoma.data.checks import headers
from melanoma.errors import ImageError
from tests.data.pictures import drawn, encode

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "GIF": ".gif", "TIFF": ".tif"}


def describe(encoded: bytes, name: str = "a.jpg") -> dict[str, object]:
    return headers.describe(headers.open_header(encoded), encoded, Path(name))


def with_orientation(value: object, format_name: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[images.ORIENTATION_TAG] = value
    return encode(drawn(), format_name, exif=exif)


# ---- description -----------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_is_described_by_its_content(format_name):
    facts = describe(encode(drawn(height=30, width=40), format_name))
    assert (facts["format"], facts["width"], facts["height"]) == (format_name, 40, 30)
    assert (facts["num_frames"], facts["bit_depth"], facts["exif_orientation"]) == (1, 8, None)


@pytest.mark.parametrize(
    ("format_name", "name", "fits"),
    [
        *((format_name, f"a{suffix}", True) for format_name, suffix in FORMATS.items()),
        ("JPEG", "a.JPEG", True),
        ("JPEG", "a.png.jpg", True),
        ("JPEG", "a.jpg.png", False),
        ("JPEG", "jpg", False),
        ("PNG", "a.jpg", False),
        ("GIF", "a.png", False),
    ],
)
def test_an_extension_fits_the_content_or_contradicts_it(format_name, name, fits):
    assert describe(encode(drawn(), format_name), name)["extension_fits"] is fits


@pytest.mark.parametrize(
    ("pixels", "mode", "bit_depth"),
    [
        pytest.param(Image.new("1", (4, 4)), "1", 1, id="black and white"),
        pytest.param(Image.new("P", (4, 4)), "P", 8, id="palette"),
        pytest.param(Image.new("L", (4, 4)), "L", 8, id="grey"),
        pytest.param(Image.new("RGBA", (4, 4)), "RGBA", 8, id="alpha"),
        pytest.param(np.zeros((4, 4), np.uint16), "I;16", 16, id="grey of 16 bits"),
    ],
)
def test_mode_and_bit_depth_are_those_of_the_file(pixels, mode, bit_depth):
    facts = describe(encode(pixels, "PNG"))
    assert (facts["mode"], facts["bit_depth"]) == (mode, bit_depth)


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (400, 300)), (3, (400, 300)), (5, (300, 400)), (8, (300, 400))]
)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_as_stored_and_width_and_height_are_upright(format_name, orientation, size):
    facts = describe(with_orientation(orientation, format_name))
    assert facts["exif_orientation"] == orientation
    assert (facts["width"], facts["height"]) == size


@pytest.mark.parametrize("value", [0, 9, 700])
def test_an_orientation_that_does_not_exist_is_none(value):
    facts = describe(with_orientation(value))
    assert facts["exif_orientation"] is None
    assert (facts["width"], facts["height"]) == (400, 300)


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_frames_are_counted(format_name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    moving = encode(frames[0], format_name, save_all=True, append_images=frames[1:])
    assert describe(moving)["num_frames"] == 3


def test_the_second_eye_of_a_stereo_camera_is_no_frame():
    eyes = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    facts = describe(encode(eyes[0], "MPO", save_all=True, append_images=eyes[1:]), "a.jpg")
    assert (facts["format"], facts["num_frames"], facts["extension_fits"]) == ("MPO", 1, True)


@pytest.mark.parametrize("encoded", [b"", b"BM", bytes(99), b"<svg></svg>", b"%PDF-1.4", b"GIF89a"])
def test_bytes_that_are_no_image_are_refused(encoded):
    with pytest.raises(
        ImageError,
        match=(
            r"the bytes are not a JPEG|the header of the BMP image cannot be "
            r"read"
        ),
    ):
        headers.open_header(encoded)


def test_the_limit_of_pillow_stands_as_before_after_a_header_was_read():
    limit = Image.MAX_IMAGE_PIXELS
    headers.open_header(encode(drawn(), "PNG"))
    with pytest.raises(ImageError):
        headers.open_header(b"")
    assert limit == Image.MAX_IMAGE_PIXELS


# ---- the end ---------------------------------------------------------------------------------


def cut(encoded: bytes, num_bytes: int) -> bytes:
    return encoded[: len(encoded) - num_bytes]


@pytest.mark.parametrize("format_name", images.FORMATS)
@pytest.mark.parametrize("extra", [b"", b"\0" * 9, b"\xff\xd8\xff\xe0 garbage"])
def test_a_whole_file_is_not_truncated_whatever_follows_it(format_name, extra):
    assert headers.is_truncated(encode(drawn(), format_name) + extra) is False


@pytest.mark.parametrize("format_name", images.FORMATS)
@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_file_cut_at_any_tenth_is_truncated(format_name, tenths):
    encoded = encode(drawn(), format_name)
    assert headers.is_truncated(encoded[: len(encoded) * tenths // 10]) is True


@pytest.mark.parametrize("format_name", images.FORMATS)
def test_a_file_that_lacks_its_last_two_bytes_is_truncated(format_name):
    assert headers.is_truncated(cut(encode(drawn(), format_name), 2)) is True


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_rows": 1}, {"comment": b"\xff\xd9"}]
)
def test_jpegs_of_several_scans_restarts_and_comments_are_walked_to_their_end(options):
    encoded = encode(drawn(), "JPEG", **options)
    assert headers.is_truncated(encoded) is False
    assert headers.is_truncated(cut(encoded, 2)) is True


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_picture():
    small, whole = encode(drawn(height=30, width=40), "JPEG"), encode(drawn(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    holder = whole[:2] + segment + whole[2:]
    assert headers.is_truncated(holder) is False
    assert headers.is_truncated(cut(holder, 2)) is True
    assert headers.is_truncated(holder[: 2 + len(segment) + 50]) is True


def test_a_damaged_file_that_still_has_its_end_is_not_truncated():
    for format_name in ("JPEG", "PNG"):
        encoded = bytearray(encode(drawn(), format_name))
        middle = len(encoded) // 2
        encoded[middle : middle + 400] = b"\xff\xe0\xff\xff" * 100
        assert headers.is_truncated(bytes(encoded)) is False


@pytest.mark.parametrize("encoded", [b"", b"text", bytes(99), encode(drawn(), "GIF")])
def test_of_other_formats_the_end_is_unknown(encoded):
    assert headers.is_truncated(encoded) is None


@pytest.mark.real_data
def test_no_real_file_is_called_truncated(real_data):
    folders = ("isic_originals", "isic/images", "ph2/images")
    paths = [path for folder in folders for path in sorted((real_data / folder).glob("*.jpg"))[:100]]
    assert len(paths) == 241
    assert not [path.name for path in paths if headers.is_truncated(path.read_bytes())]
