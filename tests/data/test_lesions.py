import numpy as np
import pandas as pd
import pytest

from melanoma import files
from melanoma.config.data import Execution
from melanoma.data import lesions
from melanoma.data.crops import Box
from melanoma.errors import DataError
from melanoma.fingerprint import sha256_of_file
from tests.data.pictures import textured, write

ALONE = Execution(backend="processes", num_workers=1, ray_address=None)


@pytest.fixture
def records(tmp_path):
    """Five images of 64 pixels: with a good mask, none, one of another size, a broken and an empty one."""
    disc = np.zeros((64, 64), np.uint8)
    disc[16:48, 16:32] = 255
    masks = {
        "good": write(disc, tmp_path / "good_mask.png"),
        "none": None,
        "other": write(disc[:32], tmp_path / "other_mask.png"),
        "broken": tmp_path / "broken_mask.png",
        "empty": write(disc * 0, tmp_path / "empty_mask.png"),
    }
    (tmp_path / "broken_mask.png").write_bytes(b"no image")
    paths = [write(textured(number, side=64), tmp_path / f"{name}.png") for number, name in enumerate(masks)]
    return pd.DataFrame(
        {
            "image_id": list(masks),
            "path": [str(path) for path in paths],
            "sha256": [sha256_of_file(path) for path in paths],
            "mask_path": [None if path is None else str(path) for path in masks.values()],
        }
    )


def read(records, *, order=None) -> lesions.Pairs:
    assigned = records[["image_id"]] if order is None else pd.DataFrame({"image_id": order})
    return lesions.read_pairs(assigned, records, size=32, execution=ALONE)


def test_a_picture_comes_with_its_lesion_in_the_order_that_is_asked_for(records):
    pairs = read(records, order=["none", "good"])
    assert pairs.images.shape == (2, 32, 32, 3)
    assert pairs.has_mask.tolist() == [False, True]
    expected = np.zeros((32, 32), bool)
    expected[8:24, 8:16] = True
    np.testing.assert_array_equal(pairs.lesions[1], expected)
    assert not pairs.lesions[0].any()


def test_a_mask_that_cannot_be_used_says_why_and_stops_nothing(records):
    problems = read(records).problems
    assert problems[:3] == [None, "no mask", "the mask and the image differ in size"]
    assert problems[3].startswith("the mask is broken (the bytes are not a ")
    assert problems[4] == "no lesion found"


def test_a_picture_that_changed_since_it_was_inspected_is_refused(records, tmp_path):
    write(textured(9, side=64), tmp_path / "none.png")
    with pytest.raises(DataError, match=r"1 of 5 images cannot be read: .*none\.png \(changed since"):
        read(records)


def test_pairs_are_taken_by_position_and_by_choice(records):
    pairs = read(records)
    assert pairs.take(pairs.has_mask).problems == [None]
    assert len(pairs.take(np.array([2, 0]))) == 2
    assert pairs.take(np.array([2, 0])).problems == [pairs.problems[2], None]


# ---- boxes -----------------------------------------------------------------------------------


def table_of(records) -> pd.DataFrame:
    pairs = read(records)
    return lesions.boxes(
        records["image_id"], pairs.lesions, pairs.problems, crop="mask", min_lesion_fraction=0.01
    )


def test_each_image_has_a_row_with_its_box_or_why_there_is_none(records):
    table = table_of(records).set_index("image_id")
    good = table.loc[["good"], list(lesions.EDGES)]
    assert good.to_numpy().tolist() == [[0.25, 0.25, 0.5, 0.75]]
    assert table.index[table["problem"].isna()].tolist() == ["good"]
    others = table.drop(index="good")
    assert others[list(lesions.EDGES)].isna().all().all()
    assert others["problem"].notna().all()


def test_boxes_around_masks_are_the_same_without_decoding_the_pictures(records, monkeypatch):
    expected = table_of(records)
    monkeypatch.setattr("melanoma.data.images.load_square", None)
    found = lesions.mask_boxes(
        records[["image_id"]], records, size=32, min_lesion_fraction=0.01, execution=ALONE
    )
    pd.testing.assert_frame_equal(found, expected)


def test_boxes_around_masks_of_changed_pictures_are_refused(records, tmp_path):
    write(textured(9, side=64), tmp_path / "none.png")
    with pytest.raises(DataError, match=r"1 of 5 images cannot be read: .*none\.png \(changed since"):
        lesions.mask_boxes(records[["image_id"]], records, size=32, min_lesion_fraction=0.01, execution=ALONE)


def test_an_empty_table_has_the_columns_of_a_full_one(records):
    assert list(lesions.no_boxes().columns) == list(table_of(records).columns)


def test_a_lesion_smaller_than_the_least_part_has_no_box(records):
    pairs = read(records)
    made = lesions.boxes(
        records["image_id"], pairs.lesions, pairs.problems, crop="mask", min_lesion_fraction=0.2
    )
    assert made.set_index("image_id").loc["good", "problem"] == lesions.NO_LESION


def read_cutting(path, kind: str, image_ids=("good", "none", "other", "broken", "empty")):
    return lesions.read_cutting(
        path, kind, image_ids=image_ids, margin_fraction=0.1, min_lesion_fraction=0.01
    )


def test_boxes_that_were_written_are_those_that_pictures_are_cut_by(records, tmp_path):
    files.write_parquet(table_of(records), tmp_path / "boxes.parquet")
    cutting = read_cutting(tmp_path / "boxes.parquet", "mask")
    assert cutting.boxes == {"good": Box(0.25, 0.25, 0.5, 0.75)}
    assert cutting.crop.to_dict() == {
        "kind": "mask",
        "margin_fraction": 0.1,
        "min_lesion_fraction": 0.01,
        "segmenter_sha256": None,
    }


def test_the_crop_names_the_network_that_found_its_boxes(records, tmp_path):
    files.write_parquet(
        table_of(records).assign(crop="unet", segmenter_sha256="a" * 64), tmp_path / "boxes.parquet"
    )
    assert read_cutting(tmp_path / "boxes.parquet", "unet").crop.segmenter_sha256 == "a" * 64


def test_whole_pictures_need_no_boxes(tmp_path):
    assert read_cutting(tmp_path / "nothing.parquet", "none") is None


def test_boxes_of_a_network_that_was_not_trained_are_refused(records, tmp_path):
    files.write_parquet(table_of(records), tmp_path / "boxes.parquet")
    with pytest.raises(DataError, match=r"has no boxes for pack.crop: unet\. Run `dvc repro segment`"):
        read_cutting(tmp_path / "boxes.parquet", "unet")


@pytest.mark.parametrize("seed", range(3))
def test_each_image_keeps_its_lesion_and_its_box_whatever_the_order_of_tables(records, tmp_path, seed):
    mixed = records.sample(frac=1, random_state=seed)
    pairs = lesions.read_pairs(mixed[["image_id"]][:3], records[::-1], size=32, execution=ALONE)
    assert pairs.image_ids.tolist() == mixed["image_id"][:3].tolist()
    known = read(records)
    for position, image_id in enumerate(pairs.image_ids):
        at = known.image_ids.tolist().index(image_id)
        np.testing.assert_array_equal(pairs.images[position], known.images[at])
        np.testing.assert_array_equal(pairs.lesions[position], known.lesions[at])
        assert pairs.problems[position] == known.problems[at]
    table = table_of(records).sample(frac=1, random_state=seed)
    files.write_parquet(table, tmp_path / "boxes.parquet")
    cutting = read_cutting(tmp_path / "boxes.parquet", "mask", image_ids=["other", "good"])
    assert cutting.boxes == {"good": Box(0.25, 0.25, 0.5, 0.75)}


def test_an_image_without_a_row_of_boxes_or_with_two_is_refused(records, tmp_path):
    table, path = table_of(records), tmp_path / "boxes.parquet"
    files.write_parquet(table[table["image_id"] != "good"], path)
    with pytest.raises(DataError, match=r"crop 'mask' in .*boxes\.parquet .* 1 images have no row \(good\)"):
        read_cutting(path, "mask")
    files.write_parquet(pd.concat([table, table[:1]]), path)
    with pytest.raises(DataError, match=r"1 image_ids have more than one row \(good\)"):
        read_cutting(path, "mask")
    files.write_parquet(pd.concat([table, table[:1].assign(image_id="of another cohort")]), path)
    assert set(read_cutting(path, "mask").boxes) == {"good"}


def test_an_image_without_a_record_is_refused(records):
    with pytest.raises(DataError, match=r"The accepted records .* 1 images have no row \(unknown\)"):
        read(records, order=["good", "unknown"])


# ---- overlap ---------------------------------------------------------------------------------


def test_overlap_counts_common_pixels():
    lesion = np.zeros((4, 2, 4), bool)
    found = np.zeros((4, 2, 4), bool)
    lesion[0, 0], found[0, 0, :2] = True, True  # 4 drawn, 2 found, 2 common
    lesion[1, 0], found[1, 1] = True, True  # nothing in common
    lesion[2, 0], found[2, 0] = True, True  # equal
    scores = lesions.overlap(found, lesion)
    assert scores["dice"].tolist()[:3] == [4 / 6, 0.0, 1.0]
    assert scores["jaccard"].tolist()[:3] == [2 / 4, 0.0, 1.0]
    assert scores.iloc[3].isna().all()  # both empty
