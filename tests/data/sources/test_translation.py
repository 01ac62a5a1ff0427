import pandas as pd
import pytest

from melanoma.data.sources import translation
from melanoma.data.sources.translation import translate, value_of
from melanoma.errors import DataError

UNKNOWN = [
    "",
    " ",
    "unknown",
    "Unknown",
    "UNKNOWN ",
    "n/a",
    "NA",
    "-",
    "not known",
    "Not  stated",
    "nan",
    "?",
]


@pytest.mark.parametrize("cell", UNKNOWN)
@pytest.mark.parametrize(
    "name", ["AGE_YEARS", "SEX", "LABEL", "SKIN_TYPE", "TEXT", "SITE", "LICENCE", "IMAGE_TYPE"]
)
def test_what_means_not_known_is_blank_in_every_column(name, cell):
    assert value_of(cell, getattr(translation, name)) is None


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        ("55", 55.0),
        ("55.0", 55.0),
        ("55,0", 55.0),
        (" 45 ", 45.0),
        ("85+", 85.0),
        ("85 +", 85.0),
        (">85", 85.0),
        (">= 85", 85.0),
        ("55 years", 55.0),
        ("55 years old", 55.0),
        ("85 and over", 85.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("150", 150.0),
    ],
)
def test_ages_are_read_as_people_write_them(cell, years):
    assert value_of(cell, translation.AGE_YEARS) == years


@pytest.mark.parametrize(
    "cell", ["old", "400", "151", "-5", "50-55", "1e2", "55.0.0", "5 5", "inf", "<18", "٥٥"]
)
def test_what_is_no_age_cannot_be_read(cell):
    with pytest.raises(ValueError, match="cannot be read; expected years from 0 to 150"):
        value_of(cell, translation.AGE_YEARS)


@pytest.mark.parametrize(
    ("rule", "cell", "value"),
    [
        ("SEX", "Female", "female"),
        ("SEX", " F ", "female"),
        ("SEX", "male ", "male"),
        ("SEX", "M", "male"),
        ("LABEL", " Malignant ", "malignant"),
        ("LABEL", "BENIGN", "benign"),
        ("LABEL", "Indeterminate", "indeterminate"),
        ("SKIN_TYPE", "ii", "II"),
        ("SKIN_TYPE", "6", "VI"),
        ("SKIN_TYPE", "Type III", "III"),
        ("LICENCE", "cc-by", "CC-BY"),
        ("LICENCE", "CC BY-NC", "CC-BY-NC"),
        ("LICENCE", "CC0", "CC-0"),
        ("LICENCE", "MIT", "MIT"),
        ("SITE", "Anterior  Torso", "anterior torso"),
        ("DIAGNOSIS", "Melanoma", "melanoma"),
        ("DIAGNOSIS", " lentigo NOS", "lentigo nos"),
        ("DIAGNOSIS", " Wart NOS", "Wart NOS"),
        ("IMAGE_TYPE", " Dermoscopic", "dermoscopic"),
        ("IMAGE_TYPE", "dermoscopy", "dermoscopic"),
        ("IMAGE_TYPE", "Dermatoscopic image", "dermoscopic"),
        ("IMAGE_TYPE", "TBP tile: close-up", "TBP tile: close-up"),
        ("IMAGE_TYPE", "non-dermoscopic", "non-dermoscopic"),
        ("TEXT", " IP_1 ", "IP_1"),
    ],
)
def test_words_become_those_of_the_schema(rule, cell, value):
    assert value_of(cell, getattr(translation, rule)) == value


@pytest.mark.parametrize(
    ("rule", "cell"),
    [("SEX", "robot"), ("SEX", "1"), ("LABEL", "malignant?"), ("LABEL", "1"), ("SKIN_TYPE", "VII")],
)
def test_words_outside_a_closed_vocabulary_cannot_be_read(rule, cell):
    with pytest.raises(ValueError, match="cannot be read; expected"):
        value_of(cell, getattr(translation, rule))


RULES = {"age": translation.AGE_YEARS, "sex": translation.SEX, "absent": translation.TEXT}


def test_a_table_is_translated_and_keeps_its_rows_and_other_columns():
    table = pd.DataFrame(
        {"image_id": ["NA", "b"], "age": ["85+", "unknown"], "sex": ["F", None], "note": ["unknown", " x"]},
        index=[7, 3],
        dtype="string",
    )
    translated, bad = translate(table, RULES)
    assert bad == []
    assert translated.index.tolist() == [7, 3]
    assert translated["image_id"].tolist() == ["NA", "b"]
    assert translated["age"].fillna(-1).tolist() == [85.0, -1]
    assert translated["sex"].fillna("blank").tolist() == ["female", "blank"]
    assert translated["note"].tolist() == ["unknown", " x"]


def test_unreadable_cells_are_named_by_column_row_and_image_with_the_first_five_and_the_cure():
    table = pd.DataFrame(
        {"image_id": list("abcdefg"), "age": ["old", *["400"] * 4, "5", "6"], "sex": [*["f"] * 6, "robot"]},
        index=range(2, 9),
        dtype="string",
    )
    translated, bad = translate(table, RULES)
    assert translated["age"].isna().tolist() == [True] * 5 + [False] * 2
    with pytest.raises(
        DataError,
        match=r"here\.csv: 6 cells cannot be read: age 'old' \(row 2, a\), age '400' \(row 3, b\), .*"
        r"\(row 6, e\) and 1 more\. Expected age: years from 0 to 150, .*; sex: female, male, .*"
        "Correct these cells, or leave them blank",
    ):
        translation.require_readable(bad, "here.csv")


def test_a_table_that_can_be_read_is_not_refused():
    translation.require_readable([], "here.csv")
