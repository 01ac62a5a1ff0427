from datetime import UTC, datetime

import pytest

from melanoma import tracking
from melanoma.registry import ledger, looks, versions
from melanoma.registry.versions import PRODUCTION, STAGING
from pipelines import _cli, history
from tests.registry.shelf import NAME

OTHER = "melanoma-isic"


@pytest.fixture
def told(capsys):
    """What the script says."""

    def run(*options, name=NAME):
        capsys.readouterr()
        assert _cli.run(history.main, [name, *options]) == 0
        return capsys.readouterr().out

    return run


def rows(out: str) -> list[list[str]]:
    """The cells of the table's lines below its head."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line]


@pytest.fixture
def served(shelf):
    """Production was version 1 from 14 May 09:00, 2 from 17 May 08:30 and 3 from 17 May 20:15 (UTC)."""
    for day, hour, minute in ((14, 9, 0), (17, 8, 30), (17, 20, 15)):
        shelf.move(shelf.register(), alias=PRODUCTION, kind=ledger.RELEASE)
        at = datetime(2026, 5, day, hour, minute, tzinfo=UTC)
        shelf.set_time(ledger.entries(NAME)[-1].run_id, at)
    return shelf


def test_moves_and_refusals_are_told_in_order_with_who_why_and_outcome(shelf, told):
    for _ in range(2):
        shelf.register()
    shelf.move(1)
    refused = {"alias": STAGING, "version": 2}
    ledger.add(NAME, ledger.REFUSAL, by="pipelines.promote", reason="AUC too low", tags=refused, evidence={})
    shelf.move(1, alias=PRODUCTION, kind=ledger.RELEASE)
    ledger.end(shelf.enter_unfinished(2), problem="interrupted before the alias was moved")
    shelf.enter_unfinished(2, alias=PRODUCTION)
    ledger.add(OTHER, ledger.REFUSAL, by="X", reason="of another model", tags=refused, evidence={})
    out = told()
    by_hand = ["A. Name", "tried by hand"]
    assert [cells[1:] for cells in rows(out)] == [
        ["promote", STAGING, "", "1", *by_hand, "done"],
        ["refusal", STAGING, "", "2", "pipelines.promote", "AUC too low", "done"],
        ["release", PRODUCTION, "", "1", *by_hand, "done"],
        ["promote", STAGING, "1", "2", *by_hand, "interrupted before the alias was moved"],
        ["promote", PRODUCTION, "1", "2", *by_hand, "under way"],
    ]
    assert "warning" not in out


def test_one_alias_is_told_alone(shelf, told):
    shelf.move(shelf.register())
    shelf.move(1, alias=PRODUCTION, kind=ledger.RELEASE)
    assert [cells[1] for cells in rows(told("--alias", "production"))] == ["release"]
    assert [cells[1] for cells in rows(told("--alias", "staging"))] == ["promote"]


def test_looks_are_counted_and_are_no_lines_of_the_table(shelf, told):
    ledger.add(NAME, ledger.REFUSAL, by="a test", reason="none", tags={}, evidence={})
    assert "no use of a test set is recorded" in told()
    for model, purpose in (("m", "evaluate"), ("m", "promote"), ("n", "evaluate")):
        look(["a", "b"], model, purpose)
    out = told()
    digest = looks.digest_of_images(["a", "b"])[:12]
    assert f"test set {digest}: used 3 times for 2 models, once to choose a model\n" in out
    assert [row[1] for row in rows(out)] == [ledger.REFUSAL]
    look(["a"], "o", "crossvalidate")
    expected = f"test set {digest}: used 4 times for 3 models, once to choose a model; a use saw 88 % of its"
    assert expected in told()


def look(image_ids, model, purpose):
    looks.record(NAME, images=image_ids, model="tuned", model_digest=model, purpose=purpose, run_id="r")


def test_the_alias_of_a_clinic_is_told_too(shelf, told):
    shelf.move(shelf.register())
    shelf.move(shelf.register(), alias="staging-north", kind=ledger.RECALIBRATE)
    assert [cells[1:3] for cells in rows(told())] == [
        ["promote", STAGING],
        ["recalibrate", "staging-north"],
    ]
    assert [cells[1] for cells in rows(told("--alias", "staging-north"))] == ["recalibrate"]
    versions.set_alias(NAME, "staging-north", "1")
    assert "warning: staging-north points to version 1" in told()


@pytest.mark.parametrize("alias", ["champion", "stagingnorth"])
def test_another_alias_is_refused(shelf, alias, capsys):
    with pytest.raises(SystemExit, match="2"):
        history.main([NAME, "--alias", alias])
    assert "is none of production, staging and staging-<clinic>" in capsys.readouterr().err


def test_words_of_people_are_told_as_they_wrote_them(shelf, told):
    reason = "see [/docs] and [red]note[/red] :warning:"
    ledger.add(NAME, ledger.REFUSAL, by="A [bold]", reason=reason, tags={}, evidence={})
    assert rows(told())[0][5:7] == ["A [bold]", reason]


def test_what_was_served_on_a_day_is_told_with_from_and_to(served, told):
    spans = {
        "2026-05-13": [],
        "2026-05-14": ["1 from 09:00:00 to 24:00:00"],
        "2026-05-15": ["1 from 00:00:00 to 24:00:00"],
        "2026-05-17": [
            "1 from 00:00:00 to 08:30:00",
            "2 from 08:30:00 to 20:15:00",
            "3 from 20:15:00 to 24:00:00",
        ],
        "2026-05-18": ["3 from 00:00:00 to 24:00:00"],
    }
    for day, held in spans.items():
        lines = [f"production on {day}: version {span} UTC (release by A. Name)" for span in held]
        lines = lines or [f"production on {day}: no version"]
        assert told("--on", day, "--alias", "production").splitlines() == lines
        assert told("--on", day).splitlines() == [f"staging on {day}: no version", *lines]


def test_moves_that_failed_served_nothing(served, told):
    failed = served.enter_unfinished(1, alias=PRODUCTION)
    ledger.end(failed, problem="interrupted before the alias was moved")
    served.set_time(failed, datetime(2026, 5, 18, 12, tzinfo=UTC))
    assert told("--on", "2026-05-18", "--alias", "production").count("version") == 1


def test_a_day_that_is_none_is_refused(shelf, capsys):
    with pytest.raises(SystemExit, match="2"):
        history.main([NAME, "--on", "17.5.2026"])
    assert "argument --on" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--on", "2026-05-17"]])
def test_an_alias_that_was_moved_by_other_means_is_warned_of(served, told, options):
    assert "warning" not in told(*options)
    versions.set_alias(NAME, PRODUCTION, "1")
    warning = "warning: production points to version 1, but the last entry of the ledger is version 3"
    assert warning in told(*options)
    assert "warning" not in told(*options, "--alias", "staging")


def test_an_alias_of_which_the_ledger_knows_nothing_is_warned_of(shelf, told):
    versions.set_alias(NAME, STAGING, str(shelf.register()))
    assert "warning: staging points to version 1, but the last entry of the ledger is no version" in told()


def test_a_model_that_is_not_there_is_refused_with_those_there_are(shelf, capsys):
    assert _cli.run(history.main, ["melanoma-none"]) == 1
    assert "There is no registered model melanoma-none" in capsys.readouterr().err


def test_a_day_to_come_is_refused(shelf, capsys):
    assert _cli.run(history.main, ["melanoma-none", "--on", "2999-01-01"]) == 1
    assert "is in the future" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", " ", "it's", "melanoma/ph2"])
def test_what_cannot_name_a_model_is_refused(shelf, capsys, name):
    with pytest.raises(SystemExit, match="2"):
        history.main([name])
    assert "is not a valid name of a registered model" in capsys.readouterr().err


def test_telling_changes_nothing(served, told):
    served.enter_unfinished(1)
    before = [(entry.run_id, entry.status) for entry in ledger.entries()]
    told()
    assert [(entry.run_id, entry.status) for entry in ledger.entries()] == before


def test_a_registry_that_is_down_is_named(shelf, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert _cli.run(history.main, [NAME]) == 1
    assert "The tracking store http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_entries_that_somebody_deleted_are_told_with_how_to_bring_them_back(served, told):
    entry = ledger.entries(NAME)[0]
    tracking.client().delete_run(entry.run_id)
    out = told()
    assert "warning: 1 entries were deleted in the tracking store" in out
    assert entry.run_id in out
    tracking.client().restore_run(entry.run_id)
    assert "deleted" not in told()
