"""A server that is told to stop answers what it took, takes no more, and ends in time."""

import json
import os
import signal
import socket
import threading
import time

import psutil
import pytest
import requests

from melanoma.serving import client
from tests.data.pictures import encode
from tests.data.zoo import skin
from tests.serving import attacks
from tests.serving.conftest import LIMITS, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def target(logged, tmp_path):
    with serving(logged.uri, tmp_path) as url:
        yield attacks.victim(url)


def seconds_until_it_ends(target: attacks.Victim) -> float:
    start = time.monotonic()
    try:
        target.process.wait(60)
    except psutil.TimeoutExpired:
        return float("inf")
    return time.monotonic() - start


def test_a_stop_answers_what_was_taken_and_ends_what_is_unfinished(target):
    images = attacks.slow_pictures()
    answers: list[requests.Response] = []
    asking = threading.Thread(target=lambda: answers.append(client.post_images(target.url, images)))
    asking.start()
    upload = attacks.unfinished_upload(target, length=2_000_000, sent=1_000_000)
    silent = socket.create_connection(target.place)
    idle = requests.Session()
    assert idle.get(f"{target.url}/ping", timeout=10).ok  # its connection stays open
    time.sleep(0.5)
    assert not answers
    start = time.monotonic()
    target.process.send_signal(signal.SIGTERM)
    upload.settimeout(10)
    refused = attacks.rest_of(upload)
    assert refused.startswith("HTTP/1.1 503")
    assert "the server is stopping" in refused
    assert time.monotonic() - start < 8
    if asking.is_alive():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(target.place)
    asking.join()
    assert answers[0].status_code == 200, answers[0].text
    assert [row["image_id"] for row in answers[0].json()["predictions"]] == list(images)
    assert seconds_until_it_ends(target) < 10
    silent.close()


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_a_server_without_work_ends_at_once_whoever_is_connected(target, signal_name):
    half = socket.create_connection(target.place)
    half.sendall(b"POST /invocations HTTP/1.1\r\nhost")
    decoders = target.process.children()
    assert decoders
    target.process.send_signal(getattr(signal, signal_name))
    assert seconds_until_it_ends(target) < 10
    _, alive = psutil.wait_procs(decoders, timeout=5)
    assert not alive
    half.close()


def test_a_client_that_does_not_take_its_answer_does_not_hold_a_stop(target):
    body = json.dumps(client.request_body({"0": encode(skin(1), "JPEG")})).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(target.place)
        connection.settimeout(1)
        try:
            for _ in range(2000):
                connection.sendall(attacks.headers(len(body)) + body)
        except OSError:
            pass
        target.process.send_signal(signal.SIGTERM)
        assert seconds_until_it_ends(target) < LIMITS["request_seconds"] + LIMITS["idle_seconds"] + 5


def test_decoders_end_with_a_server_that_was_killed(target):
    decoders = target.process.children()
    os.kill(target.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(decoders, timeout=LIMITS["decode_seconds"] + 5)
    assert decoders
    assert not alive


def test_ending_the_launcher_of_mlflow_stops_the_server_gracefully(target):
    """MLflow asks the system to send SIGTERM to its server when it is gone itself."""
    answers: list[requests.Response] = []
    images = attacks.slow_pictures()
    asking = threading.Thread(target=lambda: answers.append(client.post_images(target.url, images)))
    asking.start()
    time.sleep(0.7)
    target.process.parent().send_signal(signal.SIGTERM)
    asking.join()
    assert answers[0].status_code == 200
    assert seconds_until_it_ends(target) < 10
