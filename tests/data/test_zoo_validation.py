"""Broken and odd files go through inspection and checks, each with its right reasons."""

import pytest

from melanoma.data.checks import contact_sheet, validation
from tests.data.inspecting import inspect_images
from tests.data.toys import record, records_of
from tests.data.zoo import build_zoo
from tests.execution.backends import processes

# The committed limit lies above what good pictures of bright skin have, and the specimen is one of red only.
OVEREXPOSED = {"max_clipped_fraction": 0.6}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return build_zoo(tmp_path_factory.mktemp("zoo") / "animals")


@pytest.fixture(scope="module")
def result(zoo, params, tmp_path_factory):
    folder = zoo[0].path.parent
    records = records_of(
        *(
            record(
                specimen.name,
                path=specimen.path.name,
                mask_path=specimen.mask_path.name if specimen.mask_path else None,
            )
            for specimen in zoo
        )
    )
    measured = inspect_images(
        records, root=folder, settings=params.inspect, execution=processes(), description="zoo"
    )
    limits = params.checks.model_copy(update={"max_quarantined_fraction": 1.0} | OVEREXPOSED)
    where = str(tmp_path_factory.mktemp("expectations"))
    return validation.validate(
        records, measured, limits, dataset="zoo", positive_means="melanoma", folder=where
    )


def failed_checks(result) -> dict[str, set[str]]:
    """The names of the failed checks of each specimen, quarantine and warnings alike."""
    failed: dict[str, set[str]] = {}
    for entry in result.report["checks"]:
        for image_id in entry["failing_ids"]:
            failed.setdefault(image_id, set()).add(entry["check"])
    return failed


def test_each_specimen_fails_the_checks_that_it_was_made_for_and_no_other(zoo, result):
    failed = failed_checks(result)
    found = {specimen.name: failed.get(specimen.name, set()) for specimen in zoo}
    assert found == {specimen.name: set(specimen.reasons) for specimen in zoo}


def test_what_only_warrants_a_warning_and_what_is_legal_stays(zoo, result, params):
    warned = {name for name, severity in params.checks.image_checks if severity == "warn"}
    stays = {specimen.name for specimen in zoo if specimen.reasons <= warned}
    assert set(result.accepted["image_id"]) == stays
    assert set(result.quarantined["image_id"]) == {specimen.name for specimen in zoo} - stays
    assert len(stays) > 10


def test_the_first_reason_is_the_most_telling_one(result):
    first = {row.image_id: row.reasons.partition("; ")[0] for row in result.quarantined.itertuples()}
    assert first["jpeg_of_5_tenths"] == "truncated"
    assert first["animated_webp"] == "animated"
    assert first["bomb"] == first["folder"] == first["dangling_link"] == "unreadable"
    assert first["16_bit"] == "mode_not_allowed"
    assert first["black"] == "blurred"


def test_what_does_not_decode_says_why(result):
    problems = result.quarantined.set_index("image_id")
    unreadable = problems[problems["reasons"].str.contains("unreadable")]
    assert len(unreadable) > 40
    assert unreadable["problem"].str.len().gt(10).all()


def test_the_zoo_has_a_contact_sheet(zoo, result):
    sheet = contact_sheet.draw(
        result.quarantined, root=zoo[0].path.parent, title="Quarantined images of zoo", note="-"
    )
    assert sheet.height > 1000
