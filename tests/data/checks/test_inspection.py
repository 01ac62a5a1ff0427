import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from melanoma.data.checks.facts import FACT_DTYPES
from melanoma.data.checks.inspection import ImageFile, inspect_file
from melanoma.data.hashes import THUMBNAIL_SIDE
from tests.data.pictures import drawn, encode, textured, write

MEASURES = {
    "pixels_sha256",
    "sharpness",
    "brightness",
    "contrast",
    "saturation",
    "clipped_fraction",
    "dark_border_fraction",
    "hair_fraction",
    "ink_fraction",
    "ita_degrees",
    "ita_problem",
    "phashes",
    "thumbnail",
}
HEADER = {
    "format",
    "mode",
    "bit_depth",
    "num_frames",
    "width",
    "height",
    "extension_fits",
    "exif_orientation",
}
OF_BYTES = {"num_bytes", "sha256"}
OF_MASK = {"mask_decodes", "mask_problem", "mask_fits", "lesion_fraction"}


@pytest.fixture
def inspect(params):
    def inspect(path: Path, mask_path: Path | None = None) -> dict[str, Any]:
        return inspect_file(ImageFile("a", path, mask_path), settings=params.inspect)

    return inspect


def test_facts_of_a_readable_file_are_those_of_its_bytes(tmp_path, inspect):
    path = write(drawn(height=30, width=40), tmp_path / "a.png")
    row = inspect(path)
    assert (row["decodes"], row["format"], row["mode"]) == (True, "PNG", "RGB")
    assert (row["width"], row["height"]) == (40, 30)
    assert row["num_bytes"] == path.stat().st_size
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert row["is_truncated"] is False
    assert set(row) == set(FACT_DTYPES) - OF_MASK - {"problem"}


def test_the_groups_of_facts_are_all_columns():
    assert MEASURES | HEADER | OF_BYTES | OF_MASK | {"image_id", "decodes", "is_truncated", "problem"} == set(
        FACT_DTYPES
    )


def test_the_digest_of_pixels_is_of_their_shape_and_their_bytes_in_rgb(tmp_path, inspect):
    row = inspect(write(drawn(), tmp_path / "a.png"))
    assert row["pixels_sha256"] == hashlib.sha256(b"(300, 400, 3)" + drawn().tobytes()).hexdigest()


def test_equal_pixels_in_unlike_files_have_one_digest_of_pixels(tmp_path, inspect):
    one, other = inspect(write(drawn(), tmp_path / "a.png")), inspect(write(drawn(), tmp_path / "a.bmp"))
    assert one["sha256"] != other["sha256"]
    assert one["pixels_sha256"] == other["pixels_sha256"]


def test_equal_bytes_of_pixels_in_unlike_shapes_have_unlike_digests(tmp_path, inspect):
    flat = inspect(write(np.zeros((2, 8, 3), np.uint8), tmp_path / "a.png"))
    tall = inspect(write(np.zeros((8, 2, 3), np.uint8), tmp_path / "b.png"))
    assert flat["pixels_sha256"] != tall["pixels_sha256"]


def test_a_turned_file_has_the_pixels_of_the_upright_one(tmp_path, inspect):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = inspect(write(np.rot90(drawn()), tmp_path / "lying.png", exif=exif))
    upright = inspect(write(drawn(), tmp_path / "upright.png"))
    assert lying["exif_orientation"] == 6
    for name in ("pixels_sha256", "width", "height", "phashes", "thumbnail"):
        assert lying[name] == upright[name]


def test_the_orientation_that_a_png_tells_behind_its_pixels_is_known(tmp_path, inspect):
    exif = Image.Exif()
    exif[0x0112] = 8
    encoded = encode(drawn(), "PNG", exif=exif)
    start = encoded.index(b"eXIf") - 4
    length = 12 + int.from_bytes(encoded[start : start + 4], "big")
    chunk, rest = encoded[start : start + length], encoded[:start] + encoded[start + length :]
    (tmp_path / "a.png").write_bytes(rest[:-12] + chunk + rest[-12:])
    row = inspect(tmp_path / "a.png")
    assert (row["exif_orientation"], row["width"], row["height"]) == (8, 300, 400)


def test_of_a_truncated_file_all_that_its_header_says_is_known(tmp_path, inspect):
    whole = encode(drawn(), "JPEG")
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    row = inspect(tmp_path / "half.jpg")
    assert (row["decodes"], row["is_truncated"]) == (False, True)
    assert "decoded completely" in row["problem"]
    assert set(row) == HEADER | OF_BYTES | {"image_id", "decodes", "is_truncated", "problem"}


@pytest.mark.parametrize(
    ("content", "problem", "known"),
    [
        pytest.param(None, "cannot be read", set(), id="missing"),
        pytest.param(b"404 Not Found", "not a JPEG, PNG, BMP, WEBP image", OF_BYTES, id="text"),
        pytest.param(encode(drawn(), "GIF"), "looks like GIF: convert it", OF_BYTES | HEADER, id="GIF"),
    ],
)
def test_what_cannot_be_known_is_absent(tmp_path, inspect, content, problem, known):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    row = inspect(tmp_path / "a.jpg")
    assert row["decodes"] is False
    assert problem in row["problem"]
    assert set(row) == known | {"image_id", "decodes", "problem"}


def test_facts_of_a_mask_are_there_when_the_record_names_one(tmp_path, inspect):
    image = write(drawn(height=30, width=40), tmp_path / "a.png")
    mask = write(np.full((30, 40), 255, np.uint8), tmp_path / "mask.png")
    row = inspect(image, mask)
    assert (row["mask_decodes"], row["mask_fits"], row["lesion_fraction"]) == (True, True, 1)


def test_a_mask_is_inspected_though_its_picture_is_missing(tmp_path, inspect):
    row = inspect(tmp_path / "absent.png", write(np.full((30, 40), 255, np.uint8), tmp_path / "mask.png"))
    assert (row["decodes"], row["mask_decodes"], row["mask_fits"]) == (False, True, None)


@pytest.mark.parametrize("side", [512, 1024, 2050, 4101])
def test_measures_hardly_depend_on_the_resolution(tmp_path, inspect, side):
    small = inspect(write(textured(3, side=256), tmp_path / "a.png"))
    large = inspect(write(textured(3, side=side), tmp_path / "b.bmp"))
    for name in ("sharpness", "brightness", "contrast", "saturation"):
        assert large[name] == pytest.approx(small[name], rel=0.05)


def test_the_thumbnail_is_the_grey_picture_squashed(tmp_path, inspect):
    row = inspect(write(np.full((90, 70, 3), 77, np.uint8), tmp_path / "a.png"))
    assert row["thumbnail"] == bytes([77]) * THUMBNAIL_SIDE**2


def test_the_hashes_of_a_smaller_copy_are_near(tmp_path, inspect):
    original = inspect(write(textured(5), tmp_path / "a.png"))["phashes"]
    smaller = cv2.resize(textured(5), (90, 90), interpolation=cv2.INTER_AREA)
    copy = inspect(write(smaller, tmp_path / "b.png"))["phashes"]
    assert (
        max(((one ^ other) & (2**64 - 1)).bit_count() for one, other in zip(original, copy, strict=True)) <= 4
    )
