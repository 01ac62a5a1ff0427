import pandas as pd
import pytest

from melanoma.data.targets import count_without_diagnosis, describe, targets
from melanoma.schema import MALIGNANT_CLASSES

MELANOMA = ["melanoma"]
# diagnosis, malignancy, and the target if melanoma, and if any malignant class, is positive
ROWS = [
    ("melanoma", "malignant", 1, 1),
    ("Melanoma in situ ", None, 1, 1),
    ("nevus", "benign", 0, 0),
    ("nevus", None, 0, 0),
    ("basal cell carcinoma", "malignant", 0, 1),
    ("actinic keratosis", "indeterminate", 0, 1),
    ("seborrheic keratosis", "malignant", 0, 0),  # `validate` quarantines it
    ("scar", None, 0, 0),
    ("nevus", "unclear", None, None),
    ("nevus", "indeterminate", None, None),
    (None, "unclear", None, None),
    (None, None, None, None),
    ("an unknown word", None, None, None),
    (None, "benign", 0, 0),
    ("an unknown word", "benign", 0, 0),
]
ONLY_MALIGNANT = [(None, "malignant"), ("an unknown word", "malignant")]


def records(rows):
    return pd.DataFrame(rows, columns=["diagnosis", "malignancy"]).astype("string")


def find(rows, positive, rule="exclude"):
    found = targets(records(rows), positive=positive, malignant_without_diagnosis=rule)
    return [None if pd.isna(value) else value for value in found]


@pytest.mark.parametrize("rule", ["exclude", "positive"])
def test_the_diagnosis_decides_and_nothing_is_guessed(rule):
    said = [row[:2] for row in ROWS]
    assert find(said, MELANOMA, rule) == [row[2] for row in ROWS]
    assert find(said, MALIGNANT_CLASSES, rule) == [row[3] for row in ROWS]


def test_only_malignant_is_what_the_rule_says():
    assert find(ONLY_MALIGNANT, MELANOMA) == [None, None]
    assert find(ONLY_MALIGNANT, MELANOMA, "positive") == [1, 1]


def test_only_benign_has_no_target_if_a_benign_class_is_positive():
    assert find([(None, "benign"), ("melanoma", None)], ["melanoma", "nevus"]) == [None, 1]


def test_rows_for_the_rule_are_counted_and_described():
    table = records([*(row[:2] for row in ROWS), *ONLY_MALIGNANT])
    assert count_without_diagnosis(table) == {
        "num_benign_without_diagnosis": 2,
        "num_malignant_without_diagnosis": 2,
    }
    for rule, number, left in (("exclude", 2, 7), ("positive", 4, 5)):
        target = targets(table, positive=MELANOMA, malignant_without_diagnosis=rule)
        assert describe(table.assign(target=target)) == (
            f"{number} positive, 8 negative, {left} without a clear label, 2 only called benign: negative, "
            f"2 only called malignant: {'positive' if rule == 'positive' else 'excluded'}"
        )


def test_a_source_that_names_all_diagnoses_needs_no_rule():
    table = records([("nevus", None), ("melanoma", None)])
    assert describe(table.assign(target=[0, 1])) == "1 positive, 1 negative, 0 without a clear label"
