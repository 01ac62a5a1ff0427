import json

import pytest

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.registry import ledger, looks
from tests.registry.shelf import WHO

NAME, OTHER = "melanoma-ph2", "melanoma-isic"


def add(kind=ledger.PROMOTE, name=NAME, *, is_over=True, **tags):
    return ledger.add(name, kind, tags=tags, evidence={"auc": 0.9}, is_over=is_over, **WHO)


def test_an_empty_ledger_has_no_entries(shelf):
    assert ledger.entries() == []


def test_entries_come_in_the_order_in_which_they_were_made(shelf):
    made = [add(version=number) for number in (3, 1, 2)]
    assert [entry.run_id for entry in ledger.entries(NAME)] == made
    assert [entry.version for entry in ledger.entries(NAME)] == [3, 1, 2]
    times = [entry.at for entry in ledger.entries(NAME)]
    assert times == sorted(times)


def test_entries_are_found_by_model_and_by_each_of_the_given_tags(shelf):
    ours = add(alias="staging", version=1)
    also_ours = add(alias="production", version=1)
    theirs = add(name=OTHER, alias="staging", version=1)
    assert {entry.run_id for entry in ledger.entries()} == {ours, also_ours, theirs}
    assert [entry.run_id for entry in ledger.entries(NAME)] == [ours, also_ours]
    assert [entry.run_id for entry in ledger.entries(alias="staging")] == [ours, theirs]
    assert [entry.run_id for entry in ledger.entries(NAME, alias="staging", version="1")] == [ours]
    assert ledger.entries(NAME, alias="staging", version="2") == []


def test_entries_are_found_on_every_page(shelf, monkeypatch):
    for number in range(5):
        add(version=number)
    monkeypatch.setattr(ledger, "PAGE", 2)
    assert [entry.version for entry in ledger.entries(NAME)] == [0, 1, 2, 3, 4]


def test_an_entry_says_who_why_what_and_on_what_evidence(shelf, tmp_path):
    run_id = add(alias="staging", version=2, previous_version=None)
    (entry,) = ledger.entries(NAME)
    assert (entry.kind, entry.status, entry.alias, entry.version) == ("promote", "FINISHED", "staging", 2)
    assert entry.previous is None
    assert (entry.tags["by"], entry.tags["reason"]) == ("A. Name", "tried by hand")
    assert entry.host != ""
    evidence = tracking.download_run_file(run_id, ledger.EVIDENCE, tmp_path / "there")
    assert json.loads(evidence.read_text()) == {"auc": 0.9}


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (ledger.PROMOTE, "promote version 3 to staging"),
        (ledger.REFUSAL, "refusal version 3"),
        (ledger.RELEASE, "release version 3"),
        (ledger.ROLLBACK, "rollback to version 3"),
    ],
)
def test_an_entry_is_named_by_what_was_done_and_says_by_whom_and_why(shelf, kind, title):
    run = tracking.read_run(add(kind, alias="staging", version=3))
    assert run.info.run_name == title
    assert run.data.tags["mlflow.note.content"] == f"{NAME}: {title}, by A. Name. Reason: tried by hand."
    assert run.data.tags["mlflow.user"] != ""
    assert run.data.tags["mlflow.source.name"].startswith("python")


def test_a_previous_version_is_read_back(shelf):
    add(version=3, previous_version=2)
    assert ledger.entries(NAME)[0].previous == 2


def test_a_reason_longer_than_the_store_takes_is_cut(shelf):
    ledger.add(NAME, ledger.REFUSAL, by="A. Name", reason="x" * 6000, tags={}, evidence={})
    assert ledger.entries(NAME)[0].tags["reason"] == "x" * 5000


def test_a_move_is_under_way_until_it_is_ended_well_or_badly(shelf):
    good, bad, open_still = (add(is_over=False, alias="staging", version=n) for n in (1, 2, 3))
    assert [entry.run_id for entry in ledger.unfinished(NAME)] == [good, bad, open_still]
    ledger.end(good)
    ledger.end(bad, problem="the store failed")
    assert [entry.run_id for entry in ledger.unfinished(NAME)] == [open_still]
    assert [entry.run_id for entry in ledger.moves(NAME)] == [good]
    (failed,) = ledger.moves(NAME, status="FAILED")
    assert (failed.run_id, failed.tags["problem"]) == (bad, "the store failed")


def test_moves_are_those_of_the_alias_and_no_refusals_or_looks(shelf):
    staging, production = add(alias="staging", version=1), add(ledger.RELEASE, alias="production", version=1)
    add(ledger.REFUSAL, alias="staging", version=2)
    looks.record(NAME, images=["a"], model="m", model_digest="m", purpose="evaluate", run_id="r")
    assert [entry.run_id for entry in ledger.moves(NAME)] == [staging, production]
    assert [entry.run_id for entry in ledger.moves(NAME, "production")] == [production]


def test_a_deleted_ledger_is_refused_and_a_restored_one_goes_on(shelf):
    add(version=1)
    store = tracking.client()
    ledger_id = store.get_experiment_by_name(ledger.EXPERIMENT).experiment_id
    store.delete_experiment(ledger_id)
    how = f"mlflow experiments restore --experiment-id {ledger_id}"
    with pytest.raises(TrackingError, match=how):
        ledger.entries(NAME)
    with pytest.raises(TrackingError, match=how):
        add(version=2)
    store.restore_experiment(ledger_id)
    add(version=2)
    assert [entry.version for entry in ledger.entries(NAME)] == [1, 2]


def test_a_recalibration_is_named_by_its_source_and_clinic(shelf):
    told = add(ledger.RECALIBRATE, alias="staging-north", version=3, clinic="north", recalibrated_from=2)
    assert tracking.read_run(told).info.run_name == "recalibrate version 2 for north"
    assert [entry.run_id for entry in ledger.moves(NAME, "staging-north")] == [told]
    assert not ledger.moves(NAME, "staging")
