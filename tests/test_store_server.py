import socket
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from melanoma import store_server, tracking
from melanoma.errors import TrackingError


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No server has answered yet, and no limit is set."""
    monkeypatch.setattr(store_server, "_answered", set())
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def silent():
    """The address of a server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def answering():
    """Starts a server that answers every question with a status; its address."""
    servers = []

    def start(status):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def seconds_of_refusal(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    start = time.monotonic()
    with pytest.raises(TrackingError, match=f"The tracking store {uri} does not answer"):
        tracking.client()
    return time.monotonic() - start


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_closed_port_is_named_at_once(monkeypatch, scheme):
    assert seconds_of_refusal(f"{scheme}://127.0.0.1:9/x", monkeypatch) < 4


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_accepts_and_says_nothing_is_given_up_soon(monkeypatch, silent, scheme):
    assert seconds_of_refusal(f"{scheme}://{silent}/x", monkeypatch) < 7


def test_a_proxy_whose_server_is_down_counts_as_down(monkeypatch, answering):
    assert seconds_of_refusal(answering(503), monkeypatch) < 4


@pytest.mark.parametrize("status", [200, 401, 404, 429])
def test_any_other_answer_is_one(answering, status):
    store_server.require_answer(answering(status))


def test_a_limit_that_somebody_set_holds(monkeypatch, silent):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert seconds_of_refusal(f"http://{silent}", monkeypatch) < 3


def test_a_server_that_has_answered_is_not_asked_again(answering, monkeypatch):
    uri = answering(200)
    store_server.require_answer(uri)
    monkeypatch.setattr(store_server, "_ask_server", lambda *_: pytest.fail("asked again"))
    store_server.require_answer(uri)


@pytest.mark.parametrize("uri", ["sqlite:////nowhere/x.db", "foo://x"])
def test_what_is_no_server_is_not_asked(uri):
    store_server.require_answer(uri)
