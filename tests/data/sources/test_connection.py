import socket
import threading

import pytest

from melanoma.data.sources.connection import Connection, DownloadError
from tests.data.archive_server import (
    API,
    Image,
    body,
    cut_in_the_middle,
    hang_up,
    serve,
    settings_for,
    status,
)

PATH = API + "images/ISIC_0000001/"


@pytest.fixture
def archive():
    with serve([Image(1)]) as archive:
        yield archive


@pytest.fixture
def slept(monkeypatch):
    """Seconds of every pause, which then takes no time."""
    seconds: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", seconds.append)
    return seconds


def get(archive, **changes):
    return Connection(settings_for(archive, **changes)).get_json(archive.url + PATH)


def test_an_answer_is_asked_for_once(archive):
    assert get(archive)["isic_id"] == "ISIC_0000001"
    assert archive.requests[PATH] == 1


@pytest.mark.parametrize(
    "fault",
    [*(status(code) for code in (408, 429, 500, 502, 503, 504)), cut_in_the_middle, hang_up],
)
def test_a_fault_that_is_transient_is_tried_again(archive, fault):
    archive.faults[PATH] = [fault, fault]
    assert get(archive)["isic_id"] == "ISIC_0000001"
    assert archive.requests[PATH] == 3


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(archive, code):
    archive.faults[PATH] = [status(code, Location=archive.url + PATH)]
    with pytest.raises(DownloadError, match=f"HTTP {code}") as caught:
        get(archive)
    assert caught.value.status == code
    assert archive.requests[PATH] == 1


@pytest.mark.parametrize("num_retries", [0, 2])
def test_the_last_fault_is_told_when_all_tries_are_used_up(archive, num_retries):
    archive.faults[PATH] = [status(503)] * 9
    with pytest.raises(DownloadError, match=rf"^HTTP 503 .* \(tried {num_retries + 1} times\)$"):
        get(archive, num_retries=num_retries)
    assert archive.requests[PATH] == num_retries + 1


def test_the_first_retry_is_at_once_and_then_the_wait_doubles(archive, slept):
    archive.faults[PATH] = [status(500)] * 4
    get(archive, num_retries=4, backoff_seconds=1.5)
    assert slept == [3, 6, 12]


def test_a_server_that_says_how_long_to_wait_is_obeyed(archive, slept):
    archive.faults[PATH] = [status(429, Retry_After="7"), status(503, Retry_After="2")]
    get(archive)
    assert slept == [7, 2]


def test_no_wait_is_longer_than_allowed_whatever_the_server_asks_for(archive, slept):
    archive.faults[PATH] = [status(429, Retry_After="20000"), *[status(500)] * 3]
    get(archive, num_retries=4, backoff_seconds=1.5, max_wait_seconds=4)
    assert slept == [4, 3, 4, 4]


def test_a_server_that_asks_for_hours_is_asked_again_at_once_where_no_wait_is_allowed(archive):
    archive.faults[PATH] = [status(429, Retry_After="20000")]
    assert get(archive, max_wait_seconds=0)["isic_id"] == "ISIC_0000001"
    assert archive.requests[PATH] == 2


def test_a_server_that_falls_silent_is_tried_again(archive):
    is_over = threading.Event()
    waits = [is_over.wait]
    archive.gate = lambda path: waits.pop()() if waits else None
    assert get(archive, timeout_seconds=0.2)["isic_id"] == "ISIC_0000001"
    is_over.set()
    assert archive.requests[PATH] == 2


def test_a_body_that_is_too_long_is_not_read_to_its_end(archive):
    connection = Connection(settings_for(archive, num_retries=0))
    assert len(connection.get(archive.url + PATH, lambda content, kind: content, max_bytes=10_000)) > 100
    with pytest.raises(DownloadError, match="the answer has more than 100 bytes"):
        connection.get(archive.url + PATH, lambda content, kind: content, max_bytes=100)


def test_redirects_are_followed_only_where_it_is_allowed(archive):
    connection = Connection(settings_for(archive))
    archive.faults["/elsewhere"] = [status(302, Location=archive.url + PATH)] * 2
    with pytest.raises(DownloadError, match="HTTP 302"):
        connection.get_json(archive.url + "/elsewhere")
    arrived = connection.get(
        archive.url + "/elsewhere", lambda content, kind: content, max_bytes=10_000, follow_redirects=True
    )
    assert b"ISIC_0000001" in arrived


def test_what_is_no_json_is_refused_with_what_it_is(archive):
    archive.faults[PATH] = [body(b"<html>Welcome to the hotel's network</html>", "text/html")]
    with pytest.raises(DownloadError, match="expected JSON, received text/html"):
        get(archive)


def test_a_closed_port_is_told_in_a_few_words(archive):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(DownloadError, match=r"^\[Errno \d+\] Connection refused \(tried 3 times\)$"):
            Connection(settings_for(archive)).get_json(url)


def test_a_host_that_does_not_exist_is_told(archive, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"Failed to resolve 'archive\.invalid'"):
        Connection(settings_for(archive)).get_json("http://archive.invalid/api/")


@pytest.mark.parametrize("url", ["ftp://host/file", "no address", "http://"])
def test_an_address_that_is_none_is_refused_at_once(archive, url):
    with pytest.raises(DownloadError):
        Connection(settings_for(archive, num_retries=99, backoff_seconds=99)).get_json(url)


def test_threads_share_a_connection(archive):
    connection = Connection(settings_for(archive))
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(connection.get_json(archive.url + PATH)["isic_id"]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["ISIC_0000001"] * 8
