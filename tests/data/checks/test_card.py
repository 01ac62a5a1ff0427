import pytest

from melanoma.data.checks import card
from melanoma.errors import DataError
from melanoma.schema import CLINICAL_DTYPES
from tests.data.card_data import ASSIGNED, FACTS, QUARANTINED, RECORDS, gathered


def page(data: card.CardData | None = None, **figures: str) -> str:
    return card.write_card(
        data or gathered(),
        shortcuts=["From a, AUC 0.5.", "From b, 1.0."],
        figures=figures,
        positive_means="melanoma or nevus",
    )


def test_the_card_says_what_positive_means():
    assert "groups. Positive means melanoma or nevus." in page()


# ---- gathering -------------------------------------------------------------------------------


def test_only_accepted_images_of_the_dataset_are_described():
    data = gathered()
    assert data.images["image_id"].tolist() == list("abcde")
    assert data.num_records == 7
    assert data.images["split"].tolist() == ["train", "train", "validation", "test", "train"]
    assert data.images["num_bytes"].tolist() == [1000, 1000, 3000, 3000, 1000]


def test_a_group_with_images_of_another_dataset_is_shared():
    assert gathered().images["is_shared"].tolist() == [False, False, True, False, False]


def test_shortcuts_are_sought_in_training_and_validation_alone_without_what_is_withheld():
    assert gathered().open_images["image_id"].tolist() == ["a", "b", "c"]


def test_facts_that_were_not_measured_are_missing():
    data = gathered(facts=FACTS[["image_id", "width", "height"]])
    assert data.images["sharpness"].isna().all()
    assert "## Files and image quality" in page(data)


def test_accepted_images_without_a_split_are_refused_and_named():
    with pytest.raises(DataError, match=r"2 accepted images of toy have no split: a, c\. Run `dvc repro"):
        gathered(assigned=ASSIGNED[~ASSIGNED["image_id"].isin(["a", "c"])])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"assigned": ASSIGNED.drop(columns="split")}, r"assigned images lacks the columns \['split'\]"),
        ({"quarantined": QUARANTINED.drop(columns="reasons")}, r"quarantine table lacks .*'reasons'"),
    ],
)
def test_tables_that_lack_a_column_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        gathered(**changes)


# ---- the page --------------------------------------------------------------------------------


def test_the_head_counts_images_classes_and_groups():
    text = page()
    assert text.startswith("# Data card: toy\n")
    assert "7 images were read, 2 quarantined, 5 accepted, 2 of them positive; they form 4 groups." in text
    assert "not a medical device" in text


def test_groups_that_count_in_both_classes_are_counted_apart():
    assert "in both rows" not in page()
    mixed = ASSIGNED.assign(group_id=ASSIGNED["group_id"].where(ASSIGNED["image_id"] != "d", "1"))
    assert "Groups with images of both classes, 1 here, count in both rows." in page(gathered(assigned=mixed))


def test_synthetic_images_are_called_so():
    assert "> **SYNTHETIC.** These images were drawn by a program" in page()
    some = RECORDS.assign(is_synthetic=RECORDS["image_id"] == "a")
    data = gathered(accepted=some[some["image_id"] < "f"])
    assert "> **SYNTHETIC.** 1 of these images were drawn" in page(data)
    none = RECORDS.assign(is_synthetic=False)
    assert "SYNTHETIC" not in page(gathered(accepted=none[none["image_id"] < "f"]))


@pytest.mark.parametrize(
    "row",
    [
        "| positive | 2 | 0.4 | 1 |",
        "| melanoma | 0 | 2 | 2 | 1 |",
        "| north | 0 | 2 | 2 | 1 |",
        "| CC-BY | 1 | 0 | 1 | 0 |",
        "| A clinic | 3 | 2 | 5 | 0.4 |",
        "| age (years) | 1 | 50 | 50 | 55 | 68.5 | 70 | 50 | 65 |",
        "| torso | 3 | 2 | 5 | 0.4 |",
        "| black | 2 | 0 | 2 | 0 |",
        "| red | 1 | 0 | 1 | 0 |",
        "| 400 x 300 | 0 | 2 | 2 | 1 |",
        "| file size (bytes) | 0 | 1,000 | 1,000 | 1,000 | 3,000 | 3,000 | 3,000 | 1,000 |",
        "| label_missing | 1 | g |",
        "| 2 | 1 | a, b |",
        "| validation | 1 | 0 | 1 | 1 | 0 |",
    ],
)
def test_every_table_is_there(row):
    assert row in page().split("\n")


def test_only_columns_with_missing_values_are_listed():
    assert "| mask_path | 1 | 0.2 |" in page()
    assert "| lesion_id |" not in page()


def test_images_whose_type_is_not_stated_are_counted():
    is_silent = RECORDS["image_id"].isin(["a", "c", "g"])
    silent = RECORDS.assign(image_type=RECORDS["image_type"].mask(is_silent))
    assert "The image type is not stated for 2 images." in page(
        gathered(accepted=silent[silent["image_id"] < "f"])
    )
    assert "is not stated" not in page()


def test_masks_are_counted():
    assert (
        "4 of 5 images have a mask of the lesion; 1 of the masks cannot be read, 1 differ in size" in page()
    )
    bare = RECORDS.assign(mask_path=None)
    assert "0 of 5 images have a mask of the lesion." in page(gathered(accepted=bare[bare["image_id"] < "f"]))


def test_what_nobody_gave_has_no_table():
    bare = RECORDS.assign(age_years=None, sex=None, **dict.fromkeys(CLINICAL_DTYPES))
    text = page(gathered(accepted=bare[bare["image_id"] < "f"]))
    assert "Not given for any image: age, sex." in text
    assert "Dermoscopic features" not in text
    assert "Dermoscopic features" in page()


def test_an_empty_quarantine_is_said():
    assert "No image was quarantined." in page(gathered(quarantined=QUARANTINED[:0]))
    assert "2 of 7 images were removed; an image may have several reasons." in page()


def test_complete_columns_are_said_to_be_so():
    data = gathered()
    whole = data.images.fillna({name: "x" for name, dtype in data.images.dtypes.items() if dtype == "string"})
    text = page(card.CardData("toy", 5, whole.fillna({"age_years": 1.0}), QUARANTINED[:0]))
    assert "Every column of the records is complete." in text


def test_images_shared_with_other_datasets_are_counted():
    assert "1 images share their group with images of other datasets." in page()
    own = ASSIGNED[ASSIGNED["dataset"] == "toy"]
    assert "share their group" not in page(gathered(assigned=own))


def test_shortcuts_stand_as_sentences_with_what_they_were_judged_on():
    text = page()
    assert "* From a, AUC 0.5.\n* From b, 1.0." in text
    assert (
        "Measured by cross-validation by group on the 3 training and validation images; the test set is "
        "not used"
    ) in text


def test_figures_are_linked_where_there_are_some():
    assert "![" not in page()
    assert "![Age by class](<toy cards/age.png>)" in page(age="toy cards/age.png")


def test_foreign_words_do_not_break_the_page():
    hostile = RECORDS.assign(attribution="<img src=x> | ](javascript:x)\n# title")
    text = page(gathered(accepted=hostile[hostile["image_id"] < "f"]))
    assert "| &lt;img src=x&gt; \\| \\](javascript:x) # title | 3 | 2 | 5 | 0.4 |" in text
