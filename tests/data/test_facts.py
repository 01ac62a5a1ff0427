import hashlib
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from melanoma.data import facts
from melanoma.data.facts import FACT_DTYPES, THUMBNAIL_SIDE
from melanoma.errors import DataError
from tests.data.pictures import drawn, encode, textured, write

WORKING_SIZE = 128


def inspect(path, working_size: int = WORKING_SIZE) -> dict[str, Any]:
    return facts.inspect_file(facts.ImageFile("a", path, working_size))


def inspect_all(paths, *, num_workers: int = 1) -> pd.DataFrame:
    records = pd.DataFrame({"image_id": [path.stem for path in paths], "path": [path.name for path in paths]})
    return facts.inspect_images(
        records, root=paths[0].parent, working_size=WORKING_SIZE, num_workers=num_workers, description="test"
    )


def bits_apart(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def grey_of(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


# ---- what a file is --------------------------------------------------------------------------


def test_facts_of_a_readable_file_are_those_of_its_bytes(tmp_path):
    path = write(drawn(height=30, width=40), tmp_path / "a.png")
    row = inspect(path)
    assert (row["decodes"], row["format"], row["mode"]) == (True, "PNG", "RGB")
    assert (row["width"], row["height"]) == (40, 30)
    assert row["num_bytes"] == path.stat().st_size
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "problem" not in row
    assert set(row) <= set(FACT_DTYPES)


def test_the_format_is_known_by_content_and_not_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(drawn(), "JPEG"))
    assert inspect(tmp_path / "a.png")["format"] == "JPEG"


def test_equal_pixels_in_unlike_files_have_one_digest_of_pixels(tmp_path):
    one = inspect(write(drawn(), tmp_path / "a.png"))
    other = inspect(write(drawn(), tmp_path / "a.bmp"))
    assert one["sha256"] != other["sha256"]
    assert one["pixels_sha256"] == other["pixels_sha256"]


def test_equal_bytes_of_pixels_in_unlike_shapes_have_unlike_digests(tmp_path):
    flat = inspect(write(np.zeros((2, 8, 3), np.uint8), tmp_path / "a.png"))
    tall = inspect(write(np.zeros((8, 2, 3), np.uint8), tmp_path / "b.png"))
    assert flat["pixels_sha256"] != tall["pixels_sha256"]


def test_an_unreadable_file_becomes_a_row_that_says_why(tmp_path):
    whole = encode(drawn(), "JPEG")
    write(drawn(), tmp_path / "good.jpg")
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_bytes(b"404 Not Found")
    names = ("good", "half", "missing", "text")
    table = inspect_all([tmp_path / f"{name}.jpg" for name in names]).set_index("image_id")
    assert table["decodes"].tolist() == [True, False, False, False]
    problems = table["problem"].fillna("none").to_dict()
    assert "decoded wholly" in problems["half"]
    assert "cannot be read" in problems["missing"]
    assert "no JPEG" in problems["text"]
    assert problems["good"] == "none"


def test_what_cannot_be_known_of_an_unreadable_file_is_missing(tmp_path):
    whole = encode(drawn(), "JPEG")
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    half, missing = (inspect_all([tmp_path / name]).iloc[0].isna() for name in ("half.jpg", "missing.jpg"))
    measures = ["pixels_sha256", "sharpness", "brightness", "contrast", "phashes", "thumbnail"]
    assert half[measures].all()
    assert not half[["sha256", "num_bytes", "format", "mode", "width", "height"]].any()
    assert missing[[*measures, "sha256", "num_bytes", "format", "mode", "width", "height"]].all()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_all_columns_have_their_types_and_rows_keep_their_order(tmp_path, num_workers):
    paths = [write(textured(seed), tmp_path / f"{9 - seed}.png") for seed in range(3)]
    table = inspect_all(paths, num_workers=num_workers)
    assert table["image_id"].tolist() == ["9", "8", "7"]
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == FACT_DTYPES


def test_one_process_and_two_give_equal_frames(tmp_path):
    paths = [write(textured(seed), tmp_path / f"{seed}.png") for seed in range(5)]
    (tmp_path / "9.png").write_bytes(b"no picture")
    paths.append(tmp_path / "9.png")
    pd.testing.assert_frame_equal(inspect_all(paths, num_workers=1), inspect_all(paths, num_workers=2))


def test_facts_survive_a_table_on_disk(tmp_path):
    table = inspect_all([write(textured(1), tmp_path / "a.png"), tmp_path / "missing.png"])
    table.to_parquet(tmp_path / "facts.parquet")
    restored = pd.read_parquet(tmp_path / "facts.parquet")
    assert list(restored["phashes"][0]) == table["phashes"][0]
    assert restored["thumbnail"][0] == table["thumbnail"][0]
    assert restored["phashes"][1] is None


def test_images_that_were_not_inspected_are_named():
    records = pd.DataFrame({"image_id": ["a", "b", "c"]})
    facts.require_facts(records, pd.DataFrame({"image_id": ["d", "c", "b", "a"]}))
    with pytest.raises(DataError, match="2 images of the records were not inspected: a, c"):
        facts.require_facts(records, pd.DataFrame({"image_id": ["b"]}))


# ---- measures --------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "fraction"), [(0, 0), (51, 51 / 255), (255, 1)])
def test_brightness_of_flat_grey_is_its_level_and_contrast_and_sharpness_are_none(tmp_path, level, fraction):
    row = inspect(write(np.full((40, 60, 3), level, np.uint8), tmp_path / "a.png"))
    assert row["brightness"] == pytest.approx(fraction)
    assert row["contrast"] == 0
    assert row["sharpness"] == 0


def test_contrast_of_half_black_half_white_is_one_half(tmp_path):
    halves = np.zeros((WORKING_SIZE, WORKING_SIZE, 3), np.uint8)
    halves[: WORKING_SIZE // 2] = 255
    row = inspect(write(halves, tmp_path / "a.png"))
    assert row["contrast"] == pytest.approx(1 / 2)
    assert row["brightness"] == pytest.approx(1 / 2)


def test_the_more_a_picture_is_blurred_the_less_sharp_it_is(tmp_path):
    pixels = drawn()
    blurred = [cv2.GaussianBlur(pixels, (0, 0), sigma) for sigma in (1, 2, 4)]
    rows = [
        inspect(write(picture, tmp_path / f"{number}.png"))
        for number, picture in enumerate([pixels, *blurred])
    ]
    measured = [row["sharpness"] for row in rows]
    assert measured == sorted(measured, reverse=True)
    assert measured[3] < measured[0] / 4


def test_measures_hardly_depend_on_the_resolution(tmp_path):
    small = inspect(write(textured(3, side=256), tmp_path / "a.png"))
    large = inspect(write(textured(3, side=512), tmp_path / "b.png"))
    for name in ("sharpness", "brightness", "contrast"):
        assert large[name] == pytest.approx(small[name], rel=0.05)


def test_the_thumbnail_is_the_grey_picture_made_small(tmp_path):
    row = inspect(write(np.full((90, 70, 3), 77, np.uint8), tmp_path / "a.png"))
    assert row["thumbnail"] == bytes([77]) * THUMBNAIL_SIDE**2


# ---- perceptual hashes -----------------------------------------------------------------------


def test_the_eight_orientations_of_a_picture_without_symmetry_are_all_different():
    picture = np.arange(9, dtype=np.uint8).reshape(3, 3)
    views = facts.orientations(picture)
    np.testing.assert_array_equal(views[0], picture)
    assert len({view.tobytes() for view in views}) == 8
    assert {view.tobytes() for view in facts.orientations(np.rot90(picture))} == {
        view.tobytes() for view in views
    }


@pytest.mark.parametrize("orientation", range(8))
def test_the_hash_of_a_turned_copy_is_that_of_the_same_orientation_of_the_original(tmp_path, orientation):
    turned = np.ascontiguousarray(
        np.rot90(textured(5), orientation % 4)
        if orientation < 4
        else np.fliplr(np.rot90(textured(5), orientation % 4))
    )
    original = inspect(write(textured(5), tmp_path / "a.png"))["phashes"]
    copy = inspect(write(turned, tmp_path / "b.png"))["phashes"]
    assert bits_apart(copy[0], original[orientation]) <= 2
    elsewhere = [bits_apart(copy[0], original[other]) for other in range(8) if other != orientation]
    assert min(elsewhere) > 12


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pixels: cv2.resize(pixels, (90, 90), interpolation=cv2.INTER_AREA), id="resized"),
        pytest.param(
            lambda pixels: cv2.imdecode(
                cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
            ),
            id="recompressed",
        ),
        pytest.param(lambda pixels: (pixels * 0.9).astype(np.uint8), id="darker"),
    ],
)
def test_the_hash_hardly_changes_under_harmless_changes(change):
    pixels = textured(5)
    one = facts.perceptual_hash(grey_of(pixels))
    assert bits_apart(one, facts.perceptual_hash(grey_of(change(pixels)))) <= 4


def test_hashes_of_unlike_pictures_are_far_apart_in_every_orientation():
    hashes = [
        [facts.perceptual_hash(view) for view in facts.orientations(grey_of(textured(seed)))]
        for seed in range(8)
    ]
    apart = [
        min(bits_apart(hashes[one][0], turned) for turned in hashes[other])
        for one in range(8)
        for other in range(one)
    ]
    assert min(apart) > 12


def test_a_hash_fits_into_64_bits_with_a_sign():
    for seed in range(8):
        assert -(2**63) <= facts.perceptual_hash(grey_of(textured(seed))) < 2**63
    assert facts.perceptual_hash(np.zeros((40, 40), np.uint8)) == 0
