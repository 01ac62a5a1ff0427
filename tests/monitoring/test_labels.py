"""Labels are joined with answers; what does not fit is left out, named and counted."""

import pandas as pd
import pytest

from melanoma.data.targets import targets
from melanoma.errors import DataError
from melanoma.monitoring import labels, records
from melanoma.monitoring.labels import (
    BEFORE_ANSWER,
    DISAGREE,
    OTHER_IMAGE,
    UNKNOWN_IMAGE,
    UNKNOWN_WORD,
    UNREADABLE_DATE,
)
from tests.monitoring.test_audit_draws import answer

ROWS = records.table(
    [
        answer("a", day=3),
        answer("a again", day=9, image_sha256="bytes of a"),
        answer("b", "g2", day=3),
        answer("refused", "g3", day=3, refusal="truncated"),
    ]
)
HEADER = "prediction_id,image_sha256,label,diagnosis,labelled_at"


def read(tmp_path, *lines, header=HEADER):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return labels.read([path], ROWS)


def found(given):
    return given.rows.set_index("prediction_id")["label"].to_dict()


@pytest.mark.parametrize("line", ["a,,positive,,", ",bytes of a,Positive,,", "a,bytes of a, POSITIVE ,,"])
def test_a_label_is_joined_by_either_id_and_holds_for_all_answers_about_the_image(tmp_path, line):
    given = read(tmp_path, line)
    assert (found(given), given.offenders) == ({"a": 1, "a again": 1}, {})


def test_an_unknown_prediction_of_a_known_image_is_joined_by_the_image(tmp_path):
    assert found(read(tmp_path, "expired,bytes of b,negative,,")) == {"b": 0}


def test_diagnosis_and_date_are_kept(tmp_path):
    (row,) = read(tmp_path, "b,,negative,nevus,2026-05-04").rows.to_dict("records")
    assert (row["diagnosis"], row["labelled_at"]) == ("nevus", pd.Timestamp("2026-05-04", tz="UTC"))


@pytest.mark.parametrize(
    ("problem", "line", "legal"),
    [
        (UNKNOWN_WORD, "a,,malignant,,", "a,,positive,,"),
        (UNKNOWN_IMAGE, "nobody,,positive,,", "a,,positive,,"),
        (UNKNOWN_IMAGE, ",,positive,,", ",bytes of a,positive,,"),
        (UNKNOWN_IMAGE, "refused,bytes of refused,positive,,", "a,bytes of a,positive,,"),
        (OTHER_IMAGE, "a,bytes of b,positive,,", "a,bytes of a,positive,,"),
        (UNREADABLE_DATE, "a,,positive,,31.05.2026", "a,,positive,,2026-05-31"),
        (BEFORE_ANSWER, "a,,positive,,2026-05-01", "a,,positive,,2026-05-02"),  # a local date may be behind
        (BEFORE_ANSWER, "a again,,positive,,2026-05-02T23:59:59Z", "a again,,positive,,2026-05-03T00:00:00Z"),
    ],
)
def test_what_does_not_fit_is_named_and_the_rest_goes_on(tmp_path, problem, line, legal):
    given = read(tmp_path, "b,,negative,,", line)
    assert (found(given), given.offenders) == ({"b": 0}, {problem: ["labels.csv:3"]})
    assert dict(given.problems) == {problem: 1}
    assert given.describe() == [f"1 {problem}: labels.csv:3"]
    given = read(tmp_path, "b,,negative,,", legal)
    assert (found(given), given.offenders) == ({"a": 1, "a again": 1, "b": 0}, {})


def test_labels_of_an_image_that_disagree_are_all_left_out(tmp_path):
    given = read(tmp_path, "a,,positive,,", "b,,negative,,", "a again,,negative,,", ",bytes of b,negative,,")
    assert (found(given), given.offenders) == ({"b": 0}, {DISAGREE: ["labels.csv:2", "labels.csv:4"]})


def test_labels_of_several_files_must_agree_too(tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("prediction_id,label\na,positive\nb,\n")
    second.write_text("image_sha256;label\nbytes of a;negative\nbytes of b;negative\n")
    given = labels.read([first, second], ROWS)
    assert (found(given), given.offenders) == ({"b": 0}, {DISAGREE: ["first.csv:2", "second.csv:2"]})


def test_a_blank_label_is_no_problem(tmp_path):
    given = read(tmp_path, "a,,,,", "b,,negative,,", "nobody,,,,")
    assert (found(given), given.offenders) == ({"b": 0}, {})


@pytest.mark.parametrize("header", ["prediction_id,decision", "image_id,label"])
def test_a_file_without_the_needed_columns_is_refused(tmp_path, header):
    with pytest.raises(DataError, match=r"labels\.csv holds no labels: it needs the columns label and"):
        read(tmp_path, "a,positive", header=header)
    assert found(read(tmp_path, "a,positive", header="prediction_id,label"))


def test_no_file_gives_no_labels():
    given = labels.read([], ROWS)
    assert (len(given.rows), list(given.rows), given.offenders) == (
        0,
        ["prediction_id", "image_sha256", "label", "diagnosis", "labelled_at"],
        {},
    )


def test_labelled_images_become_metadata_whose_targets_are_the_labels(tmp_path):
    given = read(tmp_path, "a,,positive,melanoma,", "b,,negative,,")
    table = labels.metadata_for_fetch(given.rows, ROWS).set_index("image_sha256")
    assert table.drop(columns="isic_id").fillna("").to_dict("index") == {
        "bytes of a": {"diagnosis": "melanoma", "benign_malignant": "malignant", "patient_id": "g1"},
        "bytes of b": {"diagnosis": "", "benign_malignant": "benign", "patient_id": "g2"},
    }
    said = table.rename(columns={"benign_malignant": "malignancy"})
    found_targets = targets(said, positive=["melanoma"], malignant_without_diagnosis="exclude")
    assert found_targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("label", "diagnosis", "word"),
    [
        *[
            (0.0, "basal cell carcinoma", "malignant"),
            (0.0, "nevus", "benign"),
            (1.0, "melanoma", "malignant"),
        ],
        *[(0.0, None, "benign"), (1.0, None, "malignant"), (1.0, "a new word", "malignant")],
    ],
)
def test_a_known_diagnosis_says_whether_a_lesion_is_malignant(label, diagnosis, word):
    given = pd.DataFrame({"prediction_id": ["b"], "image_sha256": ["x"], "label": label})
    given["diagnosis"] = pd.Series([diagnosis], dtype="str")
    assert labels.metadata_for_fetch(given, ROWS)["benign_malignant"].tolist() == [word]


def test_images_are_named_so_that_names_are_safe_and_differ():
    names = {"a": "IMG_1", "b": "../up", "c": "same", "d": "same", "e": None}
    rows = records.table([answer(one, one, image_id=name) for one, name in names.items()])
    given = pd.DataFrame({"prediction_id": list(names), "label": 0.0, "diagnosis": None})
    given["image_sha256"] = "bytes of " + given["prediction_id"]
    named = labels.metadata_for_fetch(given, rows)["isic_id"].tolist()
    assert named[0] == "IMG_1"
    assert "/" not in named[1]
    assert named[2:] == ["bytes of c", "bytes of d", "bytes of e"]
