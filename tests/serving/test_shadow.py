"""A challenger answers beside the served model; whatever it does, nobody waits for it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from melanoma.errors import TrackingError
from melanoma.serving import shadow
from melanoma.serving.records import Recorded, Recorder, Written
from melanoma.serving.shadow import SHADOW, Row, Shadow, Waiting, open_shadow

KEY = "k" * 32
MODEL = Recorded("melanoma-sample", "3", "ab" * 32, 1)
DEADLINE = 60
# A program that speaks as `shadow_main` does, with `answer(fields, image)` instead of a model.
PROGRAM = """
    import json, os, sys, time
    from multiprocessing.connection import Connection

    def say(fields):
        connection.send_bytes(json.dumps(fields).encode())

    def answer(fields, image):
    {answer}

    connection = Connection(os.dup(0))
    {before}
    say({{"is_ready": True}})
    while True:
        fields = json.loads(connection.recv_bytes())
        say(answer(fields, connection.recv_bytes()))
"""
ECHO = 'return {"model_version": "4", "probability": len(image) / 100, "asked": fields}'


def written(number):
    return Written(f"p{number}", "2026-05-01T10:00:00.000001+00:00", "g", f"digest {number}")


def until(what):
    """Wait until something is true."""
    deadline = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path):
    """Starts a shadow of a program; its lines are read by `lines`."""
    made = []
    recorder = Recorder(tmp_path / "spool", key=KEY, model=MODEL)

    def start(answer=ECHO, *, before="", **options):
        program = tmp_path / "program.py"
        inside = textwrap.indent(textwrap.dedent(answer), "    ")
        program.write_text(textwrap.dedent(PROGRAM).format(answer=inside, before=before))
        options = {"first_pause": 0.01} | options
        made.append(Shadow("models:/m@challenger", recorder, program=program, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()
    recorder.close()


@pytest.fixture
def lines(tmp_path):
    def read():
        found = (path.read_text().splitlines() for path in (tmp_path / "spool").glob("*.jsonl"))
        return [json.loads(line) for lines in found for line in lines]

    return read


def offer(one, number=0, image=b"image", threshold=None):
    one.offer([image], [written(number)], threshold)


# ---- the queue -------------------------------------------------------------------------------


def rows(*sizes):
    return [Row(b"x" * size, None, written(number)) for number, size in enumerate(sizes)]


def test_rows_without_a_place_are_dropped_and_counted_and_the_others_come_in_order():
    waiting = Waiting(max_rows=2, max_bytes=100)
    first, second, third = rows(1, 1, 1)
    assert [waiting.put(row) for row in (first, second, third)] == [True, True, False]
    assert (len(waiting), waiting.num_dropped) == (2, 1)
    assert waiting.take() is first
    assert waiting.put(third)
    assert [waiting.take(), waiting.take()] == [second, third]
    assert (len(waiting), waiting.num_dropped) == (0, 1)


def test_the_bytes_of_the_images_are_bounded_too():
    waiting = Waiting(max_rows=9, max_bytes=10)
    large, small, too_large = rows(8, 2, 11)
    assert [waiting.put(row) for row in (too_large, large, large, small)] == [False, True, False, True]
    waiting.take()
    assert waiting.put(large)
    assert waiting.num_dropped == 2


# ---- a challenger that works -----------------------------------------------------------------


def test_the_answer_of_a_challenger_is_recorded_beside_the_answer_that_it_belongs_to(start, lines):
    one = start()
    offer(one, 7, b"12345", threshold=0.25)
    until(lambda: one.num_scored)
    (line,) = lines()
    assert line.pop("scored_at") > line["time"]
    assert line == {
        "schema": 1,
        "shadow_of": "p7",
        "time": "2026-05-01T10:00:00.000001+00:00",
        "group_key": "g",
        "image_sha256": "digest 7",
        "model_version": "4",
        "probability": 0.05,
        "asked": {"threshold": 0.25},
    }
    assert (one.num_failed, one.num_dropped, one.num_restarts, one.num_waiting) == (0, 0, 0, 0)


def test_large_images_reach_the_challenger_whole(start, lines):
    one = start()
    offer(one, image=bytes(5_000_000))
    until(lambda: one.num_scored)
    assert lines()[0]["probability"] == 50_000


def test_a_challenger_knows_no_secret_and_nothing_that_would_make_it_a_server(start, lines, monkeypatch):
    for name in (*shadow.OF_A_SERVER, "MELANOMA_RECORDS", "MELANOMA_RECORDS_KEY", SHADOW):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    one = start("return dict(os.environ)")
    offer(one)
    until(lambda: one.num_scored)
    (line,) = lines()
    assert "secret" not in line.values()
    assert line["MLFLOW_TRACKING_URI"] == "sqlite:///here.db"


# ---- one that does not -----------------------------------------------------------------------


def test_nobody_waits_for_a_slow_challenger(start):
    one = start("time.sleep(30)", waiting=Waiting(max_rows=3, max_bytes=100))
    offer(one)
    until(lambda: one.num_waiting == 0)  # it has taken one
    began = time.monotonic()
    for number in range(100):
        offer(one, number)
    assert time.monotonic() - began < 1
    assert (one.num_waiting, one.num_dropped, one.num_scored) == (3, 97, 0)


def test_a_row_that_cannot_be_answered_is_counted_and_the_next_one_is(start, lines, caplog):
    one = start('return {"error": "too dark"} if image == b"bad" else {"model_version": "4"}')
    for number, image in enumerate((b"bad", b"good", b"bad")):
        offer(one, number, image)
    until(lambda: one.num_scored + one.num_failed == 3)
    assert (one.num_scored, one.num_failed, one.num_restarts) == (1, 2, 0)
    assert [line["shadow_of"] for line in lines()] == ["p1"]
    (said,) = (record.message for record in caplog.records)  # once a minute
    assert "models:/m@challenger could not answer 1 rows so far (too dark)" in said


def test_a_challenger_that_hangs_is_killed_and_started_again(start, lines, caplog):
    one = start('time.sleep(60 if image == b"bad" else 0); return {}', answer_seconds=0.5)
    for number, image in enumerate((b"bad", b"good")):
        offer(one, number, image)
    until(lambda: one.num_scored)
    assert (one.num_failed, one.num_restarts) == (1, 1)
    assert [line["shadow_of"] for line in lines()] == ["p1"]
    assert "it hangs: no answer in 0.5 seconds" in caplog.text


def test_a_challenger_that_was_stopped_by_the_system_is_killed_too(start):
    one = start(answer_seconds=0.5)
    until(lambda: one._challenger)
    process = psutil.Process(one._challenger.process.pid)
    process.suspend()
    offer(one, 0, bytes(2_000_000))  # more than its socket holds
    offer(one, 1)
    until(lambda: one.num_scored)
    assert (one.num_failed, one.num_restarts) == (1, 1)
    assert not process.is_running()


def test_a_challenger_that_was_killed_is_started_again(start, lines, caplog):
    one = start()
    offer(one)
    until(lambda: one.num_scored == 1)
    os.kill(one._challenger.process.pid, signal.SIGKILL)
    offer(one, 1)
    until(lambda: one.num_restarts)
    offer(one, 2)
    until(lambda: one.num_scored + one.num_failed == 3)
    assert lines()[-1]["shadow_of"] == "p2"
    assert "its process ended with exit code -9. It is started again in 0.01 seconds" in caplog.text


def test_a_challenger_that_cannot_be_loaded_says_why_and_is_tried_again(start, caplog):
    one = start(before='say({"error": "it cannot be loaded: no such alias"}); sys.exit(1)')
    until(lambda: one.num_restarts >= 2)
    assert "models:/m@challenger gives no answers: it cannot be loaded: no such alias" in caplog.text
    pauses = [record.args[2] for record in caplog.records]
    assert pauses[:2] == [0.01, 0.02]


def test_a_challenger_that_answers_nonsense_is_started_again(start, lines):
    one = start('connection.send_bytes(b"no JSON") if image == b"bad" else None; return {}')
    offer(one, 0, b"bad")
    until(lambda: one.num_restarts)
    offer(one, 1)
    until(lambda: one.num_scored)
    assert [line["shadow_of"] for line in lines()] == ["p1"]
    assert one.num_failed == 1


def test_a_program_that_does_not_exist_ends_nothing(tmp_path, caplog):
    recorder = Recorder(tmp_path, key=KEY, model=MODEL)
    one = Shadow("m", recorder, program=Path("/no/such/program.py"), first_pause=0.01)
    until(lambda: one.num_restarts >= 1)
    one.close()
    assert "ended with exit code 2" in caplog.text


def test_a_closed_shadow_leaves_no_process(start):
    one = start("time.sleep(60)")
    offer(one)
    until(lambda: one._challenger and not one.num_waiting)
    process = psutil.Process(one._challenger.process.pid)
    one.close()
    assert not process.is_running()
    assert one.num_restarts == 0


def test_a_closed_shadow_that_nobody_asked_leaves_no_process_either(start):
    one = start()
    until(lambda: one._challenger)
    process = psutil.Process(one._challenger.process.pid)
    one.close()
    assert not process.is_running()


def test_a_lost_line_is_counted(start, tmp_path):
    (tmp_path / "spool").write_text("not a folder")
    one = start()
    offer(one)
    until(lambda: one.num_failed)
    assert one.num_scored == 0


# ---- beside work -----------------------------------------------------------------------------


def status(one):
    return psutil.Process(one._challenger.process.pid).status()


def test_a_challenger_stands_still_beside_all_work_and_goes_on_after_the_last(start, lines):
    one = start()
    until(lambda: one._challenger)
    with one.standing_still():
        with one.standing_still():
            offer(one)
        time.sleep(0.3)
        assert status(one) == psutil.STATUS_STOPPED
        assert (lines(), one.num_scored) == ([], 0)
    until(lambda: one.num_scored)
    assert status(one) != psutil.STATUS_STOPPED


def test_a_challenger_that_starts_beside_work_stands_still_too(start):
    one = start(before="time.sleep(0.5)")
    with one.standing_still():
        offer(one)
        until(lambda: one._challenger)
        time.sleep(0.3)
        assert one.num_scored == 0
    until(lambda: one.num_scored)


def test_time_in_which_it_stands_still_is_not_that_of_a_challenger_that_hangs(start, monkeypatch):
    monkeypatch.setattr(shadow, "LOOK_SECONDS", 0.05)
    one = start(answer_seconds=0.3)
    until(lambda: one._challenger)
    with one.standing_still():
        offer(one)
        time.sleep(1)
    until(lambda: one.num_scored)
    assert (one.num_failed, one.num_restarts) == (0, 0)


def test_a_challenger_that_is_killed_while_it_stands_still_comes_back(start):
    one = start()
    until(lambda: one._challenger)
    with one.standing_still():
        os.kill(one._challenger.process.pid, signal.SIGKILL)
        offer(one, 0)
        until(lambda: one.num_restarts)
    offer(one, 1)
    until(lambda: one.num_scored)


def test_a_challenger_that_stands_still_ends_with_a_server_that_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).format(answer="    return {}", before=""))
    code = f"""
        import time
        from pathlib import Path
        from melanoma.serving.records import Recorded, Recorder
        from melanoma.serving.shadow import Shadow

        recorder = Recorder(Path({str(tmp_path)!r}), key={KEY!r}, model=Recorded("m", "3", "ab" * 32, 1))
        one = Shadow("m", recorder, program=Path({str(program)!r}))
        while one._challenger is None:
            time.sleep(0.01)
        with one.standing_still():
            print(one._challenger.process.pid, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        process = psutil.Process(int(server.stdout.readline()))
        until(lambda: process.status() == psutil.STATUS_STOPPED)
        server.kill()
    gone, _ = psutil.wait_procs([process], timeout=10)
    assert gone


# ---- environment -----------------------------------------------------------------------------


def test_no_challenger_answers_unless_asked(monkeypatch, tmp_path):
    monkeypatch.delenv(SHADOW, raising=False)
    assert open_shadow(Recorder(tmp_path, key=KEY, model=MODEL)) is None


def test_a_challenger_needs_records(monkeypatch, tmp_path):
    monkeypatch.setenv(SHADOW, "models:/m@challenger")
    with pytest.raises(
        TrackingError, match=r"MELANOMA_SHADOW is models:/m@challenger, but MELANOMA_RECORDS is not"
    ):
        open_shadow(None)
    monkeypatch.setattr(shadow, "Shadow", lambda uri, recorder: (uri, recorder))
    recorder = Recorder(tmp_path, key=KEY, model=MODEL)
    made: object = open_shadow(recorder)
    assert made == ("models:/m@challenger", recorder)
