"""Which classes a network tells apart."""

import pandas as pd
import pytest

from melanoma.data import classes
from melanoma.data.classes import MIN_GROUPS, NOT_TOLD
from melanoma.errors import DataError

CARCINOMA = "basal cell carcinoma"


def index(*, test: tuple[str, ...] = (), **num_groups: int) -> pd.DataFrame:
    """Training images by class (`_` for a space), each a group of its own, and test images."""
    train = [name.replace("_", " ") for name, num in num_groups.items() for _ in range(num)]
    return pd.DataFrame(
        {
            "split": ["train"] * len(train) + ["test"] * len(test),
            "group_id": range(len(train) + len(test)),
            "diagnosis_class": [*train, *test],
        }
    )


def test_the_classes_are_those_of_the_training_split_in_the_order_of_the_vocabulary():
    rows = index(nevus=9, basal_cell_carcinoma=MIN_GROUPS, melanoma=9, test=("vascular lesion",))
    assert classes.present(rows, ["melanoma"]) == ("melanoma", "nevus", CARCINOMA)
    assert classes.learnt_as_other(rows, classes.present(rows, ["melanoma"])) == {}


def test_a_class_of_too_few_groups_is_learnt_as_other_and_counted():
    rows = index(melanoma=9, nevus=9, dermatofibroma=MIN_GROUPS - 1)
    names = classes.present(rows, ["melanoma"])
    assert names == ("melanoma", "nevus", "other")
    assert classes.positions(rows, names, ["melanoma"]).tolist() == [0] * 9 + [1] * 9 + [2] * 4
    assert classes.learnt_as_other(rows, names) == {"dermatofibroma": 4}


def test_many_images_of_few_groups_are_few():
    rows = index(melanoma=9, nevus=9, dermatofibroma=9)
    rows.loc[rows["diagnosis_class"] == "dermatofibroma", "group_id"] = 99
    assert classes.present(rows, ["melanoma"]) == ("melanoma", "nevus", "other")


def test_a_rare_positive_class_is_not_learnt_as_a_negative_one():
    rows = index(melanoma=9, nevus=9, basal_cell_carcinoma=1)
    assert classes.present(rows, ["melanoma", CARCINOMA]) == ("melanoma", "nevus", CARCINOMA)
    assert classes.present(rows, ["melanoma"]) == ("melanoma", "nevus", "other")


def test_where_other_is_positive_a_rare_negative_class_is_kept():
    rows = index(melanoma=9, nevus=1, dermatofibroma=1)
    assert classes.present(rows, ["melanoma", "other"]) == ("melanoma", "nevus", "dermatofibroma")


def test_an_image_of_a_class_that_nobody_learns_is_other_or_has_no_class():
    rows = index(melanoma=9, nevus=9, test=("vascular lesion", CARCINOMA))
    positive = ["melanoma", CARCINOMA]
    assert classes.positions(rows, ("melanoma", "nevus"), positive)[-2:].tolist() == [NOT_TOLD, NOT_TOLD]
    found = classes.positions(rows, ("melanoma", "nevus", "other"), positive)[-2:]
    assert found.tolist() == [2, NOT_TOLD]  # a positive image is never called a negative class


def test_a_class_that_is_not_known_is_refused_by_name():
    with pytest.raises(DataError, match=r"unknown classes: wart. Expected \['melanoma'.*--force pack"):
        classes.present(index(melanoma=9, wart=9), ["melanoma"])
