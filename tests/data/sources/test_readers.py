import re

import pandas as pd
import pytest

from melanoma.data.sources import readers
from melanoma.errors import DataError
from melanoma.schema import CLINICAL_DTYPES, RECORD_COLUMNS
from tests.data.toys import TARGET_RULE

COLUMNS = ["image_id", "benign_malignant", "image_file", "mask_file", "copyright_license", "attribution"]


@pytest.fixture
def raw_dir(tmp_path):
    """Two rows: `b` with a mask, licence and attribution, `a` with none of them."""
    write(
        tmp_path,
        ["b", "malignant", "b.jpg", "b_mask.png", "CC-BY", "A clinic"],
        ["a", "benign", "a.jpg", None, None, None],
    )
    for name in ("images/a.jpg", "images/b.jpg", "masks/b_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    return tmp_path


def write(folder, *rows):
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "metadata.csv", index=False)


def read(raw_dir, *, dataset="isic", licence=None, attribution=None):
    return readers.read_records(dataset, raw_dir, licence=licence, attribution=attribution, **TARGET_RULE)


def test_records_have_the_common_columns_in_order_of_image_id(raw_dir):
    records = read(raw_dir)
    assert tuple(records.columns) == RECORD_COLUMNS
    assert records["image_id"].tolist() == ["a", "b"]
    assert set(records["dataset"]) == {"isic"}


def test_clinical_attributes_are_missing_where_a_dataset_has_none(raw_dir):
    assert read(raw_dir)[list(CLINICAL_DTYPES)].isna().all(axis=None)


def test_paths_start_with_the_folder_as_given(raw_dir):
    records = read(raw_dir)
    assert records["path"].tolist() == [f"{raw_dir.as_posix()}/images/{name}.jpg" for name in "ab"]
    assert records["mask_path"][1] == f"{raw_dir.as_posix()}/masks/b_mask.png"
    assert pd.isna(records["mask_path"][0])


def test_licence_and_attribution_are_filled_in_only_where_rows_are_silent(raw_dir):
    filled = read(raw_dir, licence="CC-0", attribution="The archive")
    assert filled["licence"].tolist() == ["CC-0", "CC-BY"]
    assert filled["attribution"].tolist() == ["The archive", "A clinic"]
    silent = read(raw_dir)
    assert silent["licence"].isna().tolist() == [True, False]
    assert silent["attribution"].isna().tolist() == [True, False]


def test_an_unknown_dataset_is_refused_and_the_known_ones_named(raw_dir):
    with pytest.raises(
        DataError,
        match=re.escape(f"no reader for dataset 'ham'; expected one of {sorted(readers.READERS)}"),
    ):
        read(raw_dir, dataset="ham")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist.*pipelines\.fetch"):
        read(tmp_path / "nowhere")


def test_a_row_without_its_image_is_refused(raw_dir):
    (raw_dir / "images" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"1 rows name files that are not in .*images: a\.jpg"):
        read(raw_dir)


def test_a_row_without_the_mask_it_names_is_refused(raw_dir):
    (raw_dir / "masks" / "b_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 rows name files that are not in .*masks: b_mask\.png"):
        read(raw_dir)


def test_an_image_without_a_row_is_refused(raw_dir):
    for number in range(7):
        (raw_dir / "images" / f"more{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"7 files have no row .*more0\.jpg, .*more4\.jpg and 2 more"):
        read(raw_dir)


def test_a_row_that_names_no_image_file_is_refused(raw_dir):
    write(raw_dir, ["a", "benign", None, None, None, None], ["b", "benign", "b.jpg", None, None, None])
    with pytest.raises(DataError, match="1 rows have a blank image_file"):
        read(raw_dir)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("a", "a"), "Each image_id must occur once; 1 are repeated: a"),
        ((None, "b"), "1 rows have a blank"),
    ],
)
def test_ids_must_be_there_and_unique(raw_dir, ids, message):
    write(
        raw_dir,
        *([name, "benign", f"{file}.jpg", None, None, None] for name, file in zip(ids, "ab", strict=True)),
    )
    with pytest.raises(DataError, match=message):
        read(raw_dir)
