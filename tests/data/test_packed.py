from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma.data import images, packed
from melanoma.errors import DataError
from melanoma.files import read_json, sha256_of_file
from melanoma.schema import SPLIT_COLUMNS
from tests.data.pictures import textured, write

SPLIT_OF = {"a": "train", "b": "test", "c": "train", "d": "validation", "e": "train"}
TARGET_OF = {"a": 0, "b": 1, "c": 1, "d": 0, "e": 0}


@pytest.fixture
def assigned():
    return pd.DataFrame(
        {
            "image_id": list(SPLIT_OF),
            "dataset": "toy",
            "group_id": list(SPLIT_OF),
            "target": list(TARGET_OF.values()),
            "split": list(SPLIT_OF.values()),
        }
    )


@pytest.fixture
def records(tmp_path):
    paths = [write(textured(ord(name)), tmp_path / "images" / f"{name}.png") for name in SPLIT_OF]
    return pd.DataFrame(
        {
            "image_id": list(SPLIT_OF),
            "path": [str(path) for path in paths],
            "sha256": [sha256_of_file(path) for path in paths],
            "is_synthetic": True,
        }
    )


def pack(assigned, records, out, *, size: int = 32, num_workers: int = 1) -> str:
    return packed.pack(assigned, records, out, size=size, num_workers=num_workers)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- what is packed --------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2])
def test_row_i_of_the_index_describes_image_i(tmp_path, assigned, records, num_workers):
    shuffled = assigned.iloc[[3, 0, 4, 2, 1]].reset_index(drop=True)
    pack(shuffled, records, tmp_path / "out", num_workers=num_workers)
    opened = packed.open_packed(tmp_path / "out")
    assert opened.images.shape == (5, 32, 32, 3)
    assert opened.images.dtype == np.uint8
    assert opened.index["image_id"].tolist() == ["d", "a", "e", "c", "b"]
    assert tuple(opened.index.columns) == SPLIT_COLUMNS
    for row, name in enumerate(opened.index["image_id"]):
        encoded = (tmp_path / "images" / f"{name}.png").read_bytes()
        np.testing.assert_array_equal(opened.images[row], images.load_square(encoded, 32))


def test_a_split_is_taken_with_its_targets(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    opened = packed.open_packed(tmp_path / "out")
    pixels, targets = opened.take("train")
    assert targets.tolist() == [0, 1, 0]  # a, c, e
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(pixels, opened.images[[0, 2, 4]])
    assert opened.take("validation")[1].tolist() == [0]
    assert opened.take("test")[1].tolist() == [1]


def test_the_same_images_have_the_same_digest_however_many_workers(tmp_path, assigned, records):
    digests = {
        pack(assigned, records, tmp_path / "out", num_workers=1),
        pack(assigned, records, tmp_path / "out", num_workers=2),
        packed.open_packed(tmp_path / "out").digest,
        read_json(tmp_path / "out" / "manifest.json")["digest"],
    }
    assert len(digests) == 1


def test_the_digest_tells_other_pixels_other_splits_and_other_sizes_apart(tmp_path, assigned, records):
    digests = [pack(assigned, records, tmp_path / "out"), pack(assigned, records, tmp_path / "out", size=33)]
    moved = assigned.assign(split=["test", "train", *assigned["split"][2:]])
    digests.append(pack(moved, records, tmp_path / "out"))
    swapped = records.assign(image_id=["b", "a", *records["image_id"][2:]])
    digests.append(pack(assigned, swapped, tmp_path / "out"))
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("is_synthetic", "expected"), [([True] * 5, True), ([False] * 4 + [True], True), ([False] * 5, False)]
)
def test_a_cohort_is_synthetic_when_any_image_is(tmp_path, assigned, records, is_synthetic, expected):
    pack(assigned, records.assign(is_synthetic=is_synthetic), tmp_path / "out")
    assert packed.open_packed(tmp_path / "out").is_synthetic is expected


def test_records_of_images_outside_the_cohort_are_left_out(tmp_path, assigned, records):
    pack(assigned[:2], records, tmp_path / "out")
    assert len(packed.open_packed(tmp_path / "out").images) == 2


# ---- what is refused -------------------------------------------------------------------------


@pytest.fixture
def first_pack(tmp_path, assigned, records):
    """A good pack that a failing one must leave as it is."""
    pack(assigned, records, tmp_path / "out")
    return packed.open_packed(tmp_path / "out").digest


def assert_refused(tmp_path, assigned, records, first_pack, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pack(assigned, records, tmp_path / "out")
    assert packed.open_packed(tmp_path / "out").digest == first_pack
    assert names_in(tmp_path) == ["images", "out"]


def test_a_file_that_changed_since_it_was_inspected_is_refused(tmp_path, assigned, records, first_pack):
    write(textured(99), tmp_path / "images" / "b.png")
    assert_refused(
        tmp_path, assigned, records, first_pack, r"1 of 5 images .*b\.png \(changed since it was inspected\)"
    )


def test_a_missing_file_is_refused(tmp_path, assigned, records, first_pack):
    (tmp_path / "images" / "c.png").unlink()
    assert_refused(tmp_path, assigned, records, first_pack, r"c\.png \(the file cannot be read")


def test_a_truncated_file_is_refused(tmp_path, assigned, records, first_pack):
    path = tmp_path / "images" / "d.png"
    path.write_bytes(path.read_bytes()[:200])
    records = records.assign(
        sha256=[sha256_of_file(tmp_path / "images" / f"{name}.png") for name in SPLIT_OF]
    )
    assert_refused(tmp_path, assigned, records, first_pack, r"d\.png \(the image cannot be decoded wholly")


def test_an_image_without_a_record_is_refused(tmp_path, assigned, records, first_pack):
    assert_refused(tmp_path, assigned, records[1:], first_pack, "1 of 5 images cannot be packed")


def test_nothing_is_left_of_a_first_pack_that_fails(tmp_path, assigned, records):
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(DataError):
        pack(assigned, records, tmp_path / "out")
    assert names_in(tmp_path) == ["images"]


@pytest.mark.parametrize("name", [packed.IMAGES, packed.INDEX, packed.MANIFEST])
def test_a_pack_without_one_of_its_files_is_refused(tmp_path, first_pack, name):
    (tmp_path / "out" / name).unlink()
    with pytest.raises(DataError, match=f"{name} does not exist"):
        packed.open_packed(tmp_path / "out")


@pytest.mark.parametrize("name", [packed.IMAGES, packed.INDEX])
def test_a_pack_with_one_changed_byte_is_refused(tmp_path, first_pack, name):
    path = tmp_path / "out" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is not what was packed.*pack@out"):
        packed.open_packed(tmp_path / "out")
