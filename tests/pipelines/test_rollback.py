import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.registry import ledger, moves, versions
from melanoma.registry.versions import PRODUCTION, STAGING
from pipelines import _cli, rollback
from tests.imports import ROOT
from tests.registry.shelf import NAME


def run(*options: str) -> int:
    return _cli.run(rollback.main, [NAME, "--by", "A. Name", "--reason", "worse than before", *options])


def holder(alias: str = PRODUCTION) -> int | None:
    return moves.holder_of(NAME, alias)


@pytest.fixture
def released(shelf):
    """Versions 1, 2 and 3 were released one after the other."""
    for _ in range(3):
        shelf.move(shelf.register(), alias=PRODUCTION, kind=ledger.RELEASE)
    return shelf


@pytest.fixture
def refusal(capsys):
    """Tries a rollback that must be refused; what was said. Nothing may have moved or been entered."""

    def try_it(*options):
        before = holder(PRODUCTION), holder(STAGING), len(ledger.entries(NAME))
        capsys.readouterr()
        assert run(*options) == 1
        assert (holder(PRODUCTION), holder(STAGING), len(ledger.entries(NAME))) == before
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return try_it


def test_each_rollback_goes_one_version_further_back_until_there_is_none(released, capsys, refusal):
    assert run() == 0
    assert "production is version 2 again, version 3 before" in capsys.readouterr().out
    assert holder() == 2
    assert run() == 0
    assert "production is version 1 again, version 2 before" in capsys.readouterr().out
    assert holder() == 1
    assert (
        f"No version of {NAME} had the alias production before version 1, so there is no version to go "
        f"back to" in refusal()
    )


def test_it_is_entered_who_went_back_and_why(released):
    assert run() == 0
    entry = ledger.entries(NAME)[-1]
    assert (entry.kind, entry.alias, entry.version, entry.previous) == ("rollback", PRODUCTION, 2, 3)
    assert (entry.tags["by"], entry.tags["reason"]) == ("A. Name", "worse than before")


def test_after_a_new_release_a_rollback_leads_to_what_it_replaced(released):
    assert run() == 0  # to 2
    released.move(released.register(), alias=PRODUCTION, kind=ledger.RELEASE)
    assert run() == 0
    assert holder() == 2


def test_only_the_named_alias_moves(released):
    for number in (1, 2):
        released.move(number, alias=STAGING)
    assert run("--alias", "staging") == 0
    assert (holder(STAGING), holder(PRODUCTION)) == (1, 3)


def test_where_no_version_holds_the_alias_there_is_nothing_to_roll_back(released, refusal):
    assert f"No version of {NAME} has the alias staging, so there is nothing" in refusal("--alias", "staging")


def test_an_alias_that_was_moved_by_other_means_is_refused_until_the_next_release(released, refusal):
    versions.set_alias(NAME, PRODUCTION, "1")
    error = refusal()
    assert f"The alias production of {NAME} points to version 1, but the ledger says version 3" in error
    assert "python -m pipelines.release" in error
    released.move(2, alias=PRODUCTION, kind=ledger.RELEASE)
    assert run() == 0
    assert holder() == 1


def test_an_alias_of_which_the_ledger_knows_nothing_is_refused(shelf, refusal):
    versions.set_alias(NAME, PRODUCTION, str(shelf.register()))
    assert "points to version 1, but the ledger says none" in refusal()


def test_a_version_that_was_withdrawn_is_not_brought_back(released, refusal):
    tracking.client().delete_registered_model_alias(NAME, PRODUCTION)
    assert "there is nothing to roll back" in refusal()
    released.move(2, alias=PRODUCTION, kind=ledger.RELEASE)
    assert "had the alias production before version 2" in refusal()


def test_a_version_whose_files_were_changed_does_not_come_back(released, refusal):
    path = released.artifact(2, "model.onnx")
    whole = path.read_text()
    path.write_text("changed")
    assert f"{NAME} version 2 cannot be trusted: model.onnx" in refusal()
    path.write_text(whole)
    assert run() == 0


def test_a_version_that_was_deleted_does_not_come_back(released, refusal):
    tracking.client().delete_model_version(NAME, "2")
    assert f"{NAME} has no version 2; it has [1, 3]" in refusal()


def test_a_rollback_that_a_kill_cut_off_is_mended_by_the_next_one(released):
    tags = {"alias": PRODUCTION, "version": 2, "previous_version": 3}
    who = {"by": "A. Name", "reason": "worse"}
    ledger.add(NAME, ledger.ROLLBACK, tags=tags, evidence={}, is_over=False, **who)
    versions.set_alias(NAME, PRODUCTION, "2")  # killed here
    assert run() == 0
    assert holder() == 1
    assert ledger.unfinished(NAME) == []


def start(shelf, by):
    """A rollback in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.rollback", NAME, "--by", by, "--reason", "worse"],
        cwd=shelf.folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_people_at_once_go_one_version_back_and_the_second_learns_of_the_first(released):
    processes = [start(released, by) for by in ("A. Name", "B. Name")]
    said = [process.communicate(timeout=120) for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert holder() == 2
    (refusal,) = [errors for _, errors in said if errors.startswith("error:")]
    (entry,) = [entry for entry in ledger.moves(NAME) if entry.kind == ledger.ROLLBACK]
    assert f"after this rollback was started, {entry.tags['by']} moved the alias production" in refusal
    assert "from version 3 to version 2" in refusal
    again = start(released, "B. Name")  # who knows of the first may go further back
    assert again.wait(timeout=120) == 0
    assert holder() == 1


def test_a_release_meanwhile_stops_a_rollback_too(released, refusal):
    began = datetime.now(UTC)
    released.move(1, alias=PRODUCTION, kind=ledger.RELEASE)
    arguments = [NAME, "--by", "B. Name", "--reason", "worse"]
    with pytest.raises(TrackingError, match=r"moved the alias .* from version 3 to version 1 \(release"):
        rollback.main(arguments, started_at=began)
    assert holder() == 1
    assert run() == 0


def test_who_names_the_version_to_leave_is_refused_when_another_one_holds_the_alias(released, refusal):
    assert run("--from", "3") == 0
    assert "points to version 2, expected version 3. Nothing was moved" in refusal("--from", "3")
    assert run("--from", "2") == 0
    assert holder() == 1


def test_nobody_rolls_back_without_a_name(released, capsys):
    with pytest.raises(SystemExit, match="2"):
        rollback.main([NAME, "--by", " ", "--reason", "worse"])
    assert "argument --by: must not be blank" in capsys.readouterr().err
    assert holder() == 3


def test_a_registry_that_is_down_is_named(shelf, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run() == 1
    assert "The tracking store http://127.0.0.1:9 does not answer" in capsys.readouterr().err
