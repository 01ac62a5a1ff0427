import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma.errors import DataError
from melanoma.schema import (
    CLASS_OF_DIAGNOSIS,
    CLASSES,
    RECORD_COLUMNS,
    RECORD_DTYPES,
    WORDS_OF_CLASS,
    align,
    conform_records,
    diagnosis_classes,
    known_classes,
    positive_means,
    require_columns,
)


def frame(**columns: object) -> pd.DataFrame:
    """Two rows with what a reader must give, and `columns`."""
    required = {
        "image_id": ["b", "a"],
        "dataset": ["toy", "toy"],
        "target": [0, 1],
        "path": ["b.png", "a.png"],
    }
    return pd.DataFrame(required | columns)


def test_records_have_all_columns_with_their_types_in_order_of_image_id():
    records = conform_records(frame())
    assert tuple(records.columns) == RECORD_COLUMNS
    assert {name: str(dtype) for name, dtype in records.dtypes.items()} == RECORD_DTYPES
    assert records["image_id"].tolist() == ["a", "b"]
    assert records["path"].tolist() == ["a.png", "b.png"]
    assert records.index.tolist() == [0, 1]


def test_columns_that_a_dataset_does_not_know_are_all_missing():
    records = conform_records(frame())
    assert records[["patient_id", "age_years", "is_synthetic", "mask_path", "colours"]].isna().all(axis=None)


def test_columns_of_no_use_are_left_out():
    assert "planted_fault" not in conform_records(frame(planted_fault="blurred"))


def test_missing_values_stay_missing():
    records = conform_records(frame(target=[None, 1], age_years=[None, 30], sex=[None, "female"]))
    assert records["target"].isna().tolist() == [False, True]
    assert records["age_years"].isna().tolist() == [False, True]
    assert records["sex"].isna().tolist() == [False, True]


def test_numbers_may_come_as_words():
    records = conform_records(frame(target=["1", "0"], age_years=["30.5", "85"]))
    assert records["target"].tolist() == [0, 1]
    assert records["age_years"].tolist() == [85.0, 30.5]


@pytest.mark.parametrize("column", ["image_id", "dataset", "target", "path"])
def test_a_required_column_that_is_absent_is_refused(column):
    with pytest.raises(DataError, match=rf"Records lack the columns \['{column}'\]"):
        conform_records(frame().drop(columns=column))


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="Records are empty"):
        conform_records(frame()[:0])


@pytest.mark.parametrize(
    "columns",
    [{"target": [0.5, 1]}, {"target": ["benign", 1]}, {"age_years": ["old", 1]}, {"is_synthetic": "yes"}],
)
def test_a_value_of_a_wrong_type_is_refused(columns):
    with pytest.raises(DataError, match="A record value has a wrong type"):
        conform_records(frame(**columns))


def test_a_blank_image_id_is_refused():
    with pytest.raises(DataError, match="1 rows have a blank image_id"):
        conform_records(frame(image_id=["a", None]))


def test_ids_that_occur_twice_are_refused_and_the_first_five_named():
    many = pd.concat([frame(image_id=[f"a{number}", f"b{number}"]) for number in (0, 0, 1, 1, 2, 2, 3, 3)])
    with pytest.raises(DataError, match="8 are repeated: a0, b0, a1, b1, a2 and 3 more"):
        conform_records(many)


def test_columns_that_a_file_lacks_are_named_with_those_it_has():
    require_columns(frame(), ("path", "target"), "here.csv")
    with pytest.raises(
        DataError, match=r"here\.csv lacks the columns \['x', 'y'\]; it has \['dataset', 'image_id',"
    ):
        require_columns(frame(), ("x", "path", "y"), "here.csv")


def test_every_diagnosis_has_a_class_and_what_is_blank_or_unknown_is_other():
    words = ["melanoma", "nevus", "common nevus", "Atypical Nevus ", "seborrheic keratosis", None, "", "xyz"]
    assert diagnosis_classes(pd.Series(words)).tolist() == [
        "melanoma", "nevus", "nevus", "nevus", "benign keratosis", "other", "other", "other",
    ]  # fmt: skip
    assert known_classes(pd.Series([*words, "scar"])).isna().tolist() == 5 * [False] + 3 * [True] + [False]


def test_each_class_is_a_word_of_its_own_and_each_word_is_of_one_class():
    assert {CLASS_OF_DIAGNOSIS[name] for name in CLASSES} == set(CLASSES)
    assert sum(map(len, WORDS_OF_CLASS.values())) == len(CLASS_OF_DIAGNOSIS)
    assert all(word == word.strip().lower() for word in CLASS_OF_DIAGNOSIS)


def test_names_that_only_begin_alike_are_other():
    assert diagnosis_classes(pd.Series(["nevus sebaceous", "melanomatosis"])).tolist() == ["other"] * 2


SCORES = pd.Series({"a": 0.1, "b": 0.2, "c": 0.3})


@given(order=st.permutations("abcdefgh"), kept=st.permutations("abcdefgh"), num=st.integers(0, 8))
def test_each_image_gets_its_own_value_whatever_both_orders(order, kept, num):
    wanted = kept[:num]
    values = pd.Series({name: ord(name) for name in order if name in wanted}, dtype=float)
    assert align(values, wanted, what="scores").tolist() == [ord(name) for name in wanted]
    table = values.to_frame("value").assign(name=values.index)
    assert align(table, pd.Series(wanted, dtype="string"), what="rows")["name"].tolist() == wanted


@pytest.mark.parametrize(
    ("values", "image_ids", "complaint"),
    [
        (SCORES, ["a", "b"], r"1 rows belong to other images \(c\)"),
        (SCORES, list("abcd"), r"1 images have no row \(d\)"),
        (SCORES, list("abcc"), r"1 images occur more than once \(c\)"),
        (pd.concat([SCORES, SCORES[:1]]), list("abc"), r"1 image_ids have more than one row \(a\)"),
        (
            SCORES,
            list("uvwxyz"),
            r"6 images have no row \(u, v, w, x, y and 1 more\); 3 rows belong",
        ),
        (SCORES, [], "3 rows belong to other images"),
        (SCORES[:0], ["a"], "1 images have no row"),
    ],
)
def test_values_of_other_images_are_refused_with_the_first_five(values, image_ids, complaint):
    message = f"Scores cannot be paired with the {len(image_ids)} images by image_id: .*{complaint}"
    with pytest.raises(DataError, match=message):
        align(values, image_ids, what="Scores")


def test_no_values_for_no_images_are_no_error():
    assert align(SCORES[:0], [], what="Scores").empty


@pytest.mark.parametrize(
    ("positive", "words"),
    [
        (["melanoma"], "melanoma"),
        (["basal cell carcinoma", "melanoma"], "melanoma or basal cell carcinoma"),
        (["other", "nevus", "melanoma"], "melanoma, nevus or other"),
    ],
)
def test_what_positive_means_names_the_classes_in_their_order(positive, words):
    assert positive_means(positive) == words
