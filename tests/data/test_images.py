import hashlib
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from melanoma.data import images
from melanoma.data.crops import Box
from melanoma.errors import ImageError
from tests.data.pictures import drawn, encode

GOLDEN_SHA256 = "2955257424b546fdf70b95efa74aa6cc4d6ba6e68e61c8c507349cc14566687a"
WHOLE = Box(0.0, 0.0, 1.0, 1.0)
WHOLE_FORMATS = ("PNG", "BMP")  # these keep every pixel
ALL_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")


def mean_difference(pixels: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(pixels.astype(int) - other.astype(int)).mean())


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds ten bytes of pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# ---- the golden picture ----------------------------------------------------------------------


@pytest.mark.parametrize("format_name", WHOLE_FORMATS)
def test_the_golden_picture_gives_the_pinned_pixels(format_name):
    square = images.load_square(encode(drawn(), format_name), 150)
    assert square.shape == (150, 150, 3)
    assert square.dtype == np.uint8
    assert hashlib.sha256(square.tobytes()).hexdigest() == GOLDEN_SHA256


@pytest.mark.parametrize("format_name", ["JPEG", "WEBP"])
def test_a_lossy_golden_picture_is_near_the_pinned_pixels(format_name):
    square = images.load_square(encode(drawn(), format_name, quality=95), 150)
    golden = images.load_square(encode(drawn(), "PNG"), 150)
    assert mean_difference(square, golden) < 2


@pytest.mark.parametrize("format_name", WHOLE_FORMATS)
def test_decode_gives_every_pixel_in_rgb_order(format_name):
    np.testing.assert_array_equal(images.decode(encode(drawn(), format_name)), drawn())


def test_squashing_gives_up_the_aspect_ratio_and_no_part_of_the_picture():
    halves = np.zeros((10, 40, 3), np.uint8)
    halves[:, 20:] = 200
    square = images.resize_square(halves, 4)
    np.testing.assert_array_equal(square[:, 0], 0)
    np.testing.assert_array_equal(square[:, 3], 200)


def test_shrinking_averages_instead_of_taking_single_pixels():
    chequered = np.indices((120, 120)).sum(axis=0) % 2 * 255
    square = images.resize_square(np.repeat(chequered[..., None], 3, axis=2).astype(np.uint8), 10)
    assert np.abs(square.astype(int) - 127).max() <= 3


def test_a_picture_of_one_pixel_fills_the_square():
    one = np.full((1, 1, 3), (7, 8, 9), np.uint8)
    square = images.load_square(encode(one, "PNG"), 150)
    assert np.unique(square.reshape(-1, 3), axis=0).tolist() == [[7, 8, 9]]


# ---- decoding at a reduced scale -------------------------------------------------------------


def test_a_large_jpeg_is_decoded_smaller_and_never_below_the_wanted_side():
    encoded = encode(drawn(height=900, width=1200), "JPEG")
    assert images.decode(encoded).shape == (900, 1200, 3)
    assert images.decode(encoded, min_side=450).shape == (450, 600, 3)  # half
    assert images.decode(encoded, min_side=451).shape == (900, 1200, 3)  # half would be too small


def test_only_jpegs_are_decoded_smaller():
    assert images.decode(encode(drawn(), "PNG"), min_side=10).shape == (300, 400, 3)


def test_a_drafted_jpeg_gives_nearly_the_square_of_the_whole_one():
    encoded = encode(drawn(height=900, width=1200), "JPEG", quality=95)
    whole = images.resize_square(images.decode(encoded), 150)
    assert images.decode(encoded, min_side=300).shape == (450, 600, 3)
    assert mean_difference(images.load_square(encoded, 150), whole) < 1.5


@pytest.mark.real_data
def test_drafting_changes_real_originals_by_less_than_two_grey_levels(real_data):
    paths = sorted((real_data / "isic_originals").glob("*.jpg"))[:12]
    assert len(paths) == 12
    for path in paths:
        encoded = images.read_bytes(path)
        whole = images.resize_square(images.decode(encoded), 150)
        assert mean_difference(images.load_square(encoded, 150), whole) < 2, path.name


# ---- pictures of other modes -----------------------------------------------------------------


def test_cmyk_becomes_rgb():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert images.decode(encode(red, "JPEG", quality=100))[8, 8].tolist() == [255, 0, 0]


def test_grey_of_16_bits_is_scaled_to_8_and_not_clipped():
    grey = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert images.decode(encode(grey, "PNG"))[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_grey_of_8_bits_and_of_1_bit_become_rgb():
    grey = np.array([[0, 100, 255]], np.uint8)
    assert images.decode(encode(grey, "PNG"))[0].tolist() == [[0] * 3, [100] * 3, [255] * 3]
    assert images.decode(encode(Image.new("1", (2, 2), 1), "PNG"))[0, 0].tolist() == [255] * 3


def test_a_palette_is_looked_up():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 20])
    assert images.decode(encode(palette, "PNG"))[0, 0].tolist() == [200, 10, 20]


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_alpha_is_dropped_and_colours_are_kept(alpha):
    picture = Image.new("RGBA", (4, 4), (200, 10, 20, alpha))
    assert images.decode(encode(picture, "PNG"))[0, 0].tolist() == [200, 10, 20]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, lambda upright: upright),
        (2, np.fliplr),
        (3, lambda upright: np.rot90(upright, 2)),
        (6, lambda upright: np.rot90(upright, -1)),
        (8, np.rot90),
    ],
)
def test_a_picture_is_turned_upright_as_its_exif_says(orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(drawn(), "PNG", exif=exif)
    np.testing.assert_array_equal(images.decode(encoded), expected(drawn()))


def test_a_drafted_jpeg_is_turned_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(drawn(height=900, width=1200), "JPEG", exif=exif)
    assert images.decode(encoded, min_side=300).shape == (600, 450, 3)


# ---- bytes that are refused ------------------------------------------------------------------


@pytest.mark.parametrize("num_tenths", range(1, 10))
@pytest.mark.parametrize("format_name", ALL_FORMATS)
def test_a_truncated_file_is_refused(format_name, num_tenths):
    encoded = encode(drawn(), format_name)
    with pytest.raises(ImageError, match=r"cannot be decoded completely|not a JPEG, PNG, BMP, WEBP image"):
        images.decode(encoded[: len(encoded) * num_tenths // 10])


@pytest.mark.parametrize("num_tenths", [5, 9])
def test_a_truncated_jpeg_is_refused_when_drafted_too(num_tenths):
    encoded = encode(drawn(height=900, width=1200), "JPEG")
    with pytest.raises(ImageError, match="cannot be decoded completely"):
        images.load_square(encoded[: len(encoded) * num_tenths // 10], 150)


@pytest.mark.parametrize("format_name", ALL_FORMATS)
def test_bytes_after_the_end_of_a_picture_do_no_harm(format_name):
    encoded = encode(drawn(), format_name)
    np.testing.assert_array_equal(images.decode(encoded + b"trailing"), images.decode(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(1000), id="zeros"),
        pytest.param(b"<html><body>404 Not Found</body></html>", id="text"),
        pytest.param(b"\xff\xd8\xff\xe0", id="start of a JPEG"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="start of a PNG"),
        pytest.param(encode(drawn(), "GIF"), id="GIF"),
        pytest.param(encode(drawn(), "TIFF"), id="TIFF"),
    ],
)
def test_bytes_of_no_known_format_are_refused(encoded):
    with pytest.raises(ImageError, match="the bytes are not a JPEG, PNG, BMP, WEBP image"):
        images.decode(encoded)


@pytest.mark.parametrize(
    ("format_name", "reason"),
    [
        ("PNG", r"animated \(2 frames\)"),
        ("WEBP", r"animated \(2 frames\)"),
        ("GIF", "not a JPEG, PNG, BMP, WEBP image"),
    ],
)
def test_a_file_of_several_frames_is_refused(format_name, reason):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    with pytest.raises(ImageError, match=reason):
        images.decode(encode(first, format_name, save_all=True, append_images=[second]))


def test_of_the_two_pictures_of_a_stereo_camera_the_first_counts():
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    pixels = images.decode(encode(first, "MPO", save_all=True, append_images=[second]))
    red, _, blue = pixels[0, 0]
    assert red > 200
    assert blue < 50


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_the_same_formats_with_one_frame_are_decoded(format_name):
    encoded = encode(Image.new("RGB", (8, 8), "red"), format_name, lossless=True)
    assert images.decode(encoded)[0, 0].tolist() == [255, 0, 0]


def test_a_header_of_64_million_pixels_is_the_largest_that_is_opened():
    assert images.open_image(png_header(8000, 8000)).size == (8000, 8000)
    with pytest.raises(ImageError, match="8001 x 8000 pixels, more than 64,000,000"):
        images.decode(png_header(8001, 8000))


@pytest.mark.parametrize("side", [30_000, 2**31 - 1])
def test_a_header_of_a_bomb_is_refused_before_anything_is_decoded(side):
    with pytest.raises(ImageError, match="more than 64,000,000 pixels"):
        images.load_square(png_header(side, side), 150)


def test_a_header_without_its_pixels_is_refused():
    assert images.open_image(png_header(800, 800)).size == (800, 800)
    with pytest.raises(ImageError, match="cannot be decoded completely"):
        images.decode(png_header(800, 800))


# ---- files -----------------------------------------------------------------------------------


def test_a_file_is_read_whole_and_a_missing_one_or_a_folder_says_why_not(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    assert images.read_bytes(tmp_path / "a.bin") == b"abc"
    with pytest.raises(ImageError, match=r"cannot be read \(No such file or directory\)"):
        images.read_bytes(tmp_path / "b.bin")
    with pytest.raises(ImageError, match=r"cannot be read \(Is a directory\)"):
        images.read_bytes(tmp_path)


def test_a_file_larger_than_any_image_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(3 * 2**40)  # sparse: it takes no room on the disc
    with pytest.raises(ImageError, match=r"has 3,298,534,883,328 bytes, more than 536,870,912"):
        images.read_bytes(tmp_path / "a.png")


def test_a_file_of_the_largest_size_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 3)
    (tmp_path / "a.bin").write_bytes(b"abc")
    assert images.read_bytes(tmp_path / "a.bin") == b"abc"
    (tmp_path / "a.bin").write_bytes(b"abcd")
    with pytest.raises(ImageError, match=r"has 4 bytes, more than 3"):
        images.read_bytes(tmp_path / "a.bin")


def test_no_image_of_the_most_pixels_is_too_large_to_be_read():
    assert images.MAX_PIXELS * 4 * 2 < images.MAX_BYTES


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match=r"cannot be read \(it is a pipe or a device\)"):
        images.read_bytes(tmp_path / "a.jpg")


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"cannot be read \(embedded null byte\)"):
        images.read_bytes(tmp_path / "a\0.jpg")


# ---- what inspection uses --------------------------------------------------------------------


def test_the_pixels_of_an_opened_image_are_those_of_its_bytes():
    exif = Image.Exif()
    exif[images.ORIENTATION_TAG] = 6
    encoded = encode(drawn(), "PNG", exif=exif)
    image = images.open_image(encoded)
    np.testing.assert_array_equal(images.upright_rgb(image), images.decode(encoded))
    assert image.getexif()[images.ORIENTATION_TAG] == 6
    assert images.upright_grey(image).size == (300, 400)


def test_frames_that_cannot_be_counted_are_refused():
    class Uncountable(Image.Image):
        format = "PNG"

        @property
        def n_frames(self) -> int:
            raise EOFError("no more frames")

    with pytest.raises(ImageError, match="cannot be counted"):
        images.num_frames(Uncountable())


# ---- several sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ALL_FORMATS)
@pytest.mark.parametrize("box", [None, Box(0.2, 0.3, 0.6, 0.9)])
def test_each_of_several_sizes_has_the_pixels_that_it_has_alone(format_name, box):
    """Also a JPEG, which is decoded at a scale that depends on the size."""
    encoded = encode(np.kron(drawn(), np.ones((4, 4, 1), np.uint8)), format_name)
    sizes = [32, 40, 96, 150, 224]
    several = images.load_squares(encoded, sizes, box, margin_fraction=0.1)
    for size, square in zip(sizes, several, strict=True):
        alone = (
            images.load_square(encoded, size)
            if box is None
            else images.load_crop(encoded, size, box, margin_fraction=0.1)
        )
        np.testing.assert_array_equal(square, alone)


@pytest.mark.parametrize(
    ("format_name", "sizes", "num_decodings"),
    [("PNG", [32, 96, 224], 1), ("JPEG", [40, 50, 64], 1), ("JPEG", [32, 224, 300], 2)],
)
def test_a_picture_is_decoded_once_for_each_scale(monkeypatch, format_name, sizes, num_decodings):
    decoded, to_rgb = [], images._to_rgb

    def count(image):
        decoded.append(image.size)
        return to_rgb(image)

    monkeypatch.setattr(images, "_to_rgb", count)
    images.load_squares(encode(np.zeros((512, 512, 3), np.uint8), format_name), sizes)
    assert len(decoded) == num_decodings  # of 512 pixels: an eighth has 64, a quarter 128, a half 256


# ---- crops -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ALL_FORMATS)
def test_a_crop_of_the_whole_picture_is_the_whole_picture(format_name):
    encoded = encode(drawn(), format_name)
    whole = images.load_crop(encoded, 150, WHOLE, margin_fraction=0.0)
    np.testing.assert_array_equal(whole, images.load_square(encoded, 150))


def test_a_crop_holds_the_square_around_its_box_and_nothing_else():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[40:60, 90:110] = 200  # 20 x 20 pixels
    picture[30:70, 80:120, 2] = 90  # and 10 around them: a margin of a half
    box = Box(0.45, 0.4, 0.55, 0.6)
    tight = images.load_crop(encode(picture, "PNG"), 20, box, margin_fraction=0.0)
    np.testing.assert_array_equal(tight, picture[40:60, 90:110])
    wide = images.load_crop(encode(picture, "PNG"), 40, box, margin_fraction=0.5)
    np.testing.assert_array_equal(wide, picture[30:70, 80:120])


def test_a_crop_of_a_turned_picture_is_cut_upright():
    picture = drawn(height=200, width=100)
    box = Box(0.1, 0.5, 0.5, 0.7)  # 40 x 40 pixels
    upright = images.load_crop(encode(picture, "PNG"), 40, box, margin_fraction=0.0)
    exif = Image.Exif()
    exif[images.ORIENTATION_TAG] = 6  # to be turned clockwise by a quarter
    stored = encode(np.rot90(picture), "PNG", exif=exif)
    np.testing.assert_array_equal(images.load_crop(stored, 40, box, margin_fraction=0.0), upright)
    assert images.upright_size(images.open_image(stored)) == (100, 200)


def test_a_jpeg_is_decoded_finely_enough_for_a_small_part_of_it():
    picture = np.kron(drawn(height=150, width=200), np.ones((8, 8, 1), np.uint8))
    box = Box(0.5, 0.5, 0.6, 0.6333)
    lossy = images.load_crop(encode(picture, "JPEG", quality=95), 100, box, margin_fraction=0.0)
    exact = images.load_crop(encode(picture, "PNG"), 100, box, margin_fraction=0.0)
    assert mean_difference(lossy, exact) < 2


def test_a_crop_of_a_truncated_picture_is_refused():
    encoded = encode(drawn(), "PNG")[:-3000]
    with pytest.raises(ImageError, match="cannot be decoded completely"):
        images.load_crop(encoded, 20, WHOLE, margin_fraction=0.0)
