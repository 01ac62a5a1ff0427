"""Ask the application of a server without a socket."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from melanoma.serving.metrics import OFF, Metrics
from melanoma.serving.posted import JSON
from melanoma.serving.server import Answer, Front


@contextmanager
def front(
    limits: dict[str, int], answer: Answer, about: Mapping[str, Any] | None = None, metrics: Metrics = OFF
) -> Iterator[Front]:
    """An application with decoders of its own, until the block ends."""
    made = Front(limits, answer, _not_found, refused=lambda *_: None, about=about or {}, metrics=metrics)
    try:
        yield made
    finally:
        made.close()


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def ask(application: Front, method: str, path: str, *messages: dict[str, Any]) -> tuple[int, Any]:
    """Status and parsed body of the answer to a request; after its messages the client waits."""
    return asyncio.run(ask_soon(application, method, path, *messages))


def posted(content: Any) -> dict[str, Any]:
    """The message of a whole body."""
    return {"type": "http.request", "body": json.dumps(content).encode(), "more_body": False}


async def ask_soon(application: Front, method: str, path: str, *messages: dict[str, Any]) -> tuple[int, Any]:
    """The same within an event loop."""
    waiting, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", JSON.encode())]
    root = path.removesuffix("/ping").removesuffix("/invocations").removesuffix("/model")
    scope = {"type": "http", "method": method, "path": path, "root_path": root, "headers": headers}
    await application(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"] if sent else 0, json.loads(body) if body.strip() else None
