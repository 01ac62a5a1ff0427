import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from melanoma.errors import TrackingError
from melanoma.serving import client

IMAGES = {"a": b"first", "b": b"second"}


@contextmanager
def answering(rows: list[dict[str, object]]) -> Iterator[str]:
    """A server that answers every request with these rows."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"predictions": rows}).encode())

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def row(image_id: str, encoded: bytes) -> dict[str, object]:
    return {"image_id": image_id, "image_sha256": hashlib.sha256(encoded).hexdigest(), "probability": 0.5}


def test_answers_about_the_posted_images_are_taken():
    rows = [row("a", b"first"), row("b", b"second")]
    with answering(rows) as url:
        assert client.score_images(url, IMAGES) == rows


def test_answers_of_a_model_that_names_no_digest_are_taken():
    rows = [{"image_id": "a", "probability": 0.5}, {"image_id": "b", "probability": 0.5}]
    with answering(rows) as url:
        assert client.score_images(url, IMAGES) == rows


def test_exchanged_answers_are_refused():
    refusal = pytest.raises(TrackingError, match="for images that were not posted: a, b")
    with answering([row("a", b"second"), row("b", b"first")]) as url, refusal:
        client.score_images(url, IMAGES)


@pytest.mark.parametrize("ids", [["a"], ["b", "a"], ["a", "b", "b"], ["a", "x"]])
def test_other_rows_than_those_posted_are_refused(ids):
    rows: list[dict[str, object]] = [{"image_id": image_id, "probability": 0.5} for image_id in ids]
    refusal = pytest.raises(
        TrackingError, match=(f"answered {len(ids)} rows, which do not match the 2 posted images")
    )
    with answering(rows) as url, refusal:
        client.score_images(url, IMAGES)
