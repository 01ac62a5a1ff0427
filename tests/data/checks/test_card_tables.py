import math

import pandas as pd
import pytest

from melanoma.data.checks import card_tables as tables
from tests.data.card_data import QUARANTINED, gathered
from tests.data.toys import record, records_of


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    return gathered().images


def rows(frame: pd.DataFrame) -> list[tuple]:
    return list(frame.astype(object).itertuples(index=False, name=None))


def test_classes_have_names_and_a_missing_target_one_of_its_own():
    records = records_of(record("a", target=1), record("b", target=0), record("c", target=None))
    assert tables.class_of(records).tolist() == ["positive", "negative", "no label"]


def test_classes_are_counted_with_their_groups(images):
    assert rows(tables.class_counts(images)) == [("negative", 3, 3 / 5, 3), ("positive", 2, 2 / 5, 1)]


def test_values_are_counted_by_class_with_the_most_frequent_first(images):
    counts = tables.counts_by_class(images["sex"], tables.class_of(images))
    assert list(counts.columns) == ["sex", "negative", "positive", "images", "positive fraction"]
    assert rows(counts) == [("female", 3, 0, 3, 0), ("male", 0, 1, 1, 1), ("not given", 0, 1, 1, 1)]


def test_images_without_a_label_count_but_not_in_the_fraction():
    values = pd.Series(["x", "x", "x", "y"], name="letter")
    classes = pd.Series(["positive", "negative", "no label", "no label"])
    x, y = rows(tables.counts_by_class(values, classes))
    assert x == ("x", 1, 1, 1, 3, 1 / 2)
    assert y[:5] == ("y", 0, 0, 1, 1)
    assert math.isnan(y[5])


def test_rare_values_share_one_row():
    values = pd.Series(["frequent"] * 2 + [f"rare {number:02}" for number in range(17)], name="site")
    counts = tables.counts_by_class(values, pd.Series(["negative"] * 18 + ["positive"]))
    assert len(counts) == 16
    assert rows(counts)[0] == ("frequent", 2, 0, 2, 0)
    assert rows(counts)[-1] == ("3 other values", 2, 1, 3, 1 / 3)


def test_fifteen_values_have_a_row_each():
    counts = tables.counts_by_class(
        pd.Series([str(n) for n in range(15)], name="n"), pd.Series(["negative"] * 15)
    )
    assert len(counts) == 15
    assert not counts["n"].str.contains("other").any()


def test_sizes_are_width_by_height(images):
    assert tables.sizes(images).tolist() == ["400 x 300"] * 2 + ["200 x 200"] * 3


def test_measures_have_their_spread_and_the_medians_of_both_classes(images):
    frame = tables.measures_by_class(images, {"age_years": "age", "ink_fraction": "ink"})
    age = frame.set_index("measure").loc["age"].to_dict()
    assert age["missing"] == 1
    assert (age["lowest"], age["median"], age["highest"]) == (50, 55, 70)
    assert (age["median negative"], age["median positive"]) == (50, 65)
    assert age["5 %"] == pytest.approx(50)
    assert age["95 %"] == pytest.approx(60 + 0.85 * 10)


def test_measures_that_no_image_has_are_left_out_and_a_class_without_values_is_undefined(images):
    frame = tables.measures_by_class(
        images[images["target"] == 1].assign(ink_fraction=pd.NA),
        {"ink_fraction": "ink", "age_years": "age"},
    )
    assert frame["measure"].tolist() == ["age"]
    assert math.isnan(frame["median negative"][0])


def test_columns_with_missing_values_are_named_with_how_many(images):
    missing = rows(tables.missing_values(images))
    assert ("age_years", 1, 1 / 5) in missing
    assert ("asymmetry", 5, 1) in missing
    assert "target" not in [column for column, *_ in missing]


def test_reasons_of_the_quarantine_are_counted_one_by_one():
    assert rows(tables.quarantine_reasons(QUARANTINED)) == [("blurred", 2, "f, g"), ("label_missing", 1, "g")]


def test_the_first_ten_ids_of_a_reason_are_named():
    ids = [f"i{number:02}" for number in range(12)]
    frame = tables.quarantine_reasons(pd.DataFrame({"image_id": ids, "reasons": "blurred"}))
    assert rows(frame) == [("blurred", 12, ", ".join(ids[:10]) + " and 2 more")]


def test_groups_are_counted_by_their_size(images):
    assert rows(tables.group_sizes(images)) == [(1, 3, ""), (2, 1, "a, b")]


def test_splits_leave_out_what_is_withheld_and_give_its_reason(images):
    frame = tables.splits_by_class(images).set_index("part")
    counts = frame[["negative", "positive", "images", "groups"]].to_numpy().tolist()
    assert list(frame.index) == ["train", "validation", "test", "withheld: its group is in two splits"]
    assert counts == [[0, 2, 2, 1], [1, 0, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1]]
    assert frame["positive fraction"].tolist() == [1, 0, 0, 0]


def test_an_empty_split_has_no_fraction(images):
    frame = tables.splits_by_class(images[images["split"] != "test"]).set_index("part")
    assert frame.loc["test", "images"] == 0
    assert frame["positive fraction"].isna().tolist() == [False, False, True, False]
