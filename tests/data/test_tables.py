import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from melanoma.data import tables
from melanoma.errors import DataError
from melanoma.files import write_csv, write_parquet
from melanoma.schema import PAIR_COLUMNS, PREDICTION_COLUMNS


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


# ---- scores that an earlier stage wrote ------------------------------------------------------

INDEX = pd.DataFrame(
    {
        "image_id": ["007", "NA", "b", "c"],
        "dataset": "toy",
        "group_id": ["01", "01", "g", "h"],
        "target": [0, 1, 0, 1],
        "split": ["validation", "validation", "test", "test"],
    }
)


def predictions() -> pd.DataFrame:
    """Two models; the probability says which image it is."""
    parts = [
        INDEX.assign(
            model=model, score=0.5, probability=np.arange(4) / 10 + shift, decision="negative", reason=""
        )
        for model, shift in (("baseline", 0.0), ("tuned", 0.5))
    ]
    return pd.concat(parts, ignore_index=True)[list(PREDICTION_COLUMNS)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)), of_index=st.permutations(range(4)))
def test_each_image_keeps_its_prediction_whatever_the_order_of_rows_and_index(tmp_path, order, of_index):
    write_csv(predictions().iloc[order], tmp_path / "predictions.csv")
    index = INDEX.iloc[of_index]
    found = tables.read_predictions(tmp_path / "predictions.csv", index)
    assert tuple(found.columns) == PREDICTION_COLUMNS
    for model, shift in (("baseline", 0.0), ("tuned", 0.5)):
        mine = found[found["model"] == model]
        assert mine["image_id"].tolist() == index["image_id"].tolist()  # as text: 007 and NA
        assert mine["probability"].tolist() == [at / 10 + shift for at in of_index]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows.drop(6), r"predictions of tuned in .* 1 images have no row \(b\)"),
        (lambda rows: rows[rows["split"] == "test"], r"of baseline .* 2 images have no row \(007, NA\)"),
        (lambda rows: pd.concat([rows, rows[:1]]), r"of baseline .* more than one row \(007\)"),
        (lambda rows: rows.replace({"image_id": {"b": "x"}}), r"\(b\); 1 rows belong to other images \(x\)"),
        (lambda rows: rows.assign(target=1 - rows["target"]), "4 images a target .*: 007, NA, b, c"),
        (lambda rows: rows.replace({"split": {"test": "train"}}), r"2 images a split .*: b, c\."),
        (lambda rows: rows.replace({"group_id": {"g": "h"}}), r"1 images a group_id .*: b\."),
        (lambda rows: rows.drop(columns="probability"), r"lacks the columns \['probability'\]"),
    ],
)
def test_predictions_of_other_images_are_refused(tmp_path, change, complaint):
    write_csv(change(predictions()), tmp_path / "predictions.csv")
    with pytest.raises(DataError, match=complaint):
        tables.read_predictions(tmp_path / "predictions.csv", INDEX)


def test_training_images_have_no_predictions(tmp_path):
    write_csv(predictions(), tmp_path / "predictions.csv")
    of_training = pd.DataFrame(
        [{"image_id": "t", "dataset": "toy", "group_id": "t", "target": 0, "split": "train"}]
    )
    found = tables.read_predictions(tmp_path / "predictions.csv", pd.concat([INDEX, of_training]))
    assert len(found) == 2 * len(INDEX)


def test_references_are_read_by_image_and_those_of_other_images_are_refused(tmp_path):
    path = tmp_path / "references.csv"
    scored = INDEX.assign(colour=[0.1, 0.2, 0.3, np.nan], file_facts=0.5, lesion_size=np.nan)
    write_csv(scored[::-1], path)
    found = tables.read_references(path, INDEX)
    assert found["image_id"].tolist() == INDEX["image_id"].tolist()
    np.testing.assert_array_equal(found["colour"], scored["colour"])
    write_csv(scored[1:], path)
    with pytest.raises(DataError, match=r"scores of references in .* 1 images have no row \(007\)"):
        tables.read_references(path, INDEX)
