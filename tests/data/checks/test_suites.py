from typing import Any

import pandas as pd
import pytest

from melanoma import schema
from melanoma.config.data import ImageChecks, Split, TableChecks
from melanoma.data.checks import check_tables, suites
from melanoma.data.checks.validator import Check, Outcome, Validator, quarantine_reasons
from tests.data.toys import LIMITS, fact, facts_of, limits, record, records_of

# What the record, or the facts, of an image say unlike a good image's.
Changes = dict[str, Any]
# Images that are judged together, by a letter: the changes of the record and those of the facts.
Case = dict[str, tuple[Changes, Changes]]


def one(record_changes: Changes, fact_changes: Changes | None = None) -> Case:
    return {"x": (record_changes, fact_changes or {})}


def facts_only(*variants: Changes) -> list[Case]:
    return [one({}, changes) for changes in variants]


def two(key: str, first: Changes, second: Changes) -> Case:
    """Two images with one value of the fact `key`."""
    return {"x": (first, {key: "shared"}), "y": (second, {key: "shared"})}


UNREADABLE: Changes = {
    "decodes": False,
    "is_truncated": None,
    "problem": "the bytes are not an image",
    **dict.fromkeys(("pixels_sha256", "sharpness", "brightness", "contrast", "saturation")),
    **dict.fromkeys(("clipped_fraction", "dark_border_fraction", "hair_fraction", "ink_fraction")),
}
HEADERLESS = UNREADABLE | dict.fromkeys(
    ("format", "extension_fits", "mode", "bit_depth", "num_frames", "width", "height")
)
MISSING_FILE = HEADERLESS | {"sha256": None, "num_bytes": None}
NO_MASK: Changes = dict.fromkeys(("mask_decodes", "mask_fits", "lesion_fraction"))
SAME_BYTES: Changes = {"sha256": "shared"}
UNLABELLED: Changes = {"target": None, "diagnosis": None, "malignancy": "unclear"}
MELANOMA: Changes = {"target": 1, "diagnosis": "melanoma", "malignancy": "malignant"}
EXCLUDED = ("excluded_by_hand-0-x", "of another dataset")

# By check: images that must fail it, and nothing else.
REFUSED: dict[str, list[Case]] = {
    "excluded_by_hand": [one({})],
    "not_dermoscopic": [one({"image_type": "clinical: close-up"}), one({"image_type": "TBP tile: overview"})],
    "truncated": facts_only({"is_truncated": True}),
    "animated": facts_only({"num_frames": 2}),
    "unreadable": facts_only(UNREADABLE, HEADERLESS, MISSING_FILE),
    "extension_contradicts_format": facts_only({"extension_fits": False}),
    "mode_not_allowed": facts_only({"mode": "CMYK"}),
    "bit_depth_not_allowed": facts_only({"bit_depth": 16}),
    "too_small": facts_only({"width": 149}, {"height": 149}, {"width": 10, "height": 10}),
    "blurred": facts_only({"sharpness": 1.99}),
    "bad_exposure": facts_only({"brightness": 0.24}, {"brightness": 0.76}),
    "no_contrast": facts_only({"contrast": 0.12}),
    "no_colour": facts_only({"saturation": 0.06}),
    "clipped": facts_only({"clipped_fraction": 0.51}),
    "dark_border": facts_only({"dark_border_fraction": 0.51}),
    "hairy": facts_only({"hair_fraction": 0.26}),
    "mask_broken": facts_only({"mask_decodes": False, "mask_fits": None, "lesion_fraction": None}),
    "mask_of_other_geometry": facts_only({"mask_fits": False}),
    "lesion_tiny": facts_only({"lesion_fraction": 0.06}, {"lesion_fraction": 0.0}),
    "label_missing": [one(UNLABELLED)],
    "label_unknown": [one({"target": 2, "diagnosis": None}), one({"target": -1, "diagnosis": None})],
    "label_contradicts_diagnosis": [
        one({"malignancy": "benign", "diagnosis": "melanoma"}),
        one({"malignancy": "benign", "diagnosis": " Melanoma In Situ"}),
        one({"malignancy": "benign", "diagnosis": "Basal Cell Carcinoma"}),
        one({"malignancy": "malignant", "diagnosis": "nevus"}),
        one({"malignancy": "malignant", "diagnosis": "atypical nevus"}),
        one({"malignancy": "malignant", "diagnosis": "seborrheic keratosis"}),
        one({"malignancy": "malignant", "diagnosis": "DERMATOFIBROMA"}),
    ],
    "image_type_not_stated": [one({"image_type": None})],
    "age_out_of_range": [one({"age_years": -1.0}), one({"age_years": 120.5})],
    "sex_unknown": [one({"sex": "f"}), one({"sex": "Female"})],
    "licence_missing": [one({"licence": None})],
    "licence_not_allowed": [one({"licence": "CC-BY-ND"})],
    "lesion_of_several_patients": [
        {
            "x": ({"lesion_id": "shared", "patient_id": "p"}, {}),
            "y": ({"lesion_id": "shared", "patient_id": "q"}, {}),
        }
    ],
    "copy_with_unlike_label": [two("sha256", {}, MELANOMA), two("pixels_sha256", MELANOMA, {})],
}

# By check: images that must pass it, and all else.
LEGAL: dict[str, list[Case]] = {
    "excluded_by_hand": [one({})],
    "not_dermoscopic": [one({"image_type": "dermoscopic"})],
    "truncated": facts_only({"is_truncated": None}),
    "animated": facts_only({"num_frames": 1}),
    "unreadable": facts_only({}),
    "extension_contradicts_format": facts_only({"extension_fits": None}),
    "mode_not_allowed": facts_only({"mode": "L"}),
    "bit_depth_not_allowed": facts_only({"bit_depth": 8}, {"bit_depth": 1}),
    "too_small": facts_only({"width": 150}, {"height": 150}),
    "blurred": facts_only({"sharpness": 2.0}),
    "bad_exposure": facts_only({"brightness": 0.25}, {"brightness": 0.75}),
    "no_contrast": facts_only({"contrast": 0.125}),
    "no_colour": facts_only({"saturation": 0.0625}),
    "clipped": facts_only({"clipped_fraction": 0.5}),
    "dark_border": facts_only({"dark_border_fraction": 0.5}),
    "hairy": facts_only({"hair_fraction": 0.25}),
    "mask_broken": facts_only(NO_MASK),
    "mask_of_other_geometry": facts_only(NO_MASK),
    "lesion_tiny": facts_only({"lesion_fraction": 0.0625}, {"lesion_fraction": 1.0}),
    "label_missing": [one({})],
    "label_unknown": [one({"target": 0}), one({"target": 1})],
    "label_contradicts_diagnosis": [
        one({"malignancy": "malignant", "diagnosis": "Melanoma"}),
        one({"malignancy": "malignant", "diagnosis": "squamous cell carcinoma"}),
        one({"malignancy": "benign", "diagnosis": "atypical nevus"}),
        one({"malignancy": "benign", "diagnosis": "Vascular lesion"}),
        one({"malignancy": "malignant", "diagnosis": "actinic keratosis"}),  # neither benign nor malignant
        one({"malignancy": "malignant", "diagnosis": None}),
        one({"malignancy": None, "diagnosis": "melanoma"}),  # the source only has diagnoses
        one({"malignancy": "benign", "target": 1}),  # the target may be any class
    ],
    "image_type_not_stated": [one({"image_type": "dermoscopic"})],
    "age_out_of_range": [one({"age_years": 0.0}), one({"age_years": 120.0}), one({"age_years": None})],
    "sex_unknown": [one({"sex": "male"}), one({"sex": None})],
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
    "copy_with_unlike_label": [{"x": ({}, {}), "y": (MELANOMA, {})}, two("pixels_sha256", {}, {})],
}


IDENTITY: dict[str, dict[str, list[Any]]] = {
    "image_id_known": {"image_id": ["a", None]},
    "image_id_unique": {"image_id": ["a", "a"]},
    "one_image_a_file": {"path": ["a.png", "a.png"]},
    "origin_known": {"is_synthetic": [True, None]},
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
    return check_tables.build_image_table(records_of(*rows), facts_of(*facts))


def _own(changes: Changes, case: str) -> Changes:
    return {key: f"{case}-shared" if value == "shared" else value for key, value in changes.items()}


JUDGED = limits(
    # Whether a failure leaves the graph running is tried elsewhere: here every failure is a reason.
    severities=dict.fromkeys(ImageChecks.model_fields, "quarantine"),
    excluded_ids=list(EXCLUDED),
)


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    return Validator(tmp_path_factory.mktemp("expectations"), run_name="toy")


@pytest.fixture(scope="module")
def refused(validator):
    return validator.run(table_of(REFUSED), suites.image_checks(JUDGED), suite_name="refused")


@pytest.fixture(scope="module")
def legal(validator):
    judged = suites.image_checks(limits(excluded_ids=["nobody", "excluded_by_hand-0"]))  # no such images
    return validator.run(table_of(LEGAL), judged, suite_name="legal")


# ---- names and severities --------------------------------------------------------------------


def test_the_checks_in_code_are_those_whose_severity_the_parameters_declare():
    image_checks = [*suites.image_checks(LIMITS), *suites.copy_checks(LIMITS)]
    table_checks = [*suites.column_checks(LIMITS), *suites.outcome_checks(LIMITS)]
    assert sorted(check.name for check in image_checks) == sorted(ImageChecks.model_fields)
    assert sorted(check.name for check in table_checks) == sorted(TableChecks.model_fields)


@pytest.mark.parametrize("severity", ["critical", "quarantine", "warn"])
def test_what_a_failure_means_comes_from_the_parameters(severity):
    chosen = limits(severities={"blurred": severity, "repeated_file": severity})
    severities = {
        check.name: check.severity for check in suites.image_checks(chosen) + suites.copy_checks(chosen)
    }
    assert severities["blurred"] == severities["repeated_file"] == severity
    assert severities["image_id_known"] == "critical"


def test_what_a_failure_of_a_table_means_comes_from_the_parameters():
    chosen = limits(severities=dict.fromkeys(TableChecks.model_fields, "warn"))
    found = suites.column_checks(chosen) + suites.outcome_checks(chosen)
    assert {check.severity for check in found} == {"warn"}


# ---- single images ---------------------------------------------------------------------------


def test_every_check_of_images_has_a_refusal_and_a_legal_twin_here():
    names = [check.name for check in suites.image_checks(LIMITS)]
    # Those of ids, paths and origin are tried below: many images would fail them together.
    assert [*IDENTITY, *REFUSED] == names == [*IDENTITY, *LEGAL]


@pytest.mark.parametrize(("case", "name"), flatten(REFUSED))
def test_a_check_finds_its_offenders_for_this_reason_only(refused, case, name):
    reasons = quarantine_reasons(refused)
    images = [image_id for image_id in reasons if image_id.rpartition("-")[0] == case]
    number = int(case.rpartition("-")[2])
    assert images == [f"{case}-{letter}" for letter in REFUSED[name][number]]
    assert all(reasons[image_id] == [name] for image_id in images)


@pytest.mark.parametrize(("case", "name"), flatten(LEGAL))
def test_a_check_leaves_the_legal_twin_alone(legal, case, name):
    (outcome,) = (outcome for outcome in legal if outcome.name == name)
    assert outcome.is_passed
    assert outcome.failing_ids == []
    assert not [image_id for image_id in quarantine_reasons(legal) if image_id.startswith(case)]


def test_a_failing_check_is_not_passed(refused):
    assert {outcome.name for outcome in refused if not outcome.is_passed} == set(REFUSED)


def test_an_outcome_tells_what_was_expected_and_the_failing_values(refused):
    by_name = {outcome.name: outcome for outcome in refused}
    assert by_name["bad_exposure"].expected == "brightness 0.25 to 0.75"
    assert by_name["bad_exposure"].observed == {"bad_exposure-0-x": 0.24, "bad_exposure-1-x": 0.76}
    assert by_name["mode_not_allowed"].expected == "mode is RGB or L"
    assert by_name["mode_not_allowed"].observed == {"mode_not_allowed-0-x": "CMYK"}
    assert by_name["licence_missing"].observed == {"licence_missing-0-x": None}


def test_what_could_not_be_measured_is_no_further_reason(refused):
    reasons = quarantine_reasons(refused)
    assert reasons["unreadable-2-x"] == ["unreadable"]  # nothing at all is known of its picture


def test_an_image_with_several_faults_has_all_reasons_the_most_telling_first(validator):
    rows = [record("a", licence=None, age_years=130.0, **UNLABELLED)]
    facts = [fact("a", **(UNREADABLE | {"is_truncated": True, "height": 10, "num_frames": 3}))]
    table = check_tables.build_image_table(records_of(*rows), facts_of(*facts))
    outcomes = validator.run(table, suites.image_checks(LIMITS), suite_name="several")
    assert quarantine_reasons(outcomes) == {
        "a": [
            "truncated",
            "animated",
            "unreadable",
            "too_small",
            "label_missing",
            "age_out_of_range",
            "licence_missing",
        ]
    }


# ---- ids, files, origin ----------------------------------------------------------------------

GOOD_TABLE: dict[str, list[Any]] = {
    "image_id": ["a", "b"],
    "path": ["a.png", "b.png"],
    "is_synthetic": [True, False],
}


def failing(outcomes: list[Outcome]) -> list[str]:
    return [outcome.name for outcome in outcomes if not outcome.is_passed]


def identity_checks() -> list[Check]:
    return [check for check in suites.image_checks(LIMITS) if check.name in IDENTITY]


def test_distinct_ids_and_files_of_known_origin_pass(validator):
    assert failing(validator.run(pd.DataFrame(GOOD_TABLE), identity_checks(), suite_name="good")) == []


@pytest.mark.parametrize("name", IDENTITY)
def test_a_blank_or_shared_id_a_shared_file_and_an_unknown_origin_are_critical(validator, name):
    table = pd.DataFrame(GOOD_TABLE | IDENTITY[name])
    outcomes = validator.run(table, identity_checks(), suite_name=f"bad {name}")
    assert failing(outcomes) == [name]
    assert {outcome.severity for outcome in outcomes} == {"critical"}


# ---- copies ----------------------------------------------------------------------------------


def test_only_later_copies_of_bytes_or_pixels_are_repeated(validator):
    facts = [fact(name) for name in "abcdef"]
    for row in facts[:3]:
        row["sha256"] = "same bytes"
    for row in facts[3:5]:
        row["pixels_sha256"] = "same pixels"
    table = check_tables.build_image_table(records_of(*map(record, "abcdef")), facts_of(*facts))
    copies = check_tables.build_copy_table(table)
    (outcome,) = validator.run(copies, suites.copy_checks(LIMITS), suite_name="copies")
    assert outcome.failing_ids == ["b", "c", "e"]
    (outcome,) = validator.run(copies[copies["image_id"] != "b"], suites.copy_checks(LIMITS), suite_name="c")
    assert outcome.failing_ids == ["c", "e"]


def test_a_copy_that_a_user_took_out_contradicts_no_label_but_those_left_do(validator):
    facts = [
        fact(name, **{key: f"shared by {key}"})
        for key, names in (("sha256", "ab"), ("pixels_sha256", "cde"))
        for name in names
    ]
    rows = [record(name, **(MELANOMA if name in "bd" else {})) for name in "abcde"]
    excluded = ["a", "e"]
    table = check_tables.build_image_table(records_of(*rows), facts_of(*facts), excluded_ids=excluded)
    judged = suites.image_checks(limits(excluded_ids=excluded))
    assert quarantine_reasons(validator.run(table, judged, suite_name="excluded copies")) == {
        **{name: ["excluded_by_hand"] for name in "ae"},
        **{name: ["copy_with_unlike_label"] for name in "cd"},
    }


# ---- columns ---------------------------------------------------------------------------------


def judge_columns(validator, records, facts, suite_name):
    table = check_tables.build_column_table(records, facts)
    outcomes = validator.run(table, suites.column_checks(LIMITS), suite_name=suite_name, id_column="column")
    return {outcome.name: outcome.failing_ids for outcome in outcomes if not outcome.is_passed}


def test_complete_columns_of_the_declared_types_pass(validator):
    records, facts = records_of(record("a")), facts_of(fact("a"))
    assert judge_columns(validator, records, facts, "columns") == {}
    assert judge_columns(validator, records.assign(more=1), facts, "more columns") == {}


def test_an_absent_column_and_one_of_another_type_are_named(validator):
    records = records_of(record("a")).drop(columns="sex").astype({"target": "float64"})
    facts = facts_of(fact("a")).drop(columns="mode")
    assert judge_columns(validator, records, facts, "bad columns") == {
        "columns_complete": ["facts.mode", "records.sex"],
        "types_fit": ["records.target"],
    }


# ---- what is left ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "num_quarantined", "names"),
    [
        ([0, 0, 0, 1], 1, []),  # 4 images, 1/4 malignant: both at their lower limits; 1/5 left
        ([0, 1, 1, 1], 0, []),  # 3/4: at the upper limit
        ([0, 0, 1], 0, ["enough_images"]),
        ([0, 0, 0, 0, 1], 0, ["class_balance"]),  # 1/5
        ([0, 1, 1, 1, 1], 0, ["class_balance"]),  # 4/5
        ([0, 1, 0, 1], 2, ["few_quarantined"]),  # 2/6
        ([], 3, ["enough_images", "class_balance", "few_quarantined"]),
    ],
)
def test_enough_images_of_both_classes_must_be_left(validator, targets, num_quarantined, names):
    left = [f"q{number}" for number in range(num_quarantined)]
    ids = [*(f"i{number}" for number in range(len(targets))), *left]
    images = pd.DataFrame({"image_id": ids, "target": [*targets, *[1] * num_quarantined]})
    images["image_type"] = "dermoscopic"
    table = check_tables.build_outcome_table(images, left)
    suite_name = f"outcome {targets} {num_quarantined}"
    outcomes = validator.run(table, suites.outcome_checks(LIMITS), suite_name=suite_name)
    assert failing(outcomes) == names


def test_of_what_is_left_the_numbers_are_told(validator):
    images = pd.DataFrame({"image_id": list("abcde"), "target": [0, 1, 1, 1, None]}).astype(
        {"target": "Int64"}
    )
    images["image_type"] = "dermoscopic"
    table = check_tables.build_outcome_table(images, ["e"])
    outcomes = validator.run(table, suites.outcome_checks(LIMITS), suite_name="numbers")
    assert [(outcome.observed, outcome.expected) for outcome in outcomes] == [
        (4, "at least 4 accepted images"),
        (3 / 4, "fraction positive of the accepted images 0.25 to 0.75"),
        (1 / 5, "fraction of quarantined images at most 0.2"),
    ]


# ---- splits ----------------------------------------------------------------------------------

FRACTIONS = {"train": 0.5, "validation": 0.25, "test": 0.25}
SETTINGS = Split(max_fraction_deviation=0.125, max_prevalence_deviation=0.25)


def split_rows(num_images: int) -> list[dict[str, Any]]:
    """Images without relations, 1/2 + 1/4 + 1/4 of them, every other one malignant."""
    sides = ["train", "train", "validation", "test"] * 2
    return [
        {
            "image_id": f"i{number:02}",
            "dataset": "toy",
            "group_id": f"group-{number}",
            "target": number // 4 % 2,
            "split": sides[number % 8],
            "sha256": f"bytes-{number}",
        }
        for number in range(num_images)
    ]


def judge_splits(validator, rows, suite_name) -> list[Outcome]:
    table = pd.DataFrame(rows).astype({"target": "Int64"})
    prevalence = float((table["target"] == 1).mean())
    judged = suites.split_checks(SETTINGS, FRACTIONS, prevalence)
    outcomes = validator.run(check_tables.build_split_table(table), judged, suite_name=suite_name)
    assert {outcome.severity for outcome in outcomes} == {"critical"}
    return outcomes


def test_splits_with_groups_and_copies_on_one_side_and_unknown_digests_pass(validator):
    rows = split_rows(16)
    rows[1] |= {"group_id": "group-0", "sha256": "bytes-0"}  # both in train
    rows[2] |= {"sha256": None}
    rows[3] |= {"sha256": None}
    assert failing(judge_splits(validator, rows, "legal splits")) == []


def test_splits_without_any_digest_pass(validator):
    rows = [{key: row[key] for key in schema.SPLIT_COLUMNS} for row in split_rows(16)]
    assert failing(judge_splits(validator, rows, "no digests")) == []


def test_splits_at_the_edge_of_the_allowed_deviations_pass(validator):
    rows = split_rows(16)
    rows[3]["split"] = rows[7]["split"] = "train"  # 10/16 in train, 2/16 in test; half malignant each
    assert failing(judge_splits(validator, rows, "edge of fractions")) == []
    rows = split_rows(16)
    rows[2]["target"], rows[7]["target"] = 1, 0  # validation 3/4, test 1/4, of all 1/2
    assert failing(judge_splits(validator, rows, "edge of prevalence")) == []


def test_each_fault_of_a_row_of_the_splits_is_named(validator):
    rows = split_rows(64)
    faults: dict[str, dict[int, Changes]] = {
        "image_id_known": {0: {"image_id": None}},
        "image_id_unique": {4: {"image_id": "i05"}},
        "group_known": {8: {"group_id": None}},
        "split_known": {12: {"split": None}},
        "split_in_vocabulary": {16: {"split": "holdout"}},
        "target_known": {20: {"target": None}},
        "target_in_vocabulary": {24: {"target": 2}},
        "group_on_one_side": {28: {"group_id": "group-31"}},
        "bytes_on_one_side": {32: {"sha256": "bytes-35"}},
    }
    for changes in faults.values():
        for number, change in changes.items():
            rows[number] |= change
    found = {o.name: o.failing_ids for o in judge_splits(validator, rows, "faults") if not o.is_passed}
    assert found == {
        "image_id_known": ["None"],
        "image_id_unique": ["i05"],
        "group_known": ["i08"],
        "split_known": ["i12"],
        "split_in_vocabulary": ["i16"],
        "target_known": ["i20"],
        "target_in_vocabulary": ["i24"],
        "group_on_one_side": ["i28", "i31"],
        "bytes_on_one_side": ["i32", "i35"],
    }


def test_splits_of_other_sizes_are_refused(validator):
    rows = split_rows(16)
    for number in (3, 7, 11):
        rows[number]["split"] = "train"  # 11/16 in train, 1/16 in test
    assert failing(judge_splits(validator, rows, "sizes")) == [
        "train_fraction",
        "test_has_both_classes",
        "test_fraction",
        "test_prevalence",
    ]


def test_a_split_of_one_class_is_refused_with_what_was_seen(validator):
    rows = split_rows(16)
    for row in rows:
        row["target"] = 0 if row["split"] == "validation" else row["target"]
    outcomes = {outcome.name: outcome for outcome in judge_splits(validator, rows, "one class")}
    assert [name for name, o in outcomes.items() if not o.is_passed] == [
        "validation_has_both_classes",
        "validation_prevalence",
    ]
    assert outcomes["validation_prevalence"].observed == 0.0
    assert outcomes["validation_prevalence"].expected == (
        "fraction of positive images in validation 0.125 to 0.625"
    )


def test_an_empty_split_is_refused(validator):
    rows = [row | {"split": "train"} for row in split_rows(16)]
    assert {"test_has_both_classes", "test_fraction", "test_prevalence"} <= set(
        failing(judge_splits(validator, rows, "empty"))
    )
