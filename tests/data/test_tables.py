import pandas as pd
import pytest

from melanoma.data import tables
from melanoma.errors import DataError
from melanoma.files import write_csv, write_parquet
from melanoma.schema import PAIR_COLUMNS


def test_tables_are_read_one_below_the_other_with_the_columns_asked_for(tmp_path):
    write_parquet(pd.DataFrame({"image_id": ["b", "a"], "more": [1, 2]}), tmp_path / "one.parquet")
    write_parquet(pd.DataFrame({"image_id": ["c"], "more": [3]}), tmp_path / "other.parquet")
    table = tables.read_tables(tmp_path, ["one", "other"], ["image_id"])
    assert table.to_dict("list") == {"image_id": ["b", "a", "c"], "dataset": ["one", "one", "other"]}
    assert table.index.tolist() == [0, 1, 2]


def test_a_table_without_rows_is_no_fault(tmp_path):
    write_parquet(pd.DataFrame({"image_id": []}), tmp_path / "one.parquet")
    assert tables.read_tables(tmp_path, ["one"], ["image_id"]).columns.tolist() == ["image_id", "dataset"]


def test_an_id_in_two_datasets_is_refused(tmp_path):
    write_parquet(pd.DataFrame({"image_id": ["b", "a"]}), tmp_path / "one.parquet")
    write_parquet(pd.DataFrame({"image_id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"1 image ids occur in several of the datasets .*: a\. Ids must be"):
        tables.read_tables(tmp_path, ["one", "other"], ["image_id"])


def test_a_missing_table_and_a_missing_column_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"one\.parquet does not exist"):
        tables.read_tables(tmp_path, ["one"], ["image_id"])
    write_parquet(pd.DataFrame({"image_id": ["b"]}), tmp_path / "one.parquet")
    with pytest.raises(DataError, match=r"one\.parquet lacks the columns \['target'\]"):
        tables.read_tables(tmp_path, ["one"], ["image_id", "target"])


def test_pairs_are_read_as_text(tmp_path):
    row = ("NA", "001", "near duplicate", 3)
    pairs = pd.DataFrame([row], columns=[*PAIR_COLUMNS, "distance"])
    write_csv(pairs, tmp_path / "pairs.csv")
    assert tables.read_pairs(tmp_path / "pairs.csv").to_numpy().tolist() == [["NA", "001", "near duplicate"]]
    write_csv(pd.DataFrame({"image_id": ["a"]}), tmp_path / "pairs.csv")
    with pytest.raises(DataError, match=r"pairs\.csv lacks the columns \['other_image_id', 'reason'\]"):
        tables.read_pairs(tmp_path / "pairs.csv")
