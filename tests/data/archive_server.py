"""A small ISIC Archive on the loopback: real sockets, drawn pictures, faults that can be switched on.

`Archive.faults` gives, by path, what happens to the next requests of that path: each fault is a function
of the handler and of the answer that would have been sent. Requests are counted by path.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from melanoma.config.data import Fetch
from tests.data.pictures import encode, textured

API = "/api/v2/"
SEARCH = API + "images/search/"


@dataclass
class Answer:
    """What is sent when no fault is on."""

    body: bytes
    content_type: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Fault = Callable[["Handler", Answer], None]


@dataclass
class Image:
    """A picture of the archive; `changes` overrides parts of its record."""

    number: int
    collections: tuple[int, ...] = (65,)
    changes: dict[str, Any] = field(default_factory=dict)
    acquisition: dict[str, Any] = field(default_factory=dict)
    clinical: dict[str, Any] = field(default_factory=dict)
    format_name: str = "JPEG"

    @property
    def isic_id(self) -> str:
        """The id that the archive gives."""
        return f"ISIC_{self.number:07d}"

    @property
    def content(self) -> bytes:
        """The picture's file."""
        return encode(textured(self.number, side=64), self.format_name)


@dataclass
class Archive:
    """Everything a test may change while the server runs.

    `next_url` overrides what a page names as its next one; `before_page` is called with the page's number
    before it is put together, to change `images` while they are read. Signed URLs carry `signature=old`
    until they are renewed; those of `expired` images then answer 403.
    """

    images: list[Image]
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    queries: list[dict[str, str]] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    next_url: str | None = None
    before_page: Callable[[int], None] = lambda number: None
    gate: Callable[[str], None] = lambda path: None
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def api_url(self) -> str:
        """What stands in params.yaml as fetch.api_url."""
        return self.url + API

    def file_requests(self) -> dict[str, int]:
        """Number of requests of each picture, by isic_id."""
        return {
            path.rpartition("/")[2]: count
            for path, count in self.requests.items()
            if path.startswith("/files/")
        }


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other of a connection."""

    protocol_version = "HTTP/1.1"
    archive: Archive

    def do_GET(self) -> None:
        """Answer, or do what the next fault of the path says."""
        parts = urlsplit(self.path)
        with self.archive.lock:
            self.archive.requests[parts.path] += 1
            faults = self.archive.faults.get(parts.path, [])
            fault = faults.pop(0) if faults else send
        self.archive.gate(parts.path)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        fault(self, _answer(self.archive, parts.path, options))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


def _answer(archive: Archive, path: str, options: dict[str, str]) -> Answer:
    by_id = {image.isic_id: image for image in archive.images}
    name = path.rstrip("/").rpartition("/")[2]
    if path == SEARCH:
        return _json(_page(archive, options))
    if path.startswith(API + "images/") and name in by_id:
        return _json(_record(archive, by_id[name], "new"))
    if path.startswith("/files/") and name in by_id:
        if name in archive.expired and options.get("signature") == "old":
            return Answer(b"<Error>Request has expired</Error>", "application/xml", 403)
        return Answer(by_id[name].content, "image/jpeg")
    return Answer(b'{"detail": "Not Found"}', "application/json", 404)


def _json(content: object) -> Answer:
    return Answer(json.dumps(content).encode(), "application/json")


def _page(archive: Archive, options: dict[str, str]) -> dict[str, Any]:
    archive.queries.append(options)
    start, limit = int(options.get("cursor", 0)), min(int(options["limit"]), 100)
    archive.before_page(start // limit)
    wanted = {int(number) for number in options.get("collections", "").split(",") if number}
    fitting = [image for image in archive.images if not wanted or wanted & set(image.collections)]
    following = f"{archive.url}{SEARCH}?{urlencode({**options, 'cursor': start + limit})}"
    return {
        "count": None if start else len(fitting),
        "next": archive.next_url or (following if start + limit < len(fitting) else None),
        "previous": None,
        "results": [_record(archive, image, "old") for image in fitting[start : start + limit]],
    }


def _record(archive: Archive, image: Image, signature: str) -> dict[str, Any]:
    url = f"{archive.url}/files/{image.isic_id}?signature={signature}"
    return {
        "isic_id": image.isic_id,
        "copyright_license": "CC-0",
        "attribution": "Hospital of the Loopback",
        "public": True,
        "files": {
            "full": {"url": url, "size": len(image.content)},
            "thumbnail_256": {"url": url, "size": 1},
        },
        "metadata": {
            "acquisition": {
                "pixels_x": 64,
                "pixels_y": 64,
                "image_type": "dermoscopic",
                **image.acquisition,
            },
            "clinical": {"age_approx": 55, "sex": "female", "benign_malignant": "benign", **image.clinical},
        },
        **image.changes,
    }


# ---- faults ----------------------------------------------------------------------------------


def send(handler: Handler, answer: Answer) -> None:
    """No fault."""
    handler.send_response(answer.status)
    handler.send_header("Content-Type", answer.content_type)
    handler.send_header("Content-Length", str(len(answer.body)))
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body)


def status(code: int, **headers: str) -> Fault:
    """An answer of this status; `Retry_After="1"` becomes the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, answer: send(handler, Answer(b"", "text/plain", code, named))


def body(content: bytes, content_type: str = "image/jpeg") -> Fault:
    """An answer of status 200 with another body."""
    return lambda handler, answer: send(handler, Answer(content, content_type))


def cut_in_the_middle(handler: Handler, answer: Answer) -> None:
    """The whole length is announced, half of it is sent."""
    half = Answer(answer.body[: len(answer.body) // 2], answer.content_type)
    half.headers = {}
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(half.body)
    handler.close_connection = True


def hang_up(handler: Handler, answer: Answer) -> None:
    """Not a byte is sent."""
    handler.close_connection = True


def shortened(handler: Handler, answer: Answer) -> None:
    """A file of another size than was announced."""
    send(handler, Answer(answer.body[:-7], answer.content_type))


def truncated_of_right_size(handler: Handler, answer: Answer) -> None:
    """A picture whose second half is zeros."""
    half = len(answer.body) // 2
    send(handler, Answer(answer.body[:half] + bytes(len(answer.body) - half), answer.content_type))


@contextmanager
def serve(images: list[Image]) -> Iterator[Archive]:
    """The archive, for as long as the block lasts."""
    archive = Archive(images)
    handler = type("BoundHandler", (Handler,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    archive.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()


def settings_for(archive: Archive, **changes: Any) -> Fetch:
    """Section `fetch` of params.yaml for this server, with hardly any waiting."""
    values = {
        "api_url": archive.api_url,
        "page_size": 2,
        "num_connections": 3,
        "num_retries": 2,
        "backoff_seconds": 0.001,
        "max_wait_seconds": 120,
        "timeout_seconds": 20.0,
    }
    return Fetch(**{**values, **changes})
