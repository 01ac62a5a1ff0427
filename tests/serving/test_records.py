"""Each answered row leaves one record, whatever happens to the process or the disk."""

import base64
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from melanoma.errors import TrackingError
from melanoma.monitoring import records as reading
from melanoma.serving import records, spool
from melanoma.serving.records import RECORDS, RECORDS_KEY, RECORDS_SPOOL, Asked, Recorded, Recorder, group_key

KEY = "k" * 32
MODEL = Recorded("melanoma-sample", "3", "ab" * 32, 1)
BYTES = b"\x89PNG\r\n\x1a\n"


def asked(*group_ids):
    number = len(group_ids)
    return Asked([BYTES] * number, [f"i{n}" for n in range(number)], group_ids, time.monotonic())


def answer(recorder, *group_ids):
    number = len(group_ids)
    columns = {
        "image_sha256": ["0" * 64] * number,
        "probability": [0.25] * number,
        "decision": ["negative"] * number,
        "reason": [None] * number,
        "threshold": [0.5] * number,
    }
    written = recorder.answered(
        asked(*group_ids),
        columns,
        scores=np.full(number, 0.125),
        facts=[{"sharpness": 12.34567891}] * number,
        features=np.array([[1.5, 0, 6]] * number),
        seconds={"decode": 0.001, "forward": 0.002, "whole": 0.0035},
    )
    return [one.prediction_id for one in written]


@pytest.fixture
def recorder(tmp_path):
    made = Recorder(tmp_path / "spool", key=KEY, model=MODEL)
    yield made
    made.close()


def lines(folder):
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def test_a_record_says_what_was_answered_but_not_who_or_how_the_image_looks(recorder, tmp_path):
    (prediction_id,) = answer(recorder, "patient 7")
    (line,) = lines(tmp_path / "spool")
    row = json.loads(line)
    assert pd.Timestamp(row.pop("time")).tz is not None
    assert row == {
        "schema": 1,
        "prediction_id": prediction_id,
        "image_id": "i0",
        "group_key": group_key("patient 7", KEY.encode()),
        "image_sha256": "0" * 64,
        "num_bytes": len(BYTES),
        "width": None,
        "height": None,
        "model_name": "melanoma-sample",
        "model_version": "3",
        "network_sha256": "ab" * 32,
        "num_views": 1,
        "probability": 0.25,
        "decision": "negative",
        "reason": None,
        "threshold": 0.5,
        "score": 0.125,
        "facts": {"sharpness": 12.3457},
        "embedding": row["embedding"],
        "milliseconds": {"decode": 1.0, "forward": 2.0, "whole": 3.5},
    }
    embedding = np.frombuffer(base64.b64decode(row["embedding"]), "<f2")
    np.testing.assert_array_equal(embedding, [1.5, 0, 6])
    for secret in (KEY.encode(), b"patient 7", BYTES, base64.b64encode(BYTES)):
        assert secret not in line


def test_the_hash_of_a_group_depends_on_the_key_and_the_group():
    made = {group_key(group, key) for group in ("a", "b") for key in (b"x" * 32, b"y" * 32)}
    assert len(made) == 4
    assert group_key("a", b"x" * 32) == group_key("a", b"x" * 32)


def test_prediction_ids_are_never_repeated(recorder):
    assert len({one for _ in range(50) for one in answer(recorder, *["a"] * 20)}) == 1000


def test_a_refused_row_is_recorded_with_its_reason_and_without_a_score(recorder, tmp_path):
    recorder.refused(asked(None, None, None), {1: "truncated"})
    (row,) = map(json.loads, lines(tmp_path / "spool"))
    assert (row["image_id"], row["refusal"], row["group_key"]) == ("i1", "truncated", None)
    assert "score" not in row


# ---- the disk --------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_breaks_no_answer_and_is_counted(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    recorder = Recorder(tmp_path / "file" / "spool", key=KEY, model=MODEL)
    assert len(answer(recorder, "a", "b")) == 2
    answer(recorder, "c")
    assert (recorder.num_written, recorder.num_lost) == (0, 3)
    assert len([one for one in caplog.records if "records cannot be written" in one.message]) == 1


def test_a_full_disk_leaves_no_half_line_and_later_records_are_whole(recorder, tmp_path, monkeypatch):
    answer(recorder, "a")
    write, sizes = os.write, []

    def fill(file, content):
        sizes.append(len(content))
        if len(sizes) == 1:
            return write(file, content[:100])  # a part fits
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill)
        answer(recorder, "b")
    answer(recorder, "c")
    assert (recorder.num_written, recorder.num_lost) == (2, 1)
    keys = [json.loads(line)["group_key"] for line in lines(tmp_path / "spool")]
    assert keys == [group_key(group, KEY.encode()) for group in ("a", "c")]


def test_a_spool_that_was_removed_is_made_again(recorder, tmp_path):
    answer(recorder, "a")
    (path,) = (tmp_path / "spool").glob("*.jsonl")
    path.unlink()
    (tmp_path / "spool").rmdir()
    answer(recorder, "b")
    assert [json.loads(line)["group_key"] for line in lines(tmp_path / "spool")] == [
        group_key("b", KEY.encode())
    ]


def test_a_large_file_is_followed_by_another_one(recorder, tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "ROLL_BYTES", 1)
    for _ in range(3):
        answer(recorder, "a")
    assert len(list((tmp_path / "spool").glob("*.jsonl"))) == 3
    assert reading.compact(tmp_path / "spool", tmp_path / "out").num_files == 2  # the last one is open


def test_the_age_of_what_the_disk_has_not_is_known_even_if_the_disk_fails(tmp_path, monkeypatch):
    one = spool.Spool(tmp_path)
    assert one.unsynced_seconds == 0
    one.append(b"{}\n")
    time.sleep(0.05)
    waited = one.unsynced_seconds
    assert waited >= 0.05
    with monkeypatch.context() as patch, pytest.raises(OSError, match="gone"):
        patch.setattr(os, "fsync", fail)
        one.sync()
    one.append(b"{}\n")
    assert one.unsynced_seconds > waited
    one.sync()
    assert one.unsynced_seconds == 0
    one.close()


def fail(file):
    raise OSError("the disk is gone")


def test_a_file_that_is_compacted_before_it_is_locked_is_not_written(recorder, tmp_path, monkeypatch):
    lock = fcntl.flock
    files: list[int] = []

    def compact_first(file, operation):
        if not files:
            files.append(file)
            (path,) = (tmp_path / "spool").glob("*.jsonl")
            path.unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", compact_first)
    answer(recorder, "a")
    assert len(lines(tmp_path / "spool")) == 1


def test_an_idle_server_closes_an_old_file(recorder, tmp_path, monkeypatch):
    answer(recorder, "a")
    monkeypatch.setattr(spool, "ROLL_SECONDS", 0)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not reading.compact(tmp_path / "spool", tmp_path / "out").num_files:
        time.sleep(0.1)
    assert reading.read(tmp_path / "out").rows["prediction_id"].notna().sum() == 1


def test_lines_reach_the_disk_within_a_second(recorder, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    answer(recorder, "a")
    deadline = time.monotonic() + 20 * spool.SYNC_SECONDS
    while not synced and time.monotonic() < deadline:
        time.sleep(0.05)
    assert synced


KILLED = """
    import sys
    from pathlib import Path
    from tests.serving.test_records import answer, KEY, MODEL
    from melanoma.serving.records import Recorder
    recorder = Recorder(Path(sys.argv[1]), key=KEY, model=MODEL)
    while True:
        print(*answer(recorder, "a", "b"), flush=True)  # stands for the answer that is sent
"""


def test_a_killed_process_has_a_record_for_each_answer(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "spool")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    answered = [one for line in said if line.endswith("\n") for one in line.split()]
    recorded = [json.loads(line)["prediction_id"] for line in lines(tmp_path / "spool")]
    assert len(answered) >= 400
    assert set(answered) <= set(recorded)
    assert len(recorded) - len(answered) <= 2  # the answer that was in progress
    assert reading.compact(tmp_path / "spool", tmp_path / "out").num_rows == len(recorded)


# ---- environment -----------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch, tmp_path):
    for name in (RECORDS, RECORDS_KEY, RECORDS_SPOOL):
        monkeypatch.delenv(name, raising=False)
    return SimpleNamespace(set=monkeypatch.setenv, folder=tmp_path)


def test_nothing_is_recorded_unless_asked(environment):
    assert records.open_recorder(MODEL, keep_images=False) is None


@pytest.mark.parametrize("key", [None, "short"])
def test_a_server_without_a_key_of_some_length_does_not_start(environment, key):
    environment.set(RECORDS, str(environment.folder))
    if key:
        environment.set(RECORDS_KEY, key)
    with pytest.raises(TrackingError, match=f"{RECORDS_KEY} has {len(key or '')} characters.*openssl rand"):
        records.open_recorder(MODEL, keep_images=False)
    environment.set(RECORDS_KEY, KEY)
    answer(records.open_recorder(MODEL, keep_images=False), "a")
    assert len(lines(environment.folder / "spool")) == 1


def test_records_in_s3_need_a_spool_on_this_machine(environment):
    environment.set(RECORDS, "s3://bucket/records")
    environment.set(RECORDS_KEY, KEY)
    with pytest.raises(TrackingError, match=f"but {RECORDS_SPOOL} is not set"):
        records.open_recorder(MODEL, keep_images=False)
    environment.set(RECORDS_SPOOL, str(environment.folder / "here"))
    answer(records.open_recorder(MODEL, keep_images=False), "a")
    assert len(lines(environment.folder / "here")) == 1


# ---- the model -------------------------------------------------------------------------------


@pytest.fixture
def recording(logged, environment):
    """The served model, whose answers are recorded in a folder."""
    environment.set(RECORDS, str(environment.folder))
    environment.set(RECORDS_KEY, KEY)
    return SimpleNamespace(model=mlflow.pyfunc.load_model(logged.uri), folder=environment.folder)


def recorded(folder):
    return reading.read(folder, spool=folder / "spool").rows


def test_the_model_records_what_it_answers(recording, pictures, served):
    frame = pd.DataFrame({"image": list(pictures.values()), "image_id": list(pictures), "group_id": "p"})
    frame.loc[0, "group_id"] = None
    given = recording.model.predict(frame)
    rows = recorded(recording.folder)
    assert rows["prediction_id"].tolist() == given["prediction_id"].tolist()
    for name in ("image_id", "image_sha256", "probability", "decision", "threshold", "model_version"):
        assert rows[name].tolist() == given[name].tolist()
    assert rows["group_key"].isna().tolist() == [True, False, False, False]
    assert rows["refusal"].isna().all()
    assert (rows[["width", "height"]] == [90, 70]).all(axis=None)
    assert (rows["milliseconds_whole"] > 0).all()
    same = served.predict(frame).drop(columns="prediction_id")  # without records
    pd.testing.assert_frame_equal(given.drop(columns="prediction_id"), same)


def test_the_embedding_is_that_of_the_network(recording, pictures, network_folder):
    from melanoma.data.images import load_square
    from melanoma.serving.network import Network

    recording.model.predict(pd.DataFrame({"image": [pictures["PNG"]]}))
    (row,) = recorded(recording.folder).to_dict("records")
    network = Network(network_folder / "model.onnx")
    expected = network.features(load_square(pictures["PNG"], 32)[None])[0]
    np.testing.assert_allclose(np.frombuffer(row["embedding"], "<f2"), expected, rtol=1e-3, atol=1e-4)


def test_only_the_rows_that_are_at_fault_are_recorded_as_refused(recording, pictures):
    frame = pd.DataFrame({"image": [pictures["JPEG"], b"no image"], "image_id": ["good", "bad"]})
    with pytest.raises(MlflowException, match="1 of 2 rows refused: row 1"):
        recording.model.predict(frame)
    (row,) = recorded(recording.folder).to_dict("records")
    assert row["image_id"] == "bad"
    assert "not an image" in row["refusal"] or "image" in row["refusal"]


def test_folders_are_recorded_like_requests_each_file_once(recording, pictures, tmp_path):
    from melanoma.serving import folder

    images = tmp_path / "images"
    images.mkdir()
    for kind, encoded in pictures.items():
        (images / f"{kind}.bin").write_bytes(encoded)
    (images / "zz.bin").write_bytes(b"no image")
    batches = folder.score_files(recording.model, images, folder.list_files(images))
    answers = [row for batch in batches for row in batch]
    rows = recorded(recording.folder)
    assert len(rows) == 5
    assert rows["refusal"].notna().sum() == 1
    assert [row["problem"] is None for row in answers] == [True, True, True, True, False]


def test_images_are_kept_only_if_the_model_says_so(pictures, tmp_path):
    for keeps in (False, True):
        spool = tmp_path / str(keeps)
        recorder = Recorder(spool, key=KEY, model=MODEL, images=spool / "images" if keeps else None)
        answer(recorder, "a")
        recorder.close()
        assert (spool / "images" / ("0" * 64)).exists() is keeps
