from typing import Any

import pandas as pd
import pytest
from great_expectations import expectations as gxe

from melanoma.data import checks
from melanoma.errors import DataError
from tests.data.toys import LIMITS, fact, facts_of, record, records_of

# What the record, or the facts, of an image say unlike a good image's.
Changes = dict[str, Any]
# Images that are judged together, by a letter: the changes of the record and those of the facts.
Case = dict[str, tuple[Changes, Changes]]


def one(record_changes: Changes, fact_changes: Changes | None = None) -> Case:
    return {"x": (record_changes, fact_changes or {})}


UNREADABLE: Changes = {
    "decodes": False,
    "problem": "truncated",
    "pixels_sha256": None,
    "sharpness": None,
    "brightness": None,
    "contrast": None,
}
MISSING_FILE = UNREADABLE | {"sha256": None, "width": None, "height": None, "num_bytes": None}
SAME_BYTES: Changes = {"sha256": "shared"}
UNLABELLED: Changes = {"target": None, "diagnosis": None}

REFUSED: dict[str, list[Case]] = {
    "unreadable": [one({}, UNREADABLE), one({}, MISSING_FILE)],
    "label_missing": [one(UNLABELLED)],
    "label_unknown": [one({"target": 2, "diagnosis": None}), one({"target": -1, "diagnosis": None})],
    "label_contradicts_diagnosis": [
        one({"target": 0, "diagnosis": "melanoma"}),
        one({"target": 1, "diagnosis": "nevus"}),
        one({"target": 1, "diagnosis": "atypical nevus"}),
        one({"target": 1, "diagnosis": "seborrheic keratosis"}),
    ],
    "too_narrow": [one({}, {"width": 149})],
    "too_low": [one({}, {"height": 149})],
    "blurred": [one({}, {"sharpness": 1.99})],
    "bad_exposure": [one({}, {"brightness": 0.24}), one({}, {"brightness": 0.76})],
    "no_contrast": [one({}, {"contrast": 0.12})],
    "age_out_of_range": [one({"age_years": -1.0}), one({"age_years": 120.5})],
    "licence_missing": [one({"licence": None})],
    "licence_not_allowed": [one({"licence": "CC-BY-ND"})],
    "lesion_of_several_patients": [
        {
            "x": ({"lesion_id": "shared", "patient_id": "p"}, {}),
            "y": ({"lesion_id": "shared", "patient_id": "q"}, {}),
        }
    ],
    "copy_with_unlike_label": [
        {
            "x": ({}, SAME_BYTES),
            "y": ({"target": 1, "diagnosis": "melanoma"}, SAME_BYTES),
        }
    ],
}

LEGAL: dict[str, list[Case]] = {
    "unreadable": [one({})],
    "label_missing": [one({})],
    "label_unknown": [one({"target": 0}), one({"target": 1, "diagnosis": "melanoma"})],
    "label_contradicts_diagnosis": [
        one({"target": 1, "diagnosis": "melanoma"}),
        one({"target": 0, "diagnosis": "atypical nevus"}),
        one({"target": 0, "diagnosis": "seborrheic keratosis"}),
        one({"target": 1, "diagnosis": "basal cell carcinoma"}),  # no diagnosis of the list
        one({"target": 1, "diagnosis": None}),
    ],
    "too_narrow": [one({}, {"width": 150})],
    "too_low": [one({}, {"height": 150})],
    "blurred": [one({}, {"sharpness": 2.0})],
    "bad_exposure": [one({}, {"brightness": 0.25}), one({}, {"brightness": 0.75})],
    "no_contrast": [one({}, {"contrast": 0.125})],
    "age_out_of_range": [one({"age_years": 0.0}), one({"age_years": 120.0}), one({"age_years": None})],
    "licence_missing": [one({})],
    "licence_not_allowed": [one({"licence": "CC-BY"})],
    "lesion_of_several_patients": [
        {
            "x": ({"lesion_id": "shared", "patient_id": "p"}, {}),
            "y": ({"lesion_id": "shared", "patient_id": "p"}, {}),
            "z": ({"lesion_id": "shared", "patient_id": None}, {}),
        },
        {
            "x": ({"lesion_id": None, "patient_id": "p"}, {}),
            "y": ({"lesion_id": None, "patient_id": "q"}, {}),
        },
        {
            "x": ({"lesion_id": "one", "patient_id": "p"}, {}),
            "y": ({"lesion_id": "other", "patient_id": "p"}, {}),
        },
    ],
    "copy_with_unlike_label": [{"x": ({}, {}), "y": ({"target": 1, "diagnosis": "melanoma"}, {})}],
    "repeated_file": [{"x": ({}, {}), "y": ({}, {})}],
}


def flatten(cases: dict[str, list[Case]]) -> list:
    return [
        pytest.param(f"{name}-{number}", name, id=f"{name}-{number}")
        for name, variants in cases.items()
        for number in range(len(variants))
    ]


def table_of(cases: dict[str, list[Case]]) -> pd.DataFrame:
    """One table of all cases, each with lesions, patients and bytes of its own."""
    rows, facts = [], []
    for name, variants in cases.items():
        for number, images in enumerate(variants):
            for letter, (record_changes, fact_changes) in images.items():
                image_id = f"{name}-{number}-{letter}"
                rows.append(record(image_id, **_own(record_changes, f"{name}-{number}")))
                facts.append(fact(image_id, **_own(fact_changes, f"{name}-{number}")))
    return checks.build_table(records_of(*rows), facts_of(*facts))


def _own(changes: Changes, case: str) -> Changes:
    return {key: f"{case}-shared" if value == "shared" else value for key, value in changes.items()}


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    return checks.Validator(tmp_path_factory.mktemp("expectations"))


@pytest.fixture(scope="module")
def refused(validator):
    return validator.run(table_of(REFUSED), checks.row_checks(LIMITS), suite_name="refused")


@pytest.fixture(scope="module")
def legal(validator):
    return validator.run(table_of(LEGAL), checks.row_checks(LIMITS), suite_name="legal")


def run_row_checks(validator, rows, facts, suite_name: str) -> dict[str, list[str]]:
    table = checks.build_table(records_of(*rows), facts_of(*facts))
    return checks.quarantine_reasons(validator.run(table, checks.row_checks(LIMITS), suite_name=suite_name))


# ---- checks of rows --------------------------------------------------------------------------


def test_every_row_check_has_a_refusal_and_a_legal_twin_here():
    names = [check.name for check in checks.row_checks(LIMITS)]
    assert [*REFUSED, "repeated_file"] == names == list(LEGAL)


@pytest.mark.parametrize(("case", "name"), flatten(REFUSED))
def test_a_row_check_takes_out_its_offenders_for_this_reason_only(refused, case, name):
    reasons = checks.quarantine_reasons(refused)
    images = [image_id for image_id in reasons if image_id.rpartition("-")[0] == case]
    number = int(case.rpartition("-")[2])
    assert images == [f"{case}-{letter}" for letter in REFUSED[name][number]]
    assert all(reasons[image_id] == [name] for image_id in images)


@pytest.mark.parametrize(("case", "name"), flatten(LEGAL))
def test_a_row_check_leaves_the_legal_twin_alone(legal, case, name):
    (outcome,) = (outcome for outcome in legal if outcome.name == name)
    assert outcome.is_passed
    assert outcome.failing_ids == []
    assert not [image_id for image_id in checks.quarantine_reasons(legal) if image_id.startswith(case)]


def test_all_row_checks_quarantine_and_none_stops_the_graph():
    assert {check.severity for check in checks.row_checks(LIMITS)} == {"quarantine"}


def test_a_failing_row_check_is_not_passed(refused):
    failed = {outcome.name for outcome in refused if not outcome.is_passed}
    assert failed == set(REFUSED)


def test_only_later_copies_of_a_file_are_repeated(validator):
    rows = [record("a"), record("b"), record("c"), record("d")]
    facts = [fact("a", **SAME_BYTES), fact("b", **SAME_BYTES), fact("c", **SAME_BYTES), fact("d")]
    reasons = run_row_checks(validator, rows, facts, "copies")
    assert reasons == {"b": ["repeated_file"], "c": ["repeated_file"]}


def test_a_labelled_copy_stays_when_the_first_one_has_no_label(validator):
    rows = [record("a", **UNLABELLED), record("b"), record("c")]
    facts = [fact("a", **SAME_BYTES), fact("b", **SAME_BYTES), fact("c", **SAME_BYTES)]
    reasons = run_row_checks(validator, rows, facts, "unlabelled-copy")
    assert reasons == {"a": ["label_missing"], "c": ["repeated_file"]}


def test_all_copies_leave_when_labels_contradict(validator):
    malignant = {"target": 1, "diagnosis": "melanoma"}
    rows = [record("a"), record("b"), record("c", **malignant), record("d", **malignant)]
    facts = [fact(name, **SAME_BYTES) for name in "abc"] + [fact("d")]
    reasons = run_row_checks(validator, rows, facts, "contradiction")
    assert reasons == {name: ["copy_with_unlike_label"] for name in "abc"}


def test_missing_files_are_no_copies_of_each_other(validator):
    rows = [record("a"), record("b", target=1, diagnosis="melanoma"), record("c")]
    facts = [fact(name, **MISSING_FILE) for name in "abc"]
    reasons = run_row_checks(validator, rows, facts, "missing-files")
    assert reasons == {name: ["unreadable"] for name in "abc"}


def test_an_image_with_several_faults_has_all_reasons_in_the_order_of_the_checks(validator):
    rows = [record("a", licence=None, age_years=130.0, **UNLABELLED)]
    reasons = run_row_checks(validator, rows, [fact("a", height=10, width=10)], "several")
    assert reasons == {"a": ["label_missing", "too_narrow", "too_low", "age_out_of_range", "licence_missing"]}


def test_images_without_facts_are_refused_instead_of_dropped():
    rows = records_of(record("a"), record("b"))
    with pytest.raises(DataError, match="1 images of the records were not inspected: b"):
        checks.build_table(rows, facts_of(fact("a")))
    assert len(checks.build_table(rows, facts_of(fact("a"), fact("b"), fact("c")))) == 2


# ---- checks of the whole table ---------------------------------------------------------------

GOOD_TABLE: dict[str, list[Any]] = {
    "image_id": ["a", "b"],
    "path": ["a.png", "b.png"],
    "is_synthetic": [True, False],
}


def failing_table_checks(validator, table: dict[str, list[Any]], suite_name: str) -> list[str]:
    outcomes = validator.run(pd.DataFrame(table), checks.table_checks(), suite_name=suite_name)
    assert {outcome.severity for outcome in outcomes} == {"critical"}
    return [outcome.name for outcome in outcomes if not outcome.is_passed]


def test_a_good_table_passes_all_table_checks(validator):
    assert len(checks.table_checks()) == 4
    assert failing_table_checks(validator, GOOD_TABLE, "good table") == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("image_id_known", {"image_id": ["a", None]}),
        ("image_id_unique", {"image_id": ["a", "a"]}),
        ("one_file_a_row", {"path": ["a.png", "a.png"]}),
        ("origin_known", {"is_synthetic": [True, None]}),
    ],
)
def test_a_table_check_fails_by_its_name(validator, name, changes):
    assert failing_table_checks(validator, GOOD_TABLE | changes, f"bad {name}") == [name]


# ---- checks of what is left ------------------------------------------------------------------


def failing_accepted_checks(validator, targets: list[int], suite_name: str) -> list[str]:
    table = pd.DataFrame({"image_id": [str(number) for number in range(len(targets))], "target": targets})
    outcomes = validator.run(table, checks.accepted_checks(LIMITS), suite_name=suite_name)
    assert {outcome.severity for outcome in outcomes} == {"critical"}
    return [outcome.name for outcome in outcomes if not outcome.is_passed]


@pytest.mark.parametrize(
    ("targets", "failing"),
    [
        ([0, 0, 0, 1], []),  # 4 images, 1/4 malignant: both at their lower limits
        ([0, 1, 1, 1], []),  # 3/4: at the upper limit
        ([0, 0, 1], ["enough_images"]),
        ([0, 0, 0, 0, 1], ["class_balance"]),  # 1/5
        ([0, 1, 1, 1, 1], ["class_balance"]),  # 4/5
        ([], ["enough_images", "class_balance"]),
    ],
)
def test_enough_images_of_both_classes_must_be_left(validator, targets, failing):
    assert failing_accepted_checks(validator, targets, f"accepted {targets}") == failing


def test_the_data_docs_have_a_page_to_start_from(validator, legal):
    assert (validator.docs_folder() / "index.html").is_file()


def test_a_check_that_cannot_be_run_does_not_count_as_passed(tmp_path):
    table = pd.DataFrame({"image_id": ["a"], "width": [200.0]})
    there = checks.Check("there", "quarantine", gxe.ExpectColumnValuesToNotBeNull(column="width"))
    absent = checks.Check("absent", "quarantine", gxe.ExpectColumnValuesToNotBeNull(column="height"))
    validator = checks.Validator(tmp_path)
    assert validator.run(table, [there], suite_name="legal")[0].is_passed
    with pytest.raises(DataError, match="The check absent could not be run"):
        validator.run(table, [absent], suite_name="broken")
