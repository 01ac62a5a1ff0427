"""Real servers of several processes: one scrape holds what all of them did, also after one is killed."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from melanoma.serving import client
from melanoma.serving.metrics import METRICS_PORT
from melanoma.serving.records import RECORDS, RECORDS_KEY
from tests.end_to_end.clone import free_port
from tests.serving.conftest import serving
from tests.serving.scrapes import changed, scrape, scrape_until
from tests.serving.test_server import starting

pytestmark = pytest.mark.slow

NUM_CLIENTS, NUM_REQUESTS = 8, 60
QUICK = 'melanoma_requests_in_progress{lane="quick"}'
OK = 'melanoma_requests_total{status="200"}'


def ask_many(url, pictures, number=NUM_REQUESTS):
    """Answers of many requests at once, so that each process gets some; a session would stay with one."""
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return list(pool.map(lambda _: client.score_images(url, pictures), range(number)))


def holder(port):
    """The process that listens on a port."""
    (found,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    }
    return found


def test_one_scrape_has_every_request_of_all_processes(logged, pictures, tmp_path):
    port = free_port()
    settings = {
        METRICS_PORT: str(port),
        RECORDS: str(tmp_path / "records"),
        RECORDS_KEY: "k" * 32,
        "TMPDIR": str(tmp_path),
    }
    with serving(logged.uri, tmp_path, "--workers", "2", settings=settings) as url:
        before = scrape_until(port, lambda found: "melanoma_connections" in found)
        decisions = [row["decision"] for rows in ask_many(url, pictures) for row in rows]
        for body in (b"{", b"[1]"):
            headers = {"content-type": "application/json"}
            assert (
                requests.post(f"{url}/invocations", data=body, headers=headers, timeout=60).status_code == 400
            )
        assert client.post_images(url, {"a": b"no image", "b": pictures["PNG"]}).status_code == 400
        num_rows = NUM_REQUESTS * len(pictures)
        after = scrape_until(port, lambda found: found["melanoma_records_written_total"] == num_rows + 1)
        idle = scrape_until(port, lambda found: found["melanoma_records_unsynced_seconds"] == 0)
    assert changed(before, after) == {
        OK: NUM_REQUESTS,
        'melanoma_requests_total{status="400"}': 3,
        'melanoma_rows_total{outcome="answered"}': num_rows,
        'melanoma_rows_total{outcome="refused"}': 1,
        **{f'melanoma_decisions_total{{decision="{one}"}}': decisions.count(one) for one in set(decisions)},
        **{
            f'melanoma_refusals_total{{reason="{one}"}}': 1
            for one in ("invalid_json", "invalid_request", "not_an_image")
        },
        **{
            f'melanoma_request_seconds_count{{part="{one}"}}': NUM_REQUESTS
            for one in ("decode", "forward", "whole")
        },
        "melanoma_records_written_total": num_rows + 1,
    }
    assert (idle[QUICK], idle['melanoma_requests_waiting{lane="slow"}']) == (0, 0)
    (folder,) = tmp_path.glob("melanoma-metrics-*")
    assert len(list(folder.glob("counter_*.db"))) == 2  # both processes count
    (name,) = (name for name in after if name.startswith("melanoma_model_info"))
    assert logged.run_id in name
    assert name.startswith('melanoma_model_info{name="",network_sha256="')


def test_when_the_process_that_serves_the_metrics_is_killed_another_one_does(logged, pictures, tmp_path):
    port = free_port()
    settings = {METRICS_PORT: str(port), "TMPDIR": str(tmp_path)}
    with serving(logged.uri, tmp_path, "--workers", "2", settings=settings) as url:
        (folder,) = tmp_path.glob("melanoma-metrics-*")
        scrape_until(port, lambda _: len(list(folder.glob("counter_*.db"))) == 2)  # both have started
        ask_many(url, pictures)
        scrape_until(port, lambda found: found[OK] == NUM_REQUESTS)
        killed = holder(port)
        os.kill(killed, signal.SIGKILL)
        scrape_until(port, lambda _: not list(folder.glob(f"gauge_live*_{killed}.db")))
        found = scrape_until(port, lambda found: found[QUICK] == 0)  # what it was doing is forgotten
        assert holder(port) != killed
        assert found[OK] == NUM_REQUESTS  # what it did is counted
        scrape_until(port, lambda _: len(list(folder.glob("counter_*.db"))) == 3)  # its successor counts, too
        ask_many(url, pictures, 20)
        assert scrape(port)[OK] == NUM_REQUESTS + 20


def test_a_stop_is_not_held_up(logged, pictures, tmp_path):
    port = free_port()
    settings = {METRICS_PORT: str(port), "TMPDIR": str(tmp_path)}
    with serving(logged.uri, tmp_path, settings=settings) as url, socket.socket() as silent:
        client.score_images(url, pictures)
        scrape_until(port, lambda found: found[OK] == 1)
        silent.connect(("127.0.0.1", port))  # a scraper that asks nothing
        server = psutil.Process(holder(port))
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        with pytest.raises(requests.ConnectionError):
            scrape(port)


def test_a_port_that_is_taken_breaks_no_answer(logged, pictures, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = {METRICS_PORT: str(port), "TMPDIR": str(tmp_path)}
        with serving(logged.uri, tmp_path, settings=settings) as url:
            assert len(client.score_images(url, pictures)) == len(pictures)
    log = next(tmp_path.glob("*.log")).read_text()
    assert f"metrics cannot be served on port {port}" in log


def test_a_wrong_port_keeps_the_server_from_starting(logged, tmp_path, monkeypatch):
    monkeypatch.setenv(METRICS_PORT, "ninety")
    assert "MELANOMA_METRICS_PORT must be a port, 1 to 65535, got 'ninety'" in starting(tmp_path, logged.uri)


def test_nothing_of_this_listens_unless_asked(logged, pictures, tmp_path):
    with serving(logged.uri, tmp_path, settings={"TMPDIR": str(tmp_path)}) as url:
        client.score_images(url, pictures)
        port = int(url.rpartition(":")[2])
        server = psutil.Process(holder(port))
        assert {one.laddr.port for one in server.net_connections("tcp") if one.status == "LISTEN"} == {port}
    assert not list(tmp_path.glob("melanoma-metrics-*"))
