import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.fingerprint import FILES_TAG, digest_of_files
from melanoma.registry import ledger, moves, versions
from melanoma.registry.ledger import PROMOTE, RELEASE, ROLLBACK
from melanoma.registry.versions import PRODUCTION, STAGING
from tests.imports import ROOT
from tests.registry.shelf import NAME, WHO

ELSEWHERE = "another-machine"


def holder(alias=STAGING):
    return moves.holder_of(NAME, alias)


def outcomes():
    return [(entry.version, entry.status, entry.tags.get("problem")) for entry in ledger.entries(NAME)]


@pytest.fixture
def three(shelf):
    for _ in range(3):
        shelf.register()
    return shelf


@pytest.fixture
def start(three):
    """Starts processes that move aliases in the same store; see `tests.registry.mover`."""
    started = []

    def start(end, *numbers):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.registry.mover", end, *map(str, numbers)],
            cwd=three.folder,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def await_ready(process):
    assert process.stdout.readline() == "ready\n", process.stderr.read()


def let_go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture
def elsewhere(monkeypatch):
    """Calls something as another machine would."""

    def call(function, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(platform, "node", lambda: ELSEWHERE)
            return function(*arguments, **options)

    return call


def test_a_move_is_entered_before_the_alias_moves_and_ended_afterwards(three, monkeypatch):
    seen = []

    def watched(*arguments):
        seen.append((holder(), *outcomes()[-1]))
        set_alias(*arguments)

    set_alias = versions.set_alias
    monkeypatch.setattr(versions, "set_alias", watched)
    three.move(1)
    assert seen == [(None, 1, "RUNNING", None)]
    assert holder() == 1
    assert outcomes() == [(1, "FINISHED", None)]


def test_a_move_notes_which_version_held_the_alias_before(three):
    assert three.move(1) is None
    assert three.move(2) == 1
    assert [entry.previous for entry in ledger.moves(NAME)] == [None, 1]


def test_nothing_is_entered_where_the_version_holds_the_alias_already(three):
    three.move(1)
    assert three.move(1) == 1
    assert outcomes() == [(1, "FINISHED", None)]


def test_each_alias_moves_by_itself(three):
    three.move(1)
    three.move(2, alias=PRODUCTION, kind=RELEASE)
    assert (holder(STAGING), holder(PRODUCTION)) == (1, 2)
    assert [entry.version for entry in ledger.moves(NAME, PRODUCTION)] == [2]


def test_processes_that_move_at_once_take_turns_and_the_ledger_agrees_with_the_alias(three, start):
    three.register()
    processes = [start("alive", 1, 2, 1), start("alive", 3, 4, 3)]
    for process in processes:
        await_ready(process)
    for process in processes:
        let_go(process)
    for process in processes:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
    done = ledger.entries(NAME)
    assert Counter(entry.version for entry in done) == {1: 2, 2: 1, 3: 2, 4: 1}
    assert {entry.status for entry in done} == {"FINISHED"}
    assert done[-1].version == holder()
    befores = [entry.previous for entry in done]
    assert befores == [None, *(entry.version for entry in done[:-1])]  # each saw the one before it


@pytest.mark.parametrize(
    ("end", "holds", "outcome"),
    [
        ("before", 1, (2, "FAILED", "interrupted before the alias was moved")),
        ("after", 2, (2, "FINISHED", None)),
    ],
)
def test_what_a_kill_leaves_is_mended_at_the_next_turn(three, start, end, holds, outcome):
    three.move(1)
    process = start(end, 2)
    await_ready(process)
    let_go(process)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert outcomes()[-1] == (2, "RUNNING", None)
    assert holder() == holds

    with moves.exclusive(NAME):
        assert ledger.unfinished(NAME) == []
    assert outcomes() == [(1, "FINISHED", None), outcome]
    assert holder() == holds == ledger.moves(NAME, STAGING)[-1].version
    assert three.move(3) == holds


def test_where_nothing_was_cut_off_a_turn_mends_nothing(three):
    three.move(1)
    assert moves.repair(NAME) == []
    assert outcomes() == [(1, "FINISHED", None)]


def test_an_unfinished_move_of_another_machine_stops_us_while_it_may_be_at_work(three, elsewhere):
    cut_off = elsewhere(three.enter_unfinished, 2)
    three.set_time(cut_off, datetime.now(UTC) - timedelta(minutes=10))
    with pytest.raises(
        TrackingError, match=f"{ELSEWHERE}.* has been moving the alias staging of {NAME} to version 2"
    ):
        three.move(1)
    assert holder() is None
    assert outcomes() == [(2, "RUNNING", None)]

    three.set_time(cut_off, datetime.now(UTC) - timedelta(minutes=16))
    three.move(1)
    assert holder() == 1
    assert outcomes() == [(2, "FAILED", "interrupted before the alias was moved"), (1, "FINISHED", None)]


def test_that_machine_itself_need_not_wait(three, elsewhere):
    elsewhere(three.enter_unfinished, 2)
    elsewhere(three.move, 1)
    assert outcomes() == [(2, "FAILED", "interrupted before the alias was moved"), (1, "FINISHED", None)]


def test_a_move_that_another_machine_entered_meanwhile_stops_ours(three, elsewhere):
    three.move(1)
    with moves.exclusive(NAME):
        rival = elsewhere(three.enter_unfinished, 3)
        with pytest.raises(
            TrackingError, match="alias staging was not moved: another process moved an alias of melanoma-ph2"
        ):
            moves.move_alias(NAME, STAGING, 2, kind=PROMOTE, evidence={}, **WHO)
        assert holder() == 1
        assert outcomes()[-1] == (2, "FAILED", f"another process moved an alias of {NAME} at the same time")
        ledger.end(rival, problem="gave up")
        moves.move_alias(NAME, STAGING, 2, kind=PROMOTE, evidence={}, **WHO)
    assert holder() == 2


def test_an_alias_that_somebody_moves_right_after_us_is_reported(three, monkeypatch):
    set_alias = versions.set_alias

    def overtaken(name, alias, version):
        set_alias(name, alias, version)
        set_alias(name, alias, "3")

    monkeypatch.setattr(versions, "set_alias", overtaken)
    with pytest.raises(TrackingError, match="was set to version 2, but another process moved it right after"):
        three.move(2)
    assert outcomes() == [(2, "FAILED", "another process moved the alias right after it was set")]


def test_who_waits_too_long_for_its_turn_learns_whom_it_waits_for(three):
    held = moves._lock_path(NAME)
    program = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.readline()"
    )
    command, pipe = [sys.executable, "-c", program, str(held)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            with (
                pytest.raises(TrackingError, match=f"held the lock {held} for more than 0.1 s"),
                moves.exclusive(NAME, wait_seconds=0.1),
            ):
                pass
            with moves.exclusive("melanoma-isic", wait_seconds=0.1):
                pass  # another model is free
        finally:
            process.kill()
    assert three.move(1) is None  # the system freed the lock of the killed process


def test_the_lock_is_free_after_an_error(three):
    with pytest.raises(ValueError, match="ours"), moves.exclusive(NAME):
        raise ValueError("ours")
    assert three.move(1) is None


@pytest.mark.parametrize(
    ("steps", "way"),
    [
        ([], []),
        ([(PROMOTE, 1)], [1]),
        ([(PROMOTE, 1), (PROMOTE, 2), (RELEASE, 3)], [1, 2, 3]),
        ([(PROMOTE, 1), (PROMOTE, 2), (ROLLBACK, 1)], [1]),
        ([(PROMOTE, 1), (PROMOTE, 2), (PROMOTE, 3), (ROLLBACK, 2), (ROLLBACK, 1)], [1]),
        ([(PROMOTE, 1), (PROMOTE, 2), (ROLLBACK, 1), (PROMOTE, 3)], [1, 3]),
        ([(PROMOTE, 1), (PROMOTE, 2), (PROMOTE, 1)], [1, 2, 1]),
        ([(PROMOTE, 1), ("outside", 2), (PROMOTE, 3)], [2, 3]),
        ([(PROMOTE, 1), (PROMOTE, 2), ("removed", 0), (PROMOTE, 3)], [3]),
    ],
)
def test_the_way_back_is_what_held_the_alias_and_was_not_taken_back(three, steps, way):
    for kind, number in steps:
        match kind:
            case "outside":
                versions.set_alias(NAME, STAGING, str(number))
            case "removed":
                tracking.client().delete_registered_model_alias(NAME, STAGING)
            case _:
                three.move(number, kind=kind)
    assert moves.rollback_targets(NAME, STAGING) == way
    assert moves.rollback_targets(NAME, PRODUCTION) == []


def test_moves_that_failed_are_not_on_the_way_back(three):
    three.move(1)
    ledger.end(three.enter_unfinished(2), problem="interrupted before the alias was moved")
    three.move(3)
    assert moves.rollback_targets(NAME, STAGING) == [1, 3]


def test_a_move_keeps_the_digest_of_the_files_that_the_alias_moves_to(shelf):
    number = shelf.register()
    shelf.move(number)
    (entry,) = ledger.moves(NAME)
    assert entry.tags[FILES_TAG] == digest_of_files(shelf.model(number))


def test_a_move_to_a_version_without_a_digest_says_so_by_a_blank(shelf):
    shelf.move(shelf.register(**{FILES_TAG: None}))
    (entry,) = ledger.moves(NAME)
    assert entry.tags[FILES_TAG] == ""
