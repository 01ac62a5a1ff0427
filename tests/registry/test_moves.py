from datetime import timedelta

import pytest
from mlflow.exceptions import MlflowException

from melanoma.errors import TrackingError
from melanoma.registry import ledger, moves, versions
from tests.registry import child

NAME = "melanoma-ph2"


def move(version, *, alias="production", kind=ledger.RELEASE):
    with moves.turn(NAME):
        return moves.move_alias(NAME, alias, version, kind=kind, by="me", reason="r", evidence={})


def enter(version, *, previous=None):
    """A move that is entered and not carried out."""
    tags = {"alias": "production", "version": version, "previous_version": previous}
    return ledger.add(NAME, ledger.RELEASE, by="x", reason="r", tags=tags, evidence={}, is_over=False)


def told(status="FINISHED"):
    return [(entry.previous, entry.version) for entry in ledger.moves(NAME, status=status)]


def test_a_move_is_carried_out_and_entered_with_what_was_before(store):
    assert move(1) is None
    assert move(3) == 1
    assert moves.holder_of(NAME, "production") == 3
    assert told() == [(None, 1), (1, 3)]


def test_a_version_that_holds_the_alias_already_is_not_entered_again(store):
    move(1)
    assert move(1) == 1
    assert told() == [(None, 1)]


def test_aliases_have_moves_of_their_own(store):
    move(1)
    move(2, alias="staging", kind=ledger.PROMOTE)
    assert [entry.version for entry in ledger.moves(NAME, "staging")] == [2]
    assert moves.holder_of(NAME, "production") == 1


@pytest.mark.parametrize(("death", "carried_out"), [("before", False), ("after", True)])
def test_a_move_that_was_killed_is_ended_by_the_next_turn_as_the_alias_shows(store, death, carried_out):
    move(1)
    child.kill_itself(2, death)
    assert told("RUNNING") == [(1, 2)]
    with moves.turn(NAME):
        pass
    assert moves.holder_of(NAME, "production") == (2 if carried_out else 1)
    assert told("RUNNING") == []
    assert told("FAILED") == ([] if carried_out else [(1, 2)])
    assert told() == ([(None, 1), (1, 2)] if carried_out else [(None, 1)])


def test_after_a_kill_the_same_command_does_what_it_was_to_do(store):
    child.kill_itself(2, "before")
    assert move(2) is None
    assert moves.holder_of(NAME, "production") == 2
    assert told() == [(None, 2)]


def test_an_ended_entry_is_never_touched_again(store):
    move(1)
    (entry,) = ledger.moves(NAME)
    before = store.get_run(entry.run_id).to_dictionary()
    move(2)
    assert store.get_run(entry.run_id).to_dictionary() == before


def test_two_processes_that_move_at_once_do_so_one_after_the_other(store):
    processes = [child.start(version) for version in (1, 2)]
    for process in processes:
        output, problem = process.communicate(timeout=120)
        assert output.split() == ["in", "moved"], problem
    first, second = ledger.moves(NAME)
    assert {first.version, second.version} == {1, 2}
    assert (first.previous, second.previous) == (None, first.version)
    assert moves.holder_of(NAME, "production") == second.version


def test_who_waits_too_long_is_told_and_nothing_moves(store):
    process = child.start(1, "wait")
    try:
        assert process.stdout.readline() == "in\n"
        with pytest.raises(TrackingError, match="changing aliases of melanoma-ph2"):  # noqa: SIM117
            with moves.turn(NAME, wait_seconds=0.1):
                pytest.fail("two are in")
        assert told() == []
    finally:
        process.communicate("\n", timeout=120)
    assert told() == [(None, 1)]


def test_a_store_named_relative_and_whole_has_one_lock(store, tmp_path, monkeypatch):
    whole = moves._lock_path(NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert moves._lock_path(NAME) == whole
    assert moves._lock_path("another") != whole


def test_a_fresh_move_of_another_machine_is_left_alone(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "here", lambda: "elsewhere (user 0)")
        enter(2)
    with pytest.raises(TrackingError, match=r"elsewhere .* has been moving the alias production"):
        move(1)
    assert moves.holder_of(NAME, "production") is None
    assert told("RUNNING") == [(None, 2)]


def test_a_stale_move_of_another_machine_is_ended(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "here", lambda: "elsewhere (user 0)")
        enter(2)
    monkeypatch.setattr(moves, "STALE_AFTER", timedelta(0))
    move(1)
    assert told("FAILED") == [(None, 2)]
    assert told() == [(None, 1)]


def test_a_move_of_another_machine_that_comes_in_between_stops_this_one(store):
    with moves.turn(NAME):
        rival = enter(2)
        with pytest.raises(TrackingError, match="another move of melanoma-ph2 came in between"):
            moves.move_alias(NAME, "production", 1, kind="release", by="a", reason="r", evidence={})
        ledger.end(rival, problem="test")
    assert moves.holder_of(NAME, "production") is None


def test_an_alias_that_somebody_moves_at_once_is_told(store, monkeypatch):
    monkeypatch.setattr(
        versions, "set_alias", lambda name, alias, _: store.set_registered_model_alias(name, alias, "3")
    )
    with pytest.raises(TrackingError, match="somebody moved it at once"):
        move(1)
    assert told("FAILED") == [(None, 1)]


def test_a_registry_that_goes_away_on_the_way_is_named_and_the_next_turn_mends(store, monkeypatch):
    def fail(*_):
        raise MlflowException("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(versions, "set_alias", fail)
        with pytest.raises(TrackingError, match=r"failed while aliases of melanoma-ph2 were changed.*lost"):
            move(1)
    assert moves.holder_of(NAME, "production") is None
    assert move(2) is None
    assert told("FAILED") == [(None, 1)]


def test_a_registry_that_is_down_is_named_and_nothing_is_entered(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:1 does not answer"):
            move(1)
    assert ledger.entries(NAME) == []


def test_the_way_back_is_that_of_undoing(store):
    for version in (1, 2, 3):
        move(version)
    assert moves.way_back(NAME, "production") == [1, 2, 3]
    move(2, kind=ledger.ROLLBACK)
    assert moves.way_back(NAME, "production") == [1, 2]
    move(1, kind=ledger.ROLLBACK)
    assert moves.way_back(NAME, "production") == [1]
    move(3)
    assert moves.way_back(NAME, "production") == [1, 3]


def test_the_way_back_leads_to_what_was_set_by_hand_before_a_move(store):
    store.set_registered_model_alias(NAME, "production", "2")
    move(3)
    assert moves.way_back(NAME, "production") == [2, 3]
