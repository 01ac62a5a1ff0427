import pandas as pd
import pytest

from melanoma.data.checks import check_tables
from melanoma.data.checks.facts import FACT_DTYPES
from melanoma.errors import DataError
from melanoma.schema import CLASSES, RECORD_DTYPES
from tests.data.toys import fact, facts_of, record, records_of


def test_images_without_facts_are_refused_instead_of_dropped():
    rows = records_of(record("a"), record("b"))
    with pytest.raises(DataError, match="1 images in the records were not inspected: b"):
        check_tables.build_image_table(rows, facts_of(fact("a")))
    assert len(check_tables.build_image_table(rows, facts_of(fact("a"), fact("b"), fact("c")))) == 2


def test_an_id_that_occurs_twice_stays_twice_for_the_check_to_see():
    rows, facts = records_of(record("a"), record("b")), facts_of(fact("a"), fact("b"))
    twice = pd.concat([rows, rows[:1]]), pd.concat([facts, facts[:1]])
    assert check_tables.build_image_table(*twice)["image_id"].tolist() == ["a", "b", "a"]


def test_the_smaller_side_is_known_where_both_are():
    sides = [(300, 200), (200, 300), (None, None)]
    facts = facts_of(*(fact(f"i{n}", width=w, height=h) for n, (w, h) in enumerate(sides)))
    table = check_tables.build_image_table(records_of(*(record(f"i{n}") for n in range(3))), facts)
    assert table["smaller_side"].tolist() == [200, 200, pd.NA]


@pytest.mark.parametrize(
    ("excluded_ids", "counts"),
    [([], [2, 2, 2]), (["a"], [0, 1, 1]), (["b"], [2, 0, 2]), (["a", "nobody"], [0, 1, 1])],
)
@pytest.mark.parametrize("key", ["sha256", "pixels_sha256"])
def test_labels_of_copies_are_counted_without_the_excluded(key, excluded_ids, counts):
    rows = [record("a", target=1), record("b", target=0), record("c", target=0)]
    facts = facts_of(*(fact(name, **{key: "same"}) for name in "abc"))
    table = check_tables.build_image_table(records_of(*rows), facts, excluded_ids=excluded_ids)
    assert table["labels_of_copies"].tolist() == counts


def test_absent_and_unconvertible_columns_are_missing_throughout():
    records = records_of(record("a")).drop(columns="sex").assign(age_years=["old"], target=["1"])
    table = check_tables.build_image_table(records, facts_of(fact("a")))
    assert table["sex"].isna().all()
    assert table["age_years"].isna().all()
    assert table["target"].tolist() == [1]
    assert table["target"].dtype == RECORD_DTYPES["target"]


def test_each_column_of_both_tables_is_compared_with_its_declaration():
    table = check_tables.build_column_table(records_of(record("a")), facts_of(fact("a")))
    assert len(table) == len(RECORD_DTYPES) + len(FACT_DTYPES)
    assert (table["declared_type"] == table["found_type"]).all()


def test_all_classes_but_two_are_certainly_benign_or_malignant():
    table = check_tables.MALIGNANCY_OF_CLASS
    unsure = {"actinic keratosis or squamous cell carcinoma", "other"}
    assert set(table) == set(CLASSES) - unsure
    assert table["melanoma"] == table["basal cell carcinoma"] == "malignant"
    assert table["nevus"] == table["dermatofibroma"] == table["vascular lesion"] == "benign"


def test_sides_of_groups_and_bytes_are_counted_where_they_are_known():
    rows = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "dataset": "toy",
            "group_id": ["g", "g", "h", None],
            "target": [0, 1, 1, None],
            "split": ["train", "test", "test", "test"],
            "sha256": ["x", None, "x", None],
        }
    ).astype({"target": "Int64"})
    table = check_tables.build_split_table(rows)
    assert table["sides_of_group"].tolist() == [2, 2, 1, 0]
    assert table["sides_of_bytes"].tolist() == [2, 0, 2, 0]
    assert table["is_test"].tolist() == [0, 1, 1, 1]
    assert table["malignant_in_test"].tolist()[1:3] == [1, 1]
    assert table["malignant_in_test"].isna().tolist() == [True, False, False, True]
