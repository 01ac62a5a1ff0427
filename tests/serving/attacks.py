"""Requests that once stopped a server, or filled its memory. All are bounded, and go to a local address."""

import functools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests
from PIL import Image

from melanoma.data import damage
from melanoma.serving import client
from tests.data.pictures import encode
from tests.data.zoo import skin

MEBIBYTE = 2**20
NUM_SLOW = 28


@dataclass(frozen=True)
class Victim:
    """A server that is attacked: its address and the process that scores."""

    url: str
    process: psutil.Process

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def memory(self) -> int:
        """Bytes that the server and its decoders have in memory."""
        everyone = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_info().rss for one in everyone)


def victim(url: str) -> Victim:
    """The server that listens at an address: of MLflow's two processes the one that scores."""
    port = urlsplit(url).port
    listening = [
        found.pid
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr.port == port
    ]
    return Victim(url, psutil.Process(listening[0]))


# ---- hostile files ---------------------------------------------------------------------------


def jpeg_of_scans(num: int, *, side: int = 2000) -> bytes:
    """A progressive JPEG with further scans that hold nothing, each of which takes time for all pixels."""
    whole = encode(skin(3, height=side, width=side), "JPEG", progressive=True, quality=30)
    end = damage.read_layout(whole).scans[9].parts[-1]
    return whole[:end] + num * b"\xff\xda\x00\x08\x01\x01\x00\x3f\x3f\x00\x00" + whole[end:]


def run_length_bmp(side: int = 20_000) -> bytes:
    """A BMP of a few bytes that claims `side` squared pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    pixels = b"\0\2\xff\xff" * 60 + b"\0\1"
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + bytes(1024) + pixels


def webp_of_38_bytes(side: int = 8000) -> bytes:
    """A lossless WebP of one colour."""
    return encode(Image.new("RGB", (side, side), (200, 150, 130)), "WEBP", lossless=True)


@functools.cache
def slow_picture() -> bytes:
    """A legal picture of 10 million pixels in few bytes; a request may hold `NUM_SLOW` of them."""
    blocks = Image.fromarray(skin(5, height=64, width=64)).resize((3200, 3200), Image.Resampling.NEAREST)
    return encode(blocks, "WEBP", lossless=True, method=1, quality=20)


def slow_pictures() -> dict[str, bytes]:
    """What keeps a server busy for seconds."""
    return {str(number): slow_picture() for number in range(NUM_SLOW)}


def post(target: Victim, *images: bytes) -> requests.Response:
    """Post images; any answer is returned."""
    return client.post_images(target.url, {str(number): image for number, image in enumerate(images)})


# ---- hostile connections ---------------------------------------------------------------------


def headers(length: int | None) -> bytes:
    """Of a request to score; None: its body comes in chunks."""
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return (
        f"POST /invocations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{size}\r\n\r\n".encode()
    )


def unfinished_upload(target: Victim, *, length: int, sent: int) -> socket.socket:
    """A connection whose upload stopped halfway; the caller closes it."""
    connection = socket.create_connection(target.place, timeout=30)
    connection.sendall(headers(length))
    block = b'{"' + b" " * (MEBIBYTE - 2)
    try:
        for start in range(0, sent, MEBIBYTE):
            connection.sendall(block[: sent - start])
    except OSError:
        pass  # refused
    return connection


def cut_off_upload(target: Victim, *, length: int, sent: int) -> None:
    """An upload that stops halfway and is closed."""
    unfinished_upload(target, length=length, sent=sent).close()


def endless_chunks(target: Victim, *, most: int) -> int:
    """Send a body in chunks until the server has enough; how many bytes it took."""
    chunk = f"{MEBIBYTE:x}\r\n".encode() + b" " * MEBIBYTE + b"\r\n"
    with socket.create_connection(target.place, timeout=30) as connection:
        connection.sendall(headers(None))
        for taken in range(0, most, MEBIBYTE):
            try:
                connection.sendall(chunk)
            except OSError:
                return taken
    return most


def answer_to(target: Victim, request: bytes) -> str:
    """What is answered to bytes, until the server closes the connection or waits for more."""
    with socket.create_connection(target.place, timeout=2) as connection:
        connection.sendall(request)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> str:
    """What still comes."""
    answer = b""
    with suppress(OSError):
        while part := connection.recv(4096):
            answer += part
    return answer.decode()


# ---- good requests meanwhile -----------------------------------------------------------------


@dataclass
class Seen:
    """What good requests met: seconds and status of each, and seconds of each question for the health.

    The status is 0 where nothing was answered, and 1 where the answer was wrong.
    """

    seconds: list[float]
    statuses: list[int]
    pings: list[float]


@contextmanager
def watched(target: Victim, image: bytes, expected: float) -> Iterator[Seen]:
    """Ask for one image and for the health again and again until the block ends."""
    seen, over = Seen([], [], []), threading.Event()

    def ask() -> None:
        session, body = requests.Session(), client.request_body({"a": image})
        while not over.is_set():
            start = time.perf_counter()
            seen.statuses.append(_status(session, f"{target.url}/invocations", body, expected))
            seen.seconds.append(time.perf_counter() - start)
            time.sleep(0.02)

    def ping() -> None:
        while not over.is_set():
            start = time.perf_counter()
            with suppress(requests.RequestException):
                requests.get(f"{target.url}/ping", timeout=60)
            seen.pings.append(time.perf_counter() - start)
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for work in (ask, ping)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _status(session: requests.Session, url: str, body: Any, expected: float) -> int:
    try:
        response = session.post(url, json=body, timeout=60)
    except requests.RequestException:
        return 0
    if response.ok and abs(response.json()["predictions"][0]["probability"] - expected) > 1e-5:
        return 1
    return response.status_code


def at_once(num: int, work: Callable[[], object]) -> None:
    """Do something in threads, and wait for all."""
    threads = [threading.Thread(target=work) for _ in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
