import hashlib
import json

import pytest

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.registry import ledger

NAME = "melanoma-ph2"


def look(model_digest, purpose="evaluate", test_digest="t"):
    ledger.record_look(
        NAME, test_digest=test_digest, model_digest=model_digest, purpose=purpose, run_id="0" * 32
    )


def test_a_test_split_is_known_by_its_images_in_any_order():
    assert ledger.test_digest(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert ledger.test_digest(["a"]) != ledger.test_digest(["a", "b"])


def test_looks_are_counted_by_split_with_models_and_choices(store):
    look("one")
    look("one", "promote")
    look("two", "promote")
    look("two", "promote", test_digest="another")
    assert ledger.count_looks("t") == ledger.Looks(num_looks=3, num_models=2, num_choices=2)
    assert ledger.count_looks("none") == ledger.Looks(0, 0, 0)


def test_an_entry_says_who_did_what_when_and_why_and_what_it_rests_on(store, tmp_path):
    run_id = ledger.add(
        NAME,
        ledger.REFUSAL,
        by="A. Name",
        reason="worse",
        tags={"alias": "staging", "version": 2, "previous_version": None},
        evidence={"auc_roc": 0.5},
    )
    (entry,) = ledger.entries(NAME)
    assert (entry.kind, entry.alias, entry.version, entry.previous) == ("refusal", "staging", 2, None)
    assert (entry.tags["by"], entry.tags["reason"], entry.status) == ("A. Name", "worse", "FINISHED")
    assert entry.tags["git_commit"] == "unknown"
    assert entry.at.tzname() == "UTC"
    path = tracking.download_run_file(run_id, ledger.EVIDENCE, tmp_path / "there")
    assert json.loads(path.read_text()) == {"auc_roc": 0.5}


def test_entries_are_of_one_model_the_oldest_first(store):
    for name in (NAME, "another", NAME):
        tags = {"alias": "production", "version": 1}
        ledger.add(name, ledger.RELEASE, by="a", reason="r", tags=tags, evidence={})
    assert [entry.tags["registered_model"] for entry in ledger.entries(NAME)] == [NAME, NAME]
    times = [entry.at for entry in ledger.entries()]
    assert len(times) == 3
    assert times == sorted(times)


def test_entries_are_found_on_every_page(store, monkeypatch):
    for number in range(5):
        look(str(number))
    monkeypatch.setattr(ledger, "PAGE", 2)
    assert [entry.tags["model_digest"] for entry in ledger.entries(NAME)] == list("01234")


def test_a_deleted_ledger_is_refused_with_how_to_bring_it_back(store):
    look("one")
    store.delete_experiment(store.get_experiment_by_name(ledger.EXPERIMENT).experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore --experiment-id"):
        look("two")
    with pytest.raises(TrackingError, match="mlflow experiments restore --experiment-id"):
        ledger.entries(NAME)


def test_a_ledger_that_another_process_makes_at_the_same_moment_is_used(store, monkeypatch):
    made = store.create_experiment(ledger.EXPERIMENT)
    real, answers = store.get_experiment_by_name, [None]
    late = lambda name: answers.pop() if answers else real(name)  # noqa: E731
    monkeypatch.setattr(store, "get_experiment_by_name", late)
    assert tracking.experiment_id(store, ledger.EXPERIMENT) == made
