"""The classes of the real records: which words there are, and where malignant is not melanoma."""

import pandas as pd
import pytest

from melanoma.schema import CLASSES, diagnosis_classes

pytestmark = pytest.mark.real_data


def test_every_word_of_the_real_records_has_a_class_and_only_blanks_are_other(real_records):
    classes = diagnosis_classes(real_records["diagnosis"])
    counts = pd.crosstab(real_records["dataset"], classes).reindex(columns=list(CLASSES), fill_value=0)
    expected = {"melanoma": 40, "nevus": 160}
    assert counts.loc["ph2"].to_dict() == dict.fromkeys(CLASSES, 0) | expected
    assert real_records.loc[classes == "other", "diagnosis"].fillna("").eq("").all()
    assert counts.loc["isic", "other"] == 2


def test_one_real_lesion_is_called_malignant_and_is_no_melanoma(real_records):
    classes = diagnosis_classes(real_records["diagnosis"])
    others = real_records[(real_records["malignancy"] == "malignant") & (classes != "melanoma")]
    assert others["diagnosis"].tolist() == ["seborrheic keratosis"]
    assert others["target"].tolist() == [0]
    assert not ((real_records["target"] == 0) & (classes == "melanoma")).any()
