import json

import numpy as np
import pandas as pd
import pytest

from melanoma.config.data import ImageChecks, Split, TableChecks, Validate
from melanoma.data.checks import validation
from melanoma.data.groups import balance
from melanoma.errors import DataError
from melanoma.files import write_json
from melanoma.schema import RECORD_COLUMNS
from tests.data.toys import LIMITS, fact, facts_of, limits, record, records_of

MELANOMA = {"target": 1, "diagnosis": "melanoma", "malignancy": "malignant"}


def judge(folder, *, num_blurred: int, limits: Validate = LIMITS, **changes: object) -> validation.Validation:
    """The verdict on ten images, five of them malignant; the first `num_blurred` are blurred."""
    rows = [record(f"i{number}", **(MELANOMA if number % 2 else {}), **changes) for number in range(10)]
    facts = [fact(f"i{number}", sharpness=0.5 if number < num_blurred else 50.0) for number in range(10)]
    return judge_rows(folder, rows, facts, limits)


def judge_rows(folder, rows, facts, limits: Validate = LIMITS) -> validation.Validation:
    return validation.validate(
        records_of(*rows),
        facts_of(*facts),
        limits,
        dataset="toy",
        positive_means="melanoma",
        folder=str(folder),
    )


@pytest.fixture(scope="module")
def two_blurred(tmp_path_factory):
    return judge(tmp_path_factory.mktemp("two"), num_blurred=2)


@pytest.fixture(scope="module")
def three_blurred(tmp_path_factory):
    return judge(tmp_path_factory.mktemp("three"), num_blurred=3)


def test_what_passes_is_accepted_with_the_digest_of_its_file(two_blurred):
    assert two_blurred.accepted["image_id"].tolist() == [f"i{number}" for number in range(2, 10)]
    assert list(two_blurred.accepted.columns) == [*RECORD_COLUMNS, "sha256"]
    assert two_blurred.accepted["sha256"][0] == "bytes-i2"


def test_what_fails_is_quarantined_with_its_reasons(two_blurred):
    quarantined = two_blurred.quarantined
    assert list(quarantined.columns) == ["image_id", "path", "reasons", "problem"]
    assert quarantined["image_id"].tolist() == ["i0", "i1"]
    assert quarantined["path"].tolist() == ["images/i0.png", "images/i1.png"]
    assert quarantined["reasons"].tolist() == ["blurred", "blurred"]
    assert quarantined["problem"].isna().all()


def test_every_image_is_either_accepted_or_quarantined(three_blurred):
    accepted, left = set(three_blurred.accepted["image_id"]), set(three_blurred.quarantined["image_id"])
    assert not accepted & left
    assert accepted | left == {f"i{number}" for number in range(10)}


def test_the_report_counts_images_and_names_the_rows_of_every_check(two_blurred):
    report = two_blurred.report
    counts = {key: value for key, value in report.items() if key.startswith("num_")}
    assert counts == {
        "num_images": 10,
        "num_accepted": 8,
        "num_malignant": 4,
        "num_benign": 4,
        "num_quarantined": 2,
        "num_benign_without_diagnosis": 0,
        "num_malignant_without_diagnosis": 0,
    }
    assert report["quarantined"] == {"i0": ["blurred"], "i1": ["blurred"]}
    assert report["is_synthetic"] is True
    (blurred,) = (check for check in report["checks"] if check["check"] == "blurred")
    assert blurred == {
        "check": "blurred",
        "severity": "quarantine",
        "is_passed": False,
        "expected": "sharpness at least 2",
        "observed": {"i0": 0.5, "i1": 0.5},
        "num_failing": 2,
        "failing_ids": ["i0", "i1"],
    }
    names = [check["check"] for check in report["checks"]]
    assert sorted(names) == sorted([*ImageChecks.model_fields, *TableChecks.model_fields])


def test_the_report_tells_the_observed_value_of_a_check_of_the_table(two_blurred):
    observed = {check["check"]: check["observed"] for check in two_blurred.report["checks"]}
    assert observed["enough_images"] == 8
    assert observed["class_balance"] == 4 / 8
    assert observed["few_quarantined"] == 2 / 10


def test_the_report_says_whether_the_images_are_real_and_what_it_is_not_for(two_blurred):
    assert two_blurred.report["is_synthetic"] is True
    assert two_blurred.report["note"] == (
        "SYNTHETIC images, not real ones · positive means melanoma · research software, not a medical device"
    )
    assert two_blurred.report["positive_means"] == "melanoma"
    note = validation.origin_note(is_synthetic=False, positive_means="melanoma")
    assert note == "positive means melanoma · research software, not a medical device"


def test_every_check_is_a_metric_of_the_run(two_blurred):
    metrics = validation.metrics(two_blurred.report)
    assert metrics["data/num_images"] == 10
    assert metrics["data/num_quarantined"] == metrics["data/num_failing/blurred"] == 2
    assert metrics["data/num_failing/hairy"] == 0
    assert len(metrics) == 7 + len(ImageChecks.model_fields) + len(TableChecks.model_fields)


def test_the_report_can_be_written_as_json(two_blurred, tmp_path):
    write_json(two_blurred.report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == two_blurred.report


def test_the_summary_line_counts_by_first_reason(two_blurred):
    assert validation.summary_line(two_blurred.report) == "8 of 10 accepted, 2 quarantined (2 blurred)"


def test_the_docs_are_built(two_blurred):
    assert (two_blurred.docs / "index.html").is_file()


# ---- copies ----------------------------------------------------------------------------------

UNLABELLED = {"target": None, "diagnosis": None, "malignancy": "unclear"}
MISSING = {"decodes": False, "sha256": None, "pixels_sha256": None}
# By family of images a, b, c: how records differ, which fact they share, which reasons are due.
FAMILIES: dict[str, tuple[dict, dict, dict]] = {
    "same_bytes": ({}, {"sha256": "same"}, {"b": "repeated_file", "c": "repeated_file"}),
    "same_pixels": ({}, {"pixels_sha256": "same"}, {"b": "repeated_file", "c": "repeated_file"}),
    "first_unlabelled": (
        {"a": UNLABELLED},
        {"sha256": "unlabelled"},
        {"a": "label_missing", "c": "repeated_file"},
    ),
    "first_without_licence": (
        {"a": {"licence": None}},
        {"sha256": "no licence"},
        {"a": "licence_missing", "c": "repeated_file"},
    ),
    "first_too_old": (
        {"a": {"age_years": 130.0}},
        {"pixels_sha256": "old"},
        {"a": "age_out_of_range", "c": "repeated_file"},
    ),
    "first_excluded": ({}, {"sha256": "excluded"}, {"a": "excluded_by_hand", "c": "repeated_file"}),
    "unlike_labels": (
        {"c": MELANOMA},
        {"sha256": "unlike"},
        dict.fromkeys("abc", "copy_with_unlike_label"),
    ),
    "unlike_labels_of_pixels": (
        {"a": MELANOMA},
        {"pixels_sha256": "unlike"},
        dict.fromkeys("abc", "copy_with_unlike_label"),
    ),
    "missing_files": ({"b": MELANOMA}, MISSING, dict.fromkeys("abc", "unreadable")),
}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    members = [(family, letter) for family in FAMILIES for letter in "abc"]
    rows = [record(f"{family}-{n}", **FAMILIES[family][0].get(n, {})) for family, n in members]
    facts = [fact(f"{family}-{n}", **FAMILIES[family][1]) for family, n in members]
    lenient = limits(excluded_ids=["first_excluded-a", "ISIC_0000000"])  # the second is of another dataset
    return judge_rows(tmp_path_factory.mktemp("copies"), rows, facts, lenient)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_copies_the_first_that_nothing_else_takes_out_stays(copies, family):
    found = {
        image_id.rpartition("-")[2]: reasons
        for image_id, reasons in copies.report["quarantined"].items()
        if image_id.rpartition("-")[0] == family
    }
    assert found == {letter: [reason] for letter, reason in FAMILIES[family][2].items()}


# ---- severities and limits -------------------------------------------------------------------


def test_a_warning_changes_nothing_but_stands_in_report_and_summary_line(tmp_path):
    result = judge(tmp_path, num_blurred=3, limits=limits(severities={"blurred": "warn"}))
    assert len(result.accepted) == 10
    assert result.failures == []
    assert result.report["warnings"] == ["blurred: i0, i1, i2"]
    assert (
        validation.summary_line(result.report) == "10 of 10 accepted, 0 quarantined, 3 warnings (3 blurred)"
    )


def test_a_critical_check_of_images_stops_the_graph_and_takes_nothing_out(tmp_path):
    result = judge(tmp_path, num_blurred=1, limits=limits(severities={"blurred": "critical"}))
    assert result.failures == ["blurred: i0"]
    assert result.report["num_quarantined"] == 0


def test_a_check_of_the_table_may_only_warn(tmp_path):
    lenient = limits(severities={"enough_images": "warn"}, min_images=11)
    result = judge(tmp_path, num_blurred=0, limits=lenient)
    assert result.failures == []
    assert result.quarantined.empty
    assert list(result.quarantined.columns) == ["image_id", "path", "reasons", "problem"]
    assert result.report["warnings"] == ["enough_images: observed 10, expected at least 11 accepted images"]
    assert validation.summary_line(result.report).endswith("1 warnings (1 enough_images)")


def test_an_absent_column_is_critical_and_counts_as_unknown(tmp_path):
    rows = [record(f"i{n}", **(MELANOMA if n % 2 else {})) for n in range(10)]
    records = records_of(*rows).drop(columns="sex").astype({"age_years": "float64"})
    facts = facts_of(*(fact(f"i{n}") for n in range(10)))
    result = validation.validate(
        records, facts, LIMITS, dataset="toy", positive_means="melanoma", folder=str(tmp_path)
    )
    assert result.failures == ["columns_complete: records.sex", "types_fit: records.age_years"]
    assert result.report["num_quarantined"] == 0
    assert list(result.accepted.columns) == [*RECORD_COLUMNS, "sha256"]


# ---- what stops the graph --------------------------------------------------------------------


def test_the_quarantined_fraction_may_reach_its_limit(two_blurred, tmp_path):
    assert two_blurred.failures == []  # 2/10, at most 0.2
    validation.require_passed(two_blurred, tmp_path / "report.json")


def test_a_larger_quarantined_fraction_is_critical(three_blurred):
    assert three_blurred.failures == [
        "few_quarantined: observed 0.3, expected fraction of quarantined images at most 0.2"
    ]


def judge_types(folder, *image_types: str | None) -> validation.Validation:
    """The verdict on an image of each type, malignant and benign in turn."""
    rows = [
        record(f"i{number}", image_type=image_type, **(MELANOMA if number % 2 else {}))
        for number, image_type in enumerate(image_types)
    ]
    return judge_rows(folder, rows, [fact(str(row["image_id"])) for row in rows])


def test_images_of_another_type_leave_and_do_not_count_as_poor_data(tmp_path):
    clinical = ["clinical: close-up", "TBP tile: overview"] * 3
    result = judge_types(tmp_path, *["dermoscopic"] * 4, *clinical)
    assert result.accepted["image_type"].tolist() == ["dermoscopic"] * 4
    assert result.report["quarantined"] == {f"i{number}": ["not_dermoscopic"] for number in range(4, 10)}
    assert result.failures == []  # 6/10 left


def test_a_dataset_that_does_not_say_its_image_types_is_accepted_and_counted(tmp_path):
    result = judge_types(tmp_path, *[None] * 3, "dermoscopic")
    assert len(result.accepted) == 4
    assert result.report["warnings"] == ["image_type_not_stated: i0, i1, i2"]
    assert "3 image_type_not_stated" in validation.summary_line(result.report)


def test_a_dataset_without_any_dermoscopic_image_has_not_enough_images(tmp_path):
    result = judge_types(tmp_path, *["clinical: overview"] * 4)
    assert result.accepted.empty
    assert "enough_images: observed 0, expected at least 4 accepted images" in result.failures


def test_a_critical_failure_stops_with_an_error_that_names_check_and_report(three_blurred, tmp_path):
    report = tmp_path / "reports" / "toy.json"
    with pytest.raises(DataError, match=r"'toy' fails 1 critical checks") as caught:
        validation.require_passed(three_blurred, report)
    assert "few_quarantined: observed 0.3" in str(caught.value)
    assert f"See {report}." in str(caught.value)


def test_each_critical_failure_is_named_with_what_was_observed_or_its_rows(tmp_path):
    many = LIMITS.model_copy(update={"min_images": 11, "max_malignant_fraction": 0.375})
    result = judge(tmp_path, num_blurred=0, limits=many, path="images/same.png")
    assert result.failures == [
        "one_image_a_file: i0, i1, i2, i3, i4 and 5 more",
        "enough_images: observed 10, expected at least 11 accepted images",
        "class_balance: observed 0.5, expected fraction positive of the accepted images 0.25 to 0.375",
    ]
    assert result.report["failures"] == result.failures


def test_unlabelled_images_do_not_count_for_the_balance_of_classes(tmp_path):
    rows = [record(f"i{n}", **(MELANOMA if n == 0 else {})) for n in range(4)]
    rows += [record(f"u{n}", **UNLABELLED) for n in range(4)]
    facts = [fact(str(row["image_id"])) for row in rows]
    result = judge_rows(tmp_path, rows, facts, limits(max_quarantined_fraction=0.5))
    assert result.failures == []  # 1/4 of those left, not 1/8
    assert result.report["num_quarantined"] == 4


def test_when_everything_leaves_the_graph_stops_without_a_crash(tmp_path):
    result = judge(tmp_path, num_blurred=10, licence=None, is_synthetic=False)
    assert result.report["is_synthetic"] is False
    assert len(result.accepted) == 0
    assert set(result.quarantined["reasons"]) == {"blurred; licence_missing"}
    assert [failure.partition(":")[0] for failure in result.failures] == [
        "enough_images",
        "class_balance",
        "few_quarantined",
    ]


# ---- splits ----------------------------------------------------------------------------------


def judge_splits(folder, rows: pd.DataFrame) -> validation.SplitValidation:
    return validation.validate_splits(
        rows,
        settings=Split(max_fraction_deviation=0.0, max_prevalence_deviation=0.0),
        fractions={"train": 0.5, "validation": 0.25, "test": 0.25},
        cohort="toy",
        is_synthetic=True,
        positive_means="melanoma",
        found=balance.measure(rows, split_records(rows)),
        folder=str(folder),
    )


def split_records(rows: pd.DataFrame) -> pd.DataFrame:
    """Records of old people in test; nothing else is recorded."""
    ages = rows["split"].map({"train": 40, "validation": 40, "test": 80}) + rows["target"].fillna(0)
    return rows[["image_id"]].assign(**dict.fromkeys(balance.RECORDED)).assign(age_years=ages)


def split_rows(num_images: int = 8) -> pd.DataFrame:
    ids = [f"i{number}" for number in range(num_images)]
    sides = ["train", "train", "train", "train", "validation", "validation", "test", "test"]
    return pd.DataFrame(
        {"image_id": ids, "dataset": "toy", "group_id": ids, "split": sides, "sha256": ids}
    ).assign(target=pd.Series([0, 1] * 4, dtype="Int64"))


def test_good_splits_have_a_report_and_docs_and_no_failures(tmp_path):
    result = judge_splits(tmp_path, split_rows())
    assert result.failures == []
    critical = [entry for entry in result.report if entry["severity"] == "critical"]
    assert all(entry["is_passed"] for entry in critical)
    page = (result.docs / "index.html").read_text()
    assert "Splits of cohort toy" in page
    assert "SYNTHETIC" in page
    assert "group_on_one_side" in (result.docs / "validations" / "toy-splits.html").read_text()


def test_the_docs_show_standardised_differences_and_only_warn_of_wide_ones(tmp_path):
    result = judge_splits(tmp_path, split_rows())
    found = {entry["check"]: entry for entry in result.report if entry["severity"] == "warn"}
    assert set(found) == {"balance of positive", "balance of age (years)"}  # others are the same or unknown
    assert found["balance of positive"]["is_passed"]
    assert not found["balance of age (years)"]["is_passed"]  # two of eight images: a limit of 1.60
    deviation = np.std([40, 41, 40, 41, 40, 41, 80, 81])
    assert found["balance of age (years)"]["observed"] == pytest.approx(40 / deviation)
    assert result.failures == []
    page = (result.docs / "index.html").read_text()
    assert "toy-balance" in page
    assert "largest standardised difference of a side at most 1.6" in page


def test_a_leak_between_splits_is_a_failure_that_names_its_images(tmp_path):
    rows = split_rows()
    rows.loc[7, ["group_id", "sha256"]] = "i0"
    assert judge_splits(tmp_path, rows).failures == [
        "group_on_one_side: i0, i7",
        "bytes_on_one_side: i0, i7",
    ]


# ---- real images -----------------------------------------------------------------------------


@pytest.mark.real_data
def test_of_the_real_images_only_the_unlabelled_repeated_and_contradicting_leave(
    real_records, real_facts, params, tmp_path_factory
):
    results = {
        name: validation.validate(
            real_records[real_records["dataset"] == name].reset_index(drop=True),
            real_facts,
            params.checks,
            dataset=name,
            positive_means="melanoma",
            folder=str(tmp_path_factory.mktemp(name)),
        )
        for name in ("isic", "ph2")
    }
    isic = results["isic"].quarantined
    assert isic["reasons"].value_counts().to_dict() == {
        "label_missing": 6,
        "repeated_file": 3,
        "label_contradicts_diagnosis": 1,
    }
    assert set(isic.query("reasons == 'repeated_file'")["image_id"]) == {
        "ISIC_0012970",
        "ISIC_0000280",
        "ISIC_0000512",
    }
    assert results["ph2"].quarantined.empty
    for result in results.values():
        assert result.failures == []
    warned = {
        name: {why.partition(":")[0] for why in result.report["warnings"]} for name, result in results.items()
    }
    assert warned == {"isic": {"hairy", "image_type_not_stated"}, "ph2": {"hairy"}}
