from datetime import UTC, date, datetime, timedelta

import pytest

from melanoma import tracking
from melanoma.registry import ledger
from pipelines import _cli, history, release, rollback
from tests.pipelines.releasable import NAME

WHY = ["--by", "A. Name", "--reason", "test"]


def run(*words):
    assert _cli.run(history.main, [NAME, *words]) == 0


def entry(version, at, *, previous=None):
    tags = {"alias": "production", "version": str(version), "by": "A. Name"}
    tags["previous_version"] = "" if previous is None else str(previous)
    return ledger.Entry("r", "release", at, "FINISHED", tags)


@pytest.fixture
def moved(registry):
    """Released twice, rolled back once; one version was refused and the split looked at."""
    for number in ("1", "2"):
        assert _cli.run(release.main, [NAME, "--version", number, *WHY]) == 0
    assert _cli.run(rollback.main, [NAME, *WHY]) == 0
    tags = {"alias": "staging", "version": 3}
    ledger.add(NAME, ledger.REFUSAL, by="promote", reason="too weak", tags=tags, evidence={})
    ledger.record_look(NAME, test_digest="t", model_digest="m", purpose="promote", run_id="r")


def test_it_prints_who_moved_what_and_why_refusals_and_looks(moved, capsys):
    run()
    text = capsys.readouterr().out
    assert text.count("release") == 2
    assert "rollback" in text
    assert "too weak" in text
    assert "A. Name" in text
    assert "test split t: 1 looks at 1 models, 1 of them to choose" in text
    assert "warning" not in text


def test_one_alias_leaves_out_the_others(moved, capsys):
    run("--alias", "staging")
    text = capsys.readouterr().out
    assert "too weak" in text
    assert "rollback" not in text


def test_a_move_outside_the_ledger_is_warned_of(moved, capsys):
    tracking.client().set_registered_model_alias(NAME, "production", "3")
    run("--alias", "production")
    assert "production holds version 3, but the ledger's last entry says version 1" in capsys.readouterr().out


def test_a_day_shows_all_that_was_served_on_it(moved, capsys):
    run("--on", f"{datetime.now(UTC):%Y-%m-%d}", "--alias", "production")
    text = capsys.readouterr().out
    assert [text.count(f"version {number} from") for number in (1, 2)] == [2, 1]
    run("--on", f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}", "--alias", "production")
    assert "no version" in capsys.readouterr().out


def test_the_hours_of_a_day_are_cut_at_its_ends():
    noon = datetime(2026, 5, 16, 12, tzinfo=UTC)
    done = [entry(1, noon), entry(2, noon + timedelta(days=1), previous=1)]
    first, second = history._served("production", done, date(2026, 5, 17))
    assert "version 1 from 00:00:00 to 12:00:00" in first
    assert "version 2 from 12:00:00 to 24:00:00" in second
    (later,) = history._served("production", done, date(2026, 5, 19))
    assert "version 2 from 00:00:00 to 24:00:00" in later


def test_what_was_served_before_the_first_entry_is_shown_as_unsure():
    noon = datetime(2026, 5, 16, 12, tzinfo=UTC)
    done = [entry(2, noon, previous=1)]
    unsure, _ = history._served("production", done, date(2026, 5, 16))
    assert "perhaps version 1 until 12:00:00 UTC (no entry)" in unsure
    assert len(history._served("production", done, date(2026, 5, 17))) == 1


def test_a_day_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        _cli.run(history.main, [NAME, "--on", "17.5.2026"])
    assert "invalid" in capsys.readouterr().err
