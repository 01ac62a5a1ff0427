import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from melanoma.config.data import Execution
from melanoma.data import images, packed, packing
from melanoma.data.classes import NOT_TOLD
from melanoma.data.crops import Box, Crop, Cutting
from melanoma.errors import DataError
from melanoma.files import read_json, write_json
from melanoma.fingerprint import sha256_of_file
from melanoma.schema import INDEX_COLUMNS, MELANOMA, NEVUS, OTHER, diagnosis_classes
from tests.data.packs import reseal
from tests.data.pictures import textured, write

IMAGES = packed.images_name(32)
SPLIT_OF = {"a": "train", "b": "test", "c": "train", "d": "validation", "e": "train"}
TARGET_OF = {"a": 0, "b": 1, "c": 1, "d": 0, "e": 0}
DIAGNOSIS_OF = {"a": "atypical nevus", "b": "melanoma", "c": "melanoma", "d": "nevus", "e": None}


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
            "diagnosis": [*DIAGNOSIS_OF.values()],
        }
    )


def pack(assigned, records, out, *, sizes=(32,), num_workers: int = 1) -> str:
    execution = Execution(backend="processes", num_workers=num_workers, ray_address=None)
    return packing.pack(assigned, records, out, sizes=sizes, execution=execution)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- each row belongs to its image -----------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(5)), kept=st.sets(st.sampled_from("abcde"), min_size=1))
def test_every_image_keeps_its_pixels_whatever_the_order_and_the_rest_of_both_tables(
    tmp_path, assigned, records, order, kept
):
    mine = assigned[assigned["image_id"].isin(kept)].iloc[::-1]
    pack(mine, records.iloc[order], tmp_path / "out")
    opened = packed.open_packed(tmp_path / "out")
    assert opened.index["image_id"].tolist() == mine["image_id"].tolist()
    for name in kept:
        part = opened.part(SPLIT_OF[name])
        encoded = (tmp_path / "images" / f"{name}.png").read_bytes()
        np.testing.assert_array_equal(part.pictures([name])[0], images.load_square(encoded, 32))
        assert part.by_image(part.targets)[name] == TARGET_OF[name]
        assert part.classes is not None
        known = diagnosis_classes(pd.Series([DIAGNOSIS_OF[name]])).item()
        at = part.by_image(part.classes)[name]
        assert at == NOT_TOLD or part.class_names[at] in (known, OTHER)
        row = opened.rows_of(part).set_index("image_id").loc[name]
        assert (row["target"], row["split"]) == (TARGET_OF[name], SPLIT_OF[name])


@pytest.fixture
def opened(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    return packed.open_packed(tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.iloc[::-1],
        lambda index: index.sample(frac=1, random_state=3),
        lambda index: index[index["split"] == "train"],
        lambda index: index[:4],
        lambda index: index[index["split"] == "train"].reset_index(drop=True),
        lambda index: pd.concat([index, index[:1]], ignore_index=True),
    ],
    ids=["reversed", "shuffled", "filtered", "cut", "filtered and numbered anew", "with a row more"],
)
def test_an_index_that_was_shuffled_or_filtered_without_its_array_is_refused(opened, change):
    with pytest.raises(DataError, match=r"must have the rows 0 to 4 .* Select parts with"):
        dataclasses.replace(opened, index=change(opened.index))


def test_an_index_with_other_columns_of_the_same_rows_is_taken(opened):
    changed = dataclasses.replace(opened, index=opened.index.assign(split="test"))
    assert changed.part("test").image_ids.tolist() == list("abcde")


def test_an_index_that_names_an_image_twice_is_refused(opened):
    twice = opened.index.assign(image_id=["a", "b", "c", "d", "a"])
    with pytest.raises(DataError, match=r"each image once; 1 rows repeat an image: a\."):
        dataclasses.replace(opened, index=twice)


def test_pictures_of_images_that_are_not_in_the_part_are_refused_by_name(opened):
    train = opened.part("train")
    np.testing.assert_array_equal(train.pictures(["e", "a"]), opened.images[[4, 0]])
    with pytest.raises(DataError, match=r"1 of 2 images are not among the 3 packed images: b\."):
        train.pictures(["a", "b"])


def test_rows_of_a_part_of_another_cohort_are_refused_by_name(opened):
    part = opened.part("train")
    mixed = dataclasses.replace(part, image_ids=part.image_ids[::-1])
    assert opened.rows_of(mixed)["image_id"].tolist() == ["e", "c", "a"]
    other = dataclasses.replace(part, image_ids=np.array(["a", "c", "x"]))
    with pytest.raises(DataError, match=r"The index of the packed cohort .* 1 images have no row \(x\)"):
        opened.rows_of(other)


def test_values_of_another_number_than_there_are_images_are_refused(opened):
    assert opened.by_image(np.arange(5))["d"] == 3
    with pytest.raises(ValueError, match="Length of values"):
        opened.by_image(np.arange(4))
    with pytest.raises(ValueError, match="equal numbers of rows, targets and image_ids"):
        packed.Part(opened.images, np.arange(5), np.zeros(5), image_ids=np.array(["a"]))


# ---- what is packed --------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2])
def test_row_i_of_the_index_describes_image_i(tmp_path, assigned, records, num_workers):
    shuffled = assigned.iloc[[3, 0, 4, 2, 1]].reset_index(drop=True)
    pack(shuffled, records, tmp_path / "out", num_workers=num_workers)
    opened = packed.open_packed(tmp_path / "out")
    assert opened.images.shape == (5, 32, 32, 3)
    assert opened.images.dtype == np.uint8
    assert opened.index["image_id"].tolist() == ["d", "a", "e", "c", "b"]
    assert tuple(opened.index.columns) == INDEX_COLUMNS
    for row, name in enumerate(opened.index["image_id"]):
        encoded = (tmp_path / "images" / f"{name}.png").read_bytes()
        np.testing.assert_array_equal(opened.images[row], images.load_square(encoded, 32))


def test_a_part_holds_the_images_of_its_split_with_their_targets(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    opened = packed.open_packed(tmp_path / "out")
    part = opened.part("train")
    assert len(part) == 3
    assert part.targets.tolist() == [0, 1, 0]  # a, c, e
    assert part.targets.dtype == np.float32
    np.testing.assert_array_equal(part.take(slice(None)), opened.images[[0, 2, 4]])
    np.testing.assert_array_equal(part.take(np.array([2, 0, 2])), opened.images[[4, 0, 4]])
    assert opened.part("validation").targets.tolist() == [0]
    assert opened.part("test").targets.tolist() == [1]


def test_a_part_holds_the_class_of_each_image(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    opened = packed.open_packed(tmp_path / "out")
    assert opened.index["diagnosis_class"].tolist() == [NEVUS, MELANOMA, MELANOMA, NEVUS, OTHER]
    part = opened.part("train")
    assert part.class_names == opened.classes == (MELANOMA, OTHER)  # of nevi there is one group
    assert [part.class_names[at] for at in part.classes] == [OTHER, MELANOMA, OTHER]  # a, c, e
    assert part.positive_classes == (0,)
    assert part.classes.dtype == np.int64


def test_a_cohort_that_was_packed_without_classes_opens_and_has_none(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    opened = packed.open_packed(tmp_path / "out")
    index = opened.index.drop(columns="diagnosis_class")
    earlier = packed.Packed(opened.images, index, opened.digest, opened.is_synthetic)
    assert earlier.part("train").classes is None
    assert earlier.part("train").targets.tolist() == [0, 1, 0]


def test_a_split_without_images_is_an_empty_part(tmp_path, assigned, records):
    pack(assigned.assign(split="train"), records, tmp_path / "out")
    part = packed.open_packed(tmp_path / "out").part("test")
    assert len(part) == 0
    assert part.take(slice(None)).shape == (0, 32, 32, 3)


def test_an_opened_array_lies_in_its_file_and_not_in_memory(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    opened = packed.open_packed(tmp_path / "out")
    assert isinstance(opened.part("train").images, np.memmap)
    assert opened.part("train").images is opened.images
    with pytest.raises(ValueError, match="read-only"):
        opened.images[0] = 0


def test_the_array_is_what_numpy_itself_would_have_written(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "out")
    np.save(tmp_path / "saved.npy", np.load(tmp_path / "out" / IMAGES))
    assert (tmp_path / "saved.npy").read_bytes() == (tmp_path / "out" / IMAGES).read_bytes()


def test_the_same_images_have_the_same_digest_however_many_workers(tmp_path, assigned, records):
    digests = {
        pack(assigned, records, tmp_path / "out", num_workers=1),
        pack(assigned, records, tmp_path / "out", num_workers=2),
        packed.open_packed(tmp_path / "out").digest,
        read_json(tmp_path / "out" / "manifest.json")["digest"],
    }
    assert len(digests) == 1


def test_the_digest_tells_other_pixels_other_splits_and_other_sizes_apart(tmp_path, assigned, records):
    digests = [pack(assigned, records, tmp_path / "out", sizes=[size]) for size in (32, 33)]
    moved = assigned.assign(split=["test", "train", *assigned["split"][2:]])
    digests.append(pack(moved, records, tmp_path / "out"))
    swapped = records.assign(image_id=["b", "a", *records["image_id"][2:]])
    digests.append(pack(assigned, swapped, tmp_path / "out"))
    assert len(set(digests)) == 4


# ---- several sizes ---------------------------------------------------------------------------


@pytest.fixture
def of_three_sizes(tmp_path, assigned, records):
    pack(assigned, records, tmp_path / "three", sizes=[16, 32, 48])
    return packed.open_packed(tmp_path / "three")


def test_each_size_has_the_pixels_that_it_has_alone(tmp_path, opened, of_three_sizes):
    assert of_three_sizes.image_size == 16
    assert of_three_sizes.of_size(16) is of_three_sizes
    same = of_three_sizes.of_size(48).of_size(32)
    np.testing.assert_array_equal(same.images, opened.images)
    pd.testing.assert_frame_equal(same.index, opened.index)
    assert same.part("test").take(slice(None)).shape == (1, 32, 32, 3)


def test_the_digest_of_a_size_does_not_depend_on_the_other_sizes(opened, of_three_sizes):
    same = of_three_sizes.of_size(32)
    assert same.part("train").images_digest == opened.part("train").images_digest
    assert same.part("train").digest(with_classes=True) == opened.part("train").digest(with_classes=True)
    assert of_three_sizes.of_size(48).part("train").images_digest != opened.part("train").images_digest
    assert same.digest == of_three_sizes.digest != opened.digest


def test_a_picture_is_known_by_the_same_digest_at_whichever_sizes_it_is_packed(
    tmp_path, assigned, records, opened, of_three_sizes
):
    """It is the digest that the ledger has kept since before several sizes could be packed."""
    digests = opened.index["picture_digest"].tolist()
    assert of_three_sizes.index["picture_digest"].tolist() == digests
    pack(assigned, records, tmp_path / "former", sizes=[150])
    former = packed.open_packed(tmp_path / "former")
    assert [hashlib.sha256(one.tobytes()).hexdigest()[:32] for one in former.images] == digests
    pack_cut(assigned, records, tmp_path / "cut", cutting(b=Box(0.25, 0.25, 0.5, 0.5)))
    assert packed.open_packed(tmp_path / "cut").index["picture_digest"].tolist() == digests
    assert len(set(digests)) == 5


def test_a_size_that_is_not_packed_is_refused_with_those_that_are(opened, of_three_sizes):
    with pytest.raises(DataError, match=r"packed at 16, 32, 48 pixels, and a network takes 64.*dvc repro"):
        of_three_sizes.of_size(64)
    alone = packed.Packed(opened.images, opened.index, "digest", is_synthetic=True)
    assert alone.of_size(32) is alone
    assert (alone.has_size(32), alone.has_size(48), of_three_sizes.has_size(48)) == (True, False, True)
    with pytest.raises(DataError, match="packed at 32 pixels, and a network takes 48"):
        alone.of_size(48)


@pytest.mark.parametrize("size", [16, 48])
def test_one_changed_byte_of_any_size_is_found(tmp_path, of_three_sizes, size):
    path = tmp_path / "three" / packed.images_name(size)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="has changed since it was packed"):
        packed.open_packed(tmp_path / "three")


def test_a_folder_of_an_earlier_version_is_refused(tmp_path, first_pack):
    write_json(
        {"digest": "0", "num_images": 5, "image_size": 32, "is_synthetic": True},
        tmp_path / "out" / packed.MANIFEST,
    )
    (tmp_path / "out" / IMAGES).rename(tmp_path / "out" / "images.npy")
    assert_unusable(tmp_path, r"has a manifest\.json that lacks \['positive', 'sha256_of_size'\]")


@pytest.mark.parametrize(
    ("is_synthetic", "expected"), [([True] * 5, True), ([False] * 4 + [True], True), ([False] * 5, False)]
)
def test_a_cohort_is_synthetic_when_any_image_is(tmp_path, assigned, records, is_synthetic, expected):
    pack(assigned, records.assign(is_synthetic=is_synthetic), tmp_path / "out")
    assert packed.open_packed(tmp_path / "out").is_synthetic is expected


def test_a_cohort_says_what_its_targets_call_positive(tmp_path, assigned, records):
    execution, positive = (
        Execution(backend="processes", num_workers=1, ray_address=None),
        ["nevus", "melanoma"],
    )
    packing.pack(assigned, records, tmp_path / "out", sizes=[32], execution=execution, positive=positive)
    assert packed.open_packed(tmp_path / "out").positive_means == "melanoma or nevus"
    assert read_json(tmp_path / "out" / packed.MANIFEST)["positive_means"] == "melanoma or nevus"


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
    assert_refused(
        tmp_path,
        assigned,
        records,
        first_pack,
        r"d\.png \(the image cannot be decoded "
        r"completely",
    )


def test_an_image_without_a_record_is_refused(tmp_path, assigned, records, first_pack):
    assert_refused(tmp_path, assigned, records[1:], first_pack, r"1 images have no row \(a\)")


def test_an_image_with_two_records_is_refused_and_records_of_other_images_are_not(
    tmp_path, assigned, records, first_pack
):
    twice = pd.concat([records, records[:1]])
    assert_refused(tmp_path, assigned, twice, first_pack, r"1 image_ids have more than one row \(a\)")
    others = pd.concat([records, records[:1].assign(image_id="not in the cohort")])
    assert pack(assigned, others, tmp_path / "other") == first_pack


def test_nothing_is_left_of_a_first_pack_that_fails(tmp_path, assigned, records):
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(DataError):
        pack(assigned, records, tmp_path / "out")
    assert names_in(tmp_path) == ["images"]


@pytest.mark.parametrize("name", [IMAGES, packed.INDEX, packed.MANIFEST])
def test_a_pack_without_one_of_its_files_is_refused(tmp_path, first_pack, name):
    (tmp_path / "out" / name).unlink()
    with pytest.raises(DataError, match=f"{name} does not exist"):
        packed.open_packed(tmp_path / "out")


@pytest.mark.parametrize("name", [IMAGES, packed.INDEX])
def test_a_pack_with_one_changed_byte_is_refused(tmp_path, first_pack, name):
    path = tmp_path / "out" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_unusable(tmp_path, "has changed since it was packed: its digest differs")


def assert_unusable(tmp_path, problem: str) -> None:
    with pytest.raises(DataError, match=rf"out {problem}.*Run `dvc repro --force pack@out`"):
        packed.open_packed(tmp_path / "out")


@pytest.mark.parametrize("num_bytes", [0, 100, 128, 3000, -1])  # the header has 128
def test_a_truncated_array_is_refused(tmp_path, first_pack, num_bytes):
    path = tmp_path / "out" / IMAGES
    path.write_bytes(path.read_bytes()[:num_bytes])
    assert_unusable(tmp_path, r"has an images_32\.npy that is truncated or not an array")


def test_a_pack_that_was_changed_with_its_manifest_is_taken_as_it_is(tmp_path, first_pack):
    array = np.load(tmp_path / "out" / IMAGES)
    np.save(tmp_path / "out" / IMAGES, 255 - array)
    reseal(tmp_path / "out")
    np.testing.assert_array_equal(packed.open_packed(tmp_path / "out").images, 255 - array)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda array: array[:4], r"uint8 \(4, 32, 32, 3\)"),
        (lambda array: array[:, :16], r"uint8 \(5, 16, 32, 3\)"),
        (lambda array: array[..., 0], r"uint8 \(5, 32, 32\)"),
        (lambda array: array.astype(np.float32), r"float32 \(5, 32, 32, 3\)"),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(tmp_path, first_pack, change, found):
    path = tmp_path / "out" / IMAGES
    np.save(path, change(np.load(path)))
    reseal(tmp_path / "out")
    assert_unusable(tmp_path, rf"has an images_32\.npy of {found}; its .* says uint8 \(5, 32, 32, 3\)")


@pytest.mark.parametrize("rows", [slice(0, 4), [0, 1, 2, 3, 4, 4]])
def test_an_index_with_another_number_of_rows_is_refused(tmp_path, first_pack, rows):
    path = tmp_path / "out" / packed.INDEX
    pd.read_parquet(path).iloc[rows].to_parquet(path)
    reseal(tmp_path / "out")
    assert_unusable(tmp_path, r"has 5 images, but its index\.parquet has [46] rows")


def test_an_index_without_a_column_is_refused(tmp_path, first_pack):
    path = tmp_path / "out" / packed.INDEX
    pd.read_parquet(path).drop(columns="group_id").to_parquet(path)
    reseal(tmp_path / "out")
    with pytest.raises(DataError, match=r"index\.parquet lacks the columns \['group_id'\]"):
        packed.open_packed(tmp_path / "out")


def test_a_manifest_without_an_entry_is_refused(tmp_path, first_pack):
    manifest = read_json(tmp_path / "out" / packed.MANIFEST)
    del manifest["sha256_of_size"]
    write_json(manifest, tmp_path / "out" / packed.MANIFEST)
    assert_unusable(tmp_path, r"has a manifest\.json that lacks \['sha256_of_size'\]")


def test_a_manifest_that_speaks_of_other_images_is_refused(tmp_path, first_pack):
    reseal(tmp_path / "out", num_images=6)
    assert_unusable(tmp_path, r"has an images_32\.npy of uint8 \(5, .* says uint8 \(6, 32, 32, 3\)")


# ---- crops -----------------------------------------------------------------------------------


def cutting(**boxes: Box) -> Cutting:
    return Cutting(Crop("mask", 0.0, 0.005, None), boxes)


def pack_cut(assigned, records, out, cut: Cutting | None) -> str:
    execution = Execution(backend="processes", num_workers=1, ray_address=None)
    return packing.pack(assigned, records, out, sizes=[32], execution=execution, cutting=cut)


def test_whole_pictures_are_packed_as_ever_and_their_manifest_knows_no_crop(tmp_path, assigned, records):
    pack_cut(assigned, records, tmp_path / "out", None)
    assert set(read_json(tmp_path / "out" / packed.MANIFEST)) == {
        "digest",
        "num_images",
        "sha256_of_size",
        "is_synthetic",
        "positive",
        "positive_means",
    }
    assert packed.open_packed(tmp_path / "out").crop is None


def test_an_image_with_a_box_is_cut_and_one_without_stays_whole(tmp_path, assigned, records):
    box = Box(0.25, 0.25, 0.5, 0.5)
    cut = cutting(b=box)
    pack_cut(assigned, records, tmp_path / "out", cut)
    opened = packed.open_packed(tmp_path / "out")
    encoded = (tmp_path / "images" / "b.png").read_bytes()
    np.testing.assert_array_equal(opened.images[1], images.load_crop(encoded, 32, box, margin_fraction=0.0))
    encoded = (tmp_path / "images" / "a.png").read_bytes()
    np.testing.assert_array_equal(opened.images[0], images.load_square(encoded, 32))
    assert opened.crop == cut.crop
    assert read_json(tmp_path / "out" / packed.MANIFEST)["num_whole"] == 4


def test_the_digest_tells_crops_apart(tmp_path, assigned, records):
    cuts = [None, cutting(a=Box(0.0, 0.0, 0.5, 0.5)), cutting(a=Box(0.5, 0.5, 1.0, 1.0))]
    digests = {pack_cut(assigned, records, tmp_path / "out", cut) for cut in cuts}
    assert len(digests) == 3
