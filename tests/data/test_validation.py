import json

import pytest

from melanoma.config import Validate
from melanoma.data import validation
from melanoma.errors import DataError
from melanoma.files import write_json
from melanoma.schema import RECORD_COLUMNS
from tests.data.toys import LIMITS, fact, facts_of, record, records_of

MELANOMA = {"target": 1, "diagnosis": "melanoma"}


def judge(folder, *, num_blurred: int, limits: Validate = LIMITS, **changes: object) -> validation.Validation:
    """The verdict on ten images, five of them malignant; the first `num_blurred` are blurred."""
    rows = [record(f"i{number}", **(MELANOMA if number % 2 else {}), **changes) for number in range(10)]
    facts = [fact(f"i{number}", sharpness=0.5 if number < num_blurred else 50) for number in range(10)]
    return validation.validate(records_of(*rows), facts_of(*facts), limits, dataset="toy", folder=str(folder))


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


def test_several_reasons_are_joined(tmp_path):
    rows = records_of(*(record(f"i{n}", licence=None if n == 0 else "CC-0") for n in range(6)))
    facts = facts_of(*(fact(f"i{n}", contrast=0.0 if n == 0 else 0.5) for n in range(6)))
    result = validation.validate(rows, facts, LIMITS, dataset="toy", folder=str(tmp_path))
    assert result.quarantined["reasons"].tolist() == ["no_contrast; licence_missing"]


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
    }
    assert report["quarantined"] == {"i0": ["blurred"], "i1": ["blurred"]}
    assert report["is_synthetic"] is True
    (blurred,) = (check for check in report["checks"] if check["check"] == "blurred")
    assert blurred == {
        "check": "blurred",
        "severity": "quarantine",
        "is_passed": False,
        "num_failing": 2,
        "failing_ids": ["i0", "i1"],
    }
    assert len(report["checks"]) == 4 + 15 + 2


def test_the_report_can_be_written_as_json(two_blurred, tmp_path):
    write_json(two_blurred.report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == two_blurred.report


def test_the_headline_counts_by_first_reason(two_blurred):
    assert validation.headline(two_blurred) == "8 of 10 accepted, 2 quarantined (2 blurred)"


def test_the_docs_are_built(two_blurred):
    assert (two_blurred.docs / "index.html").is_file()


# ---- what stops the graph --------------------------------------------------------------------


def test_the_quarantined_fraction_may_reach_its_limit(two_blurred, tmp_path):
    assert two_blurred.failures == []  # 2/10, at most 0.2
    validation.require_passed(two_blurred, tmp_path / "report.json")


def test_a_larger_quarantined_fraction_is_critical(three_blurred):
    assert three_blurred.failures == ["quarantined_fraction: 0.30 of the images would leave, at most 0.2 may"]


def test_a_critical_failure_stops_with_an_error_that_names_check_and_report(three_blurred, tmp_path):
    report = tmp_path / "reports" / "toy.json"
    with pytest.raises(DataError, match=r"'toy' fails 1 critical checks") as caught:
        validation.require_passed(three_blurred, report)
    assert "quarantined_fraction: 0.30" in str(caught.value)
    assert f"See {report}." in str(caught.value)


def test_each_critical_failure_is_named_with_what_was_observed_or_its_rows(tmp_path):
    many = LIMITS.model_copy(update={"min_images": 11, "max_malignant_fraction": 0.375})
    result = judge(tmp_path, num_blurred=0, limits=many, path="images/same.png")
    assert result.failures == [
        "one_file_a_row: i0, i1, i2, i3, i4 and 5 more",
        "enough_images: observed 10",
        "class_balance: observed 0.5",
    ]
    assert result.report["failures"] == result.failures


def test_unlabelled_images_do_not_count_for_the_balance_of_classes(tmp_path):
    lenient = LIMITS.model_copy(update={"max_quarantined_fraction": 0.5})
    rows = [record(f"i{n}", **(MELANOMA if n == 0 else {})) for n in range(4)]
    rows += [record(f"u{n}", target=None, diagnosis=None) for n in range(4)]
    facts = facts_of(*(fact(str(row["image_id"])) for row in rows))
    result = validation.validate(records_of(*rows), facts, lenient, dataset="toy", folder=str(tmp_path))
    assert result.failures == []  # 1/4 of those left, not 1/8
    assert result.report["num_quarantined"] == 4


@pytest.mark.real_data
def test_of_the_real_images_the_unlabelled_and_the_repeated_leave(real_records, real_facts, params, tmp_path):
    rows = real_records[real_records["dataset"] == "isic"].reset_index(drop=True)
    result = validation.validate(rows, real_facts, params.checks, dataset="isic", folder=str(tmp_path))
    reasons = result.quarantined["reasons"].value_counts().to_dict()
    assert reasons["label_missing"] == 6
    assert set(result.quarantined.query("reasons == 'repeated_file'")["image_id"]) == {
        "ISIC_0012970",
        "ISIC_0000280",
        "ISIC_0000512",
    }
    assert result.failures == []
