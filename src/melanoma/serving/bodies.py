"""Read the body of a request within limits of bytes, of time, and of the bytes of all requests."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from melanoma.serving.admission import Share
from melanoma.serving.posted import STOPPING, RequestError, require_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGone(Exception):  # noqa: N818  # not an error of the server
    """The client left before its request was complete."""


def require_readable(scope: Scope, *, most: int) -> None:
    """Refuse a body by the headers of its request, before it is read.

    Args:
        scope: ASGI scope of the request.
        most: Largest body in bytes.

    Raises:
        RequestError: 400 for two lengths, 413 for one that is too large, 415 for another content type, or for
            an encoding such as gzip.
    """
    headers = scope["headers"]
    named = {name for name, _ in headers}
    if {b"content-length", b"transfer-encoding"} <= named:
        message = "the request has both content-length and transfer-encoding; send one of them"
        raise RequestError(message, closes=True)
    kinds = [value.decode("latin-1") for name, value in headers if name == b"content-type"]
    require_json(", ".join(kinds) if kinds else None)
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            shown = value.decode("latin-1")[:40]
            raise RequestError(
                f"the body has the content-encoding {shown}; send it uncompressed, without this header",
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            )
        if name == b"content-length" and int(value) > most:
            raise too_large(int(value), most)


def too_large(num_bytes: int, most: int, *, at_least: bool = False) -> RequestError:
    """The refusal of a large body."""
    words = "more than " if at_least else ""
    return RequestError(
        f"the body has {words}{num_bytes:,} bytes, at most {most:,} are allowed",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )


async def read_body(receive: Receive, share: Share, *, most: int) -> bytearray:
    """The whole body.

    Args:
        receive: ASGI callable for the next message.
        share: Share of the server's byte budget; holds the bytes of the body afterwards.
        most: Largest body in bytes.

    Raises:
        RequestError: 413 for a larger body, 503 if the byte budget is exhausted.
        ClientGone: The client left.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        if len(body) + len(chunk) > most:
            raise too_large(most, most, at_least=True)
        if not share.take(len(chunk)):
            raise full()
        body += chunk
        if not message.get("more_body", False):
            return body


def full() -> RequestError:
    """The refusal of a request that may be repeated later."""
    message = "the server is overloaded; send the request again later"
    return RequestError(message, HTTPStatus.SERVICE_UNAVAILABLE)


def stopping() -> RequestError:
    """The refusal of a request to a server that was told to stop."""
    message = "the server is stopping; send the request again later"
    return RequestError(message, HTTPStatus.SERVICE_UNAVAILABLE, closes=True, kind=STOPPING)


async def wait_until_gone(receive: Receive) -> None:
    """Wait until the client of a request whose body was read has left."""
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
