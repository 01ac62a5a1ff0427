"""What once stopped a server stops it no more: good requests are answered meanwhile, and memory stays."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection

import numpy as np
import pytest
import requests

from melanoma.serving import client
from tests.data.pictures import encode
from tests.data.zoo import skin
from tests.serving import attacks
from tests.serving.attacks import MEBIBYTE, Seen, Victim
from tests.serving.conftest import LIMITS, serving

pytestmark = pytest.mark.slow

SLOWEST_SECONDS = 5  # of a good request meanwhile: without limits it was minutes; figures: `make bench-serve`
MOST_MEMORY = 250 * MEBIBYTE  # by which an attack may make the server grow; without limits it was gigabytes


@pytest.fixture(scope="module")
def target(logged, tmp_path_factory):
    with serving(logged.uri, tmp_path_factory.mktemp("server")) as url:
        yield attacks.victim(url)


@pytest.fixture(scope="module")
def good():
    return encode(skin(1), "JPEG")


@pytest.fixture
def expected(target, good):
    """The probability of `good`, before and after the test."""
    (answer,) = client.score_images(target.url, {"0": good})
    yield answer["probability"]
    assert client.score_images(target.url, {"0": good}) == [answer]
    assert requests.get(f"{target.url}/ping", timeout=30).status_code == 200


def require_quick(seen: Seen) -> None:
    assert set(seen.statuses) <= {200, 503}
    assert max(seen.seconds) < SLOWEST_SECONDS
    assert max(seen.pings) < SLOWEST_SECONDS


HOSTILE: dict[str, tuple[Callable[..., bytes], list[int], int, str]] = {
    "3,000 scans": (attacks.jpeg_of_scans, [3000], 1, "more than 32 scans"),
    "run lengths": (attacks.run_length_bmp, [5000], 40, "at most 300,000,000 are allowed"),
    "run lengths, few": (attacks.run_length_bmp, [5000], 4, "BMP with RLE8 compression is not supported"),
    "pixels of no bytes": (attacks.webp_of_38_bytes, [8000], 40, "pixels together, at most 300,000,000"),
    "pixels of one image": (attacks.webp_of_38_bytes, [9000], 1, "pixels, more than 64,000,000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_costs_more_than_it_weighs_is_refused_at_once(target, good, expected, name):
    make, arguments, num_rows, reason = HOSTILE[name]
    hostile, answers = make(*arguments), []
    with attacks.watched(target, good, expected) as seen:
        attacks.at_once(6, lambda: answers.append(attacks.post(target, *[hostile] * num_rows)))
    assert 400 in [answer.status_code for answer in answers]
    for answer in answers:
        assert answer.status_code in (400, 503)  # six at once claim more pixels than a server takes
        assert answer.status_code == 503 or reason in answer.json()["message"]
    require_quick(seen)


def test_many_legal_pictures_of_few_bytes_leave_room_for_small_requests(target, good, expected):
    picture, answers = attacks.webp_of_38_bytes(5000), []
    with attacks.watched(target, good, expected) as seen:
        attacks.at_once(6, lambda: answers.append(attacks.post(target, *[picture] * 6)))
    for answer in answers:
        assert answer.status_code in (400, 503)  # of one colour; or there was too much to do
        assert (answer.status_code == 503) == ("retry-after" in answer.headers)
    assert 200 in seen.statuses
    require_quick(seen)


def test_work_ends_when_its_client_leaves(target, good, expected):
    body = client.request_body(attacks.slow_pictures())
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{target.url}/invocations", json=body, timeout=0.7)
    time.sleep(1)
    before = worked(target)
    time.sleep(1.5)
    assert worked(target) - before < 0.5  # a second of each core, if it went on


def worked(target: Victim) -> float:
    """Processor seconds of the server and of all the decoders that it has and had."""
    times = [one.cpu_times() for one in (target.process, *target.process.children())]
    ended = target.process.cpu_times()
    return sum(one.user + one.system for one in times) + ended.children_user + ended.children_system


# ---- bodies ----------------------------------------------------------------------------------


def test_uploads_that_are_cut_off_leave_nothing_behind(target, good, expected):
    before = target.memory()
    with attacks.watched(target, good, expected) as seen:
        for _ in range(3):
            with ExitStack() as stack:
                for _ in range(30):
                    half = attacks.unfinished_upload(target, length=2_800_000, sent=2_700_000)
                    stack.enter_context(half)
                assert target.memory() - before < MOST_MEMORY
    assert target.memory() - before < MOST_MEMORY / 2
    require_quick(seen)


def test_a_body_without_end_is_refused_when_it_is_too_large(target, good, expected):
    before, taken = target.memory(), []
    with attacks.watched(target, good, expected) as seen:
        attacks.at_once(3, lambda: taken.append(attacks.endless_chunks(target, most=20_000 * MEBIBYTE)))
    assert max(taken) < 20_000 * MEBIBYTE  # the connection was closed
    assert target.memory() - before < MOST_MEMORY
    require_quick(seen)


def test_a_body_that_says_it_is_too_large_is_refused_unread(target, expected):
    start = time.perf_counter()
    answer = attacks.answer_to(target, attacks.headers(3 * 2**30))
    assert answer.startswith("HTTP/1.1 413")
    assert "the body has 3,221,225,472 bytes, at most 2,880,170 are allowed" in answer
    assert time.perf_counter() - start < SLOWEST_SECONDS


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(target, expected):
    chunk = f"{3 * MEBIBYTE:x}\r\n".encode() + b" " * 3 * MEBIBYTE + b"\r\n"
    answer = attacks.answer_to(target, attacks.headers(None) + chunk)
    assert answer.startswith("HTTP/1.1 413")
    assert "the body has more than 2,880,170 bytes" in answer


def test_bodies_of_all_requests_share_a_budget(target, good, expected):
    """12 of 16 megabytes are for requests of more than one: a fifth upload of 2.7 MB finds none left."""
    with ExitStack() as stack:
        uploads = [attacks.unfinished_upload(target, length=2_800_000, sent=2_700_000) for _ in range(6)]
        for upload in uploads:
            stack.enter_context(upload)
            upload.settimeout(1)
        answers = [attacks.rest_of(upload) for upload in uploads]
        full = [answer for answer in answers if answer]
        assert 1 <= len(full) <= 3
        assert all(answer.startswith("HTTP/1.1 503") and "retry-after: 1" in answer for answer in full)
        assert client.score_images(target.url, {"0": good})[0]["probability"] == expected


@pytest.mark.parametrize("order", [1, -1])
def test_two_lengths_of_one_body_are_refused(target, good, expected, order):
    body = json.dumps(client.request_body({"0": good})).encode()
    lengths = [f"content-length: {len(body)}\r\n".encode(), b"transfer-encoding: chunked\r\n"][::order]
    start = b"POST /invocations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    answer = attacks.answer_to(target, start + b"".join(lengths) + b"\r\n" + chunked)
    assert answer.startswith("HTTP/1.1 400")
    assert "both content-length and transfer-encoding" in answer
    assert "connection: close" in answer
    alone = start + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunked
    assert attacks.answer_to(target, alone).startswith("HTTP/1.1 200")


@pytest.mark.parametrize("unit", [b"[],", b"[", b'{"a":', b"1,", b" "])
def test_a_body_of_millions_of_values_is_refused_quickly(target, good, expected, unit):
    body = unit * (2_800_000 // len(unit))
    before = target.memory()
    with attacks.watched(target, good, expected) as seen:
        for _ in range(4):
            response = requests.post(
                f"{target.url}/invocations",
                data=body,
                headers={"content-type": "application/json"},
                timeout=30,
            )
            assert (response.status_code, response.json()["error_code"]) == (400, "BAD_REQUEST")
            reason = "the body is not JSON" if unit == b" " else "brackets, colons and commas, too many for"
            assert reason in response.text
    assert target.memory() - before < MOST_MEMORY
    require_quick(seen)


# ---- connections -----------------------------------------------------------------------------


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTTP/1.1\r\nhost: a\r\nx: "])
def test_connections_that_ask_nothing_are_closed_and_do_not_fill_the_table(target, good, expected, sent):
    num = 3 * LIMITS["max_connections"]
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(target.place)) for _ in range(num)]
        for connection in opened:
            try:
                connection.sendall(sent)
            except OSError:
                continue  # it had to make room for a newer one
        with attacks.watched(target, good, expected) as seen:
            time.sleep(LIMITS["idle_seconds"] + 2)
        assert all(map(is_closed, opened))
    assert set(seen.statuses) == {200}


def test_a_client_that_was_answered_keeps_its_connection_while_others_crowd_in(target, expected):
    host, port = target.place
    kept = HTTPConnection(host, port, timeout=30)
    with closing(kept), ExitStack() as stack:
        for _ in range(3):
            kept.request("GET", "/ping")
            answer = kept.getresponse()
            assert (answer.status, answer.read()) == (200, b"\n")
            for _ in range(2 * LIMITS["max_connections"]):
                stack.enter_context(socket.create_connection(target.place))


def test_headers_that_drip_end_with_their_time(target, expected):
    start, drops = time.monotonic(), 0
    with socket.create_connection(target.place) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nhost: a\r\nx: ")
        while not is_closed(connection) and time.monotonic() - start < 30:
            drops += 1
            try:
                connection.sendall(b"a")
            except OSError:
                break
    assert LIMITS["idle_seconds"] - 1 < time.monotonic() - start < LIMITS["idle_seconds"] + SLOWEST_SECONDS
    assert drops > 3


def test_an_upload_that_drips_is_answered_408_at_its_deadline(target, expected):
    start = time.monotonic()
    with socket.create_connection(target.place) as connection:
        connection.sendall(attacks.headers(1000))
        while time.monotonic() - start < LIMITS["request_seconds"] - 1:
            connection.sendall(b" ")
            time.sleep(0.5)
        connection.settimeout(10)
        answer = attacks.rest_of(connection)
    assert answer.startswith("HTTP/1.1 408")
    assert f"the request was not complete after {LIMITS['request_seconds']} seconds" in answer
    assert time.monotonic() - start < LIMITS["request_seconds"] + SLOWEST_SECONDS


def test_a_client_that_does_not_take_its_answers_is_dropped(target, good, expected):
    body = json.dumps(client.request_body({"0": good}) | {"params": {"explain": True}}).encode()
    request = attacks.headers(len(body)) + body
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(target.place)
        start = time.monotonic()
        connection.settimeout(1)
        with pytest.raises(OSError):  # a reset, once the server has dropped it
            while time.monotonic() - start < 60:
                try:
                    connection.sendall(request)
                except TimeoutError:
                    continue
    assert time.monotonic() - start < 60


# ---- health ----------------------------------------------------------------------------------


def test_the_health_says_when_scoring_is_stuck_and_when_it_goes_on(target, good, expected):
    decoders = target.process.children()
    assert len(decoders) >= 2
    for decoder in decoders:
        os.kill(decoder.pid, signal.SIGSTOP)
    answers: list[requests.Response] = []
    asking = threading.Thread(target=lambda: answers.append(attacks.post(target, good)))
    start = time.monotonic()
    asking.start()
    healths = []
    while asking.is_alive():
        response = requests.get(f"{target.url}/ping", timeout=5)
        healths.append((time.monotonic() - start, response.status_code))
        time.sleep(0.3)
    asking.join()
    assert healths[0][1] == 200
    assert 503 in [status for _, status in healths]
    assert answers[0].status_code == 504
    assert f"not ready after {LIMITS['request_seconds']} seconds" in answers[0].json()["message"]
    assert requests.get(f"{target.url}/ping", timeout=5).status_code == 200
    for decoder in decoders:
        if decoder.is_running():
            os.kill(decoder.pid, signal.SIGCONT)


def test_a_decoder_that_dies_is_replaced(target, good, expected):
    for _ in range(3):
        for decoder in target.process.children():
            decoder.kill()
        statuses = [attacks.post(target, good).status_code for _ in range(6)]
        assert statuses[-1] == 200
    assert np.isclose(client.score_images(target.url, {"0": good})[0]["probability"], expected)
