"""Real servers record what they answer: several processes at once, killed in the middle of their work."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from melanoma.errors import TrackingError
from melanoma.monitoring import records
from melanoma.serving import client
from melanoma.serving.records import RECORDS, RECORDS_KEY
from tests.serving.conftest import serving

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef" * 2
NUM_CLIENTS, NUM_BEFORE = 8, 400  # requests at once, and answers before the kill


@pytest.fixture
def settings(tmp_path):
    return {RECORDS: str(tmp_path / "records"), RECORDS_KEY: KEY}


def read(tmp_path):
    folder = tmp_path / "records"
    return records.read(folder, spool=folder / "spool").rows


def ask(url, pictures, number):
    images = {f"{number}-{kind}": encoded for kind, encoded in pictures.items()}
    return client.score_images(url, images)


def test_several_processes_record_every_answer_once(logged, pictures, settings, tmp_path):
    with (
        serving(logged.uri, tmp_path, "--workers", "2", settings=settings) as url,
        ThreadPoolExecutor(NUM_CLIENTS) as pool,
    ):
        answers = [row for rows in pool.map(lambda one: ask(url, pictures, one), range(50)) for row in rows]
        found = read(tmp_path)
        refused = client.post_images(url, {"good": pictures["PNG"], "bad": b"no image"})
        assert refused.status_code == 400
    assert found["prediction_id"].is_unique
    by_id = found.set_index("prediction_id")
    assert set(by_id.index) == {row["prediction_id"] for row in answers}
    for row in answers:
        record = by_id.loc[row["prediction_id"]]
        assert (record["image_id"], record["probability"]) == (row["image_id"], row["probability"])
    assert len(list((tmp_path / "records" / "spool").glob("*.jsonl"))) == 2
    rows = read(tmp_path)
    assert rows.loc[rows["refusal"].notna(), "image_id"].tolist() == ["bad"]


def test_a_request_names_the_group_of_each_row(logged, pictures, settings, tmp_path):
    body = client.request_body({"a": pictures["PNG"], "b": pictures["PNG"]})
    split = body["dataframe_split"]
    split["columns"].append("group_id")
    split["data"] = [[*row, group] for row, group in zip(split["data"], ["patient 1", None], strict=True)]
    with serving(logged.uri, tmp_path, settings=settings) as url:
        assert requests.post(f"{url}/invocations", json=body, timeout=60).ok
        split["data"][0][2] = 7
        refused = requests.post(f"{url}/invocations", json=body, timeout=60)
    assert (refused.status_code, "group_id must be a string, got int" in refused.text) == (400, True)
    assert read(tmp_path)["group_key"].notna().tolist() == [True, False]


def test_a_killed_server_has_a_record_for_each_answer_that_was_received(logged, pictures, settings, tmp_path):
    received: list[str] = []
    enough, lock = threading.Event(), threading.Lock()

    def keep_asking(number):
        while True:
            try:
                rows = ask(url, pictures, number)
            except (TrackingError, requests.RequestException):  # the server is gone
                return
            with lock:
                received.extend(row["prediction_id"] for row in rows)
                if len(received) >= NUM_BEFORE:
                    enough.set()

    with serving(logged.uri, tmp_path, settings=settings) as url, ThreadPoolExecutor(NUM_CLIENTS) as pool:
        port = int(url.rpartition(":")[2])
        (server,) = {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port
        }
        asking = [pool.submit(keep_asking, number) for number in range(NUM_CLIENTS)]
        assert enough.wait(timeout=120)
        os.kill(server, signal.SIGKILL)
        for one in asking:
            one.result(timeout=120)
    rows = read(tmp_path)
    assert rows["prediction_id"].is_unique
    assert set(received) <= set(rows["prediction_id"])
    assert len(rows) - len(received) <= NUM_CLIENTS * len(pictures)  # the requests in flight
    done = records.compact(tmp_path / "records" / "spool", tmp_path / "records")
    assert (done.num_rows, done.num_in_use) == (len(rows), 0)


def test_answers_go_on_when_the_disk_of_the_records_is_gone(logged, pictures, settings, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    gone = settings | {RECORDS: str(tmp_path / "file" / "records")}
    with serving(logged.uri, tmp_path, settings=gone) as url:
        assert len(ask(url, pictures, 0)) == len(pictures)
    assert "records cannot be written" in next(tmp_path.glob("*.log")).read_text()
