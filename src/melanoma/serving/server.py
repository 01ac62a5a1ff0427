"""Let MLflow's scoring server answer every bad request with a reason, and stay up under any load.

By default (3.17), `mlflow models serve` answers some faults with a stack trace or with the whole body, drops
unknown parameters, reads a body of any size into memory, and continues work after it has answered 504. A
model cannot see a request. But its code is loaded in the server's process before the server makes its
application: `fastapi.FastAPI` is replaced here, for that one call, by an application that answers
`/invocations`, `/ping`, `/health` and `/model` itself. The rest stays MLflow's; `/docs` and `/openapi.json`
are off.

A request passes these limits, in this order: its headers (`bodies`), its body in bytes and seconds, a parse
in a thread (`posted`), its pixels by the headers of its images, and its place in a lane. The lane `quick` is
for small requests, `slow` for all others; each has its own threads and its own decoder processes
(`decoders`), so that small requests do not wait for large ones. If a lane or a budget is full, the answer is
503 with Retry-After at once. The work ends at the deadline of the request or when its client leaves.

A stop (SIGTERM to the server) refuses new connections, ends unfinished uploads after a second, and answers
all requests that were read, each before its deadline: `request_seconds` at most.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from mlflow.exceptions import MlflowException

from melanoma.serving import bodies, posted
from melanoma.serving.admission import Budget, Share, Work, WorkEnded
from melanoma.serving.bodies import ClientGone, Receive, Scope
from melanoma.serving.connections import Connections
from melanoma.serving.decoders import DecoderPool, PoolDecoding
from melanoma.serving.metrics import LANES, OFF, Metrics
from melanoma.serving.posted import MEGABYTE, MEGAPIXEL, Posted, RequestError

SERVER = "mlflow.pyfunc.scoring_server"
MODEL_PATH = "__pyfunc_model_path__"  # set by `mlflow models serve` for its server, and nowhere else
SMALL_BYTES = MEGABYTE  # a body of a few images
QUICK_PIXELS, QUICK_ROWS = 4 * MEGAPIXEL, 8  # largest request of the lane `quick`
NUM_THREADS = 4  # per lane; more are no faster and need memory
STUCK_SECONDS = 10  # a request of the lane `quick` takes well below a second
GRACE_SECONDS = 2.0  # for work to end after it was told to
UPLOAD_SECONDS = 1.0  # for unfinished uploads after a stop
RETRY_SECONDS = 1
ERROR_CODES = {500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
_log = logging.getLogger(__name__)

Answer = Callable[
    ..., Mapping[str, Sequence[Any]]
]  # from images, ids and parameters to columns, see `scorer`
Refused = Callable[..., None]  # takes images, their ids and groups, and the reasons of rows, see `scorer`
Send = Callable[[dict[str, Any]], Any]


def guard(
    limits: Mapping[str, int],
    answer: Answer,
    refused: Refused,
    about: Mapping[str, Any],
    metrics: Metrics = OFF,
) -> None:
    """Answer requests here if this process is MLflow's scoring server; else do nothing.

    Args:
        limits: See `settings.Settings`.
        answer: Function that scores a valid request.
        refused: Function that records the rows that make a request be refused before it is scored.
        about: The model, as a JSON object: the answer of `GET /model`.
        metrics: What counts requests.
    """
    if not is_scoring_server():
        return
    import fastapi  # noqa: PLC0415  # not installed for notebooks

    original = fastapi.FastAPI

    class Application(original):  # type: ignore[valid-type, misc]
        """Application to which MLflow adds its routes."""

        def __init__(self) -> None:
            fastapi.FastAPI = original  # type: ignore[misc]
            super().__init__(docs_url=None, redoc_url=None, openapi_url=None)
            behind = super().__call__
            self.front = Front(limits, answer, behind, refused=refused, about=about, metrics=metrics)

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.front(scope, receive, send)

    fastapi.FastAPI = Application  # type: ignore[assignment, misc]


def is_scoring_server() -> bool:
    """Whether this process is MLflow's scoring server."""
    return SERVER in sys.modules and MODEL_PATH in os.environ


class Lane:
    """Threads and decoders for requests of one kind, and their work."""

    def __init__(self, pool: DecoderPool, *, most: int, name: str) -> None:
        """Allow at most `most` requests at once."""
        self.pool, self._most = pool, most
        self.threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix=name)
        self.works: set[Work] = set()

    @property
    def is_full(self) -> bool:
        """Whether the lane accepts no more requests."""
        return len(self.works) >= self._most

    def has_waited(self, seconds: float) -> bool:
        """Whether a request has been in progress for longer than `seconds`."""
        return any(time.monotonic() - work.started > seconds for work in self.works)


class Front:
    """Application in front of MLflow's; its state belongs to the event loop."""

    def __init__(
        self,
        limits: Mapping[str, int],
        answer: Answer,
        behind: Callable[..., Any],
        *,
        refused: Refused,
        about: Mapping[str, Any],
        metrics: Metrics = OFF,
    ) -> None:
        """Start the decoders of the lane `quick`; the others start on demand.

        Args:
            limits: See `settings.Settings`.
            answer: Function that scores a valid request.
            behind: MLflow's application.
            refused: See `guard`.
            about: See `guard`.
            metrics: See `guard`.
        """
        self._limits, self._answer, self._behind, self._refused = limits, answer, behind, refused
        self._about, self._metrics = json.dumps(about).encode(), metrics
        self._seconds = limits["request_seconds"]
        self._bytes = Budget(limits["max_server_megabytes"] * MEGABYTE, small=SMALL_BYTES)
        self._pixels = Budget(limits["max_server_megapixels"] * MEGAPIXEL, small=QUICK_PIXELS)
        most = limits["max_server_requests"]
        pool = partial(
            DecoderPool,
            os.cpu_count() or 1,
            max_pixels=limits["max_image_megapixels"] * MEGAPIXEL,
            job_seconds=limits["decode_seconds"],
        )
        self._quick = Lane(pool(), most=most, name="quick")
        self._slow = Lane(pool(niceness=5), most=most, name="slow")  # small requests keep the processor
        self._quick.pool.start()
        self._parsers = ThreadPoolExecutor(2, thread_name_prefix="parse")
        self._uploads: set[asyncio.Timeout] = set()
        self._answering: set[asyncio.Task[bytes]] = set()
        self._is_stopping = False
        self._connections = Connections(
            most=limits["max_connections"],
            idle_seconds=limits["idle_seconds"],
            busy_seconds=self._seconds + limits["idle_seconds"],
            stop=self._stop,
        )
        lanes = dict(zip(LANES, (self._quick.works, self._slow.works), strict=True))
        metrics.watch(lanes, self._connections, num_threads=NUM_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or handle start and stop of the server."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        match (scope["type"], scope.get("method"), path):
            case ("lifespan", _, _):
                await self._live(scope, receive, send)
            case ("http", "POST", "/invocations"):
                await self._invocations(scope, receive, send)
            case ("http", "GET", "/ping" | "/health"):
                await self._ping(send)
            case ("http", "GET", "/model"):
                await _respond(send, HTTPStatus.OK, self._about)
            case _:
                await self._behind(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._connections.extend_uvicorn()  # only now: uvicorn loads its protocol after the application
        watching = asyncio.create_task(self._connections.watch())
        try:
            await self._behind(scope, receive, send)
        finally:
            watching.cancel()
            self.close()

    def close(self) -> None:
        """End the decoders and accept no more work."""
        for lane in (self._quick, self._slow):
            lane.pool.close()
            lane.threads.shutdown(wait=False, cancel_futures=True)
        self._parsers.shutdown(wait=False, cancel_futures=True)

    def _stop(self) -> None:
        self._is_stopping = True
        soon = asyncio.get_running_loop().time() + UPLOAD_SECONDS
        for upload in self._uploads:
            upload.reschedule(min(soon, upload.when() or soon))

    # ---- health ------------------------------------------------------------------------------

    async def _ping(self, send: Send) -> None:
        if self._is_stuck():
            message = "scoring is stuck: a request has exceeded its time limit"
            status = HTTPStatus.SERVICE_UNAVAILABLE
            await _respond(send, status, _refusal(status, message))
        else:
            await _respond(send, HTTPStatus.OK, b"\n")

    def _is_stuck(self) -> bool:
        return self._quick.has_waited(STUCK_SECONDS) or self._slow.has_waited(self._seconds + GRACE_SECONDS)

    # ---- scoring -----------------------------------------------------------------------------

    async def _invocations(self, scope: Scope, receive: Receive, send: Send) -> None:
        work, closes = Work(self._seconds), False
        try:
            status, content = HTTPStatus.OK, await self._score(scope, receive, work)
            self._metrics.answered(time.monotonic() - work.started)
        except RequestError as error:
            self._metrics.refused(error)
            status, closes = HTTPStatus(error.status), error.closes
            content = _refusal(error.status, str(error))
        except ClientGone:
            self._metrics.abandoned()
            return
        finally:
            work.end()
        # How long the client may take to read the answer is limited in `connections`.
        await _respond(send, status, content, closes=closes)

    async def _score(self, scope: Scope, receive: Receive, work: Work) -> bytes:
        """The body of the answer.

        Raises:
            RequestError: The request is refused, with the status of the answer.
            ClientGone: The client has left.
        """
        most = posted.max_body_bytes(self._limits)
        bodies.require_readable(scope, most=most)
        if self._is_stopping:
            raise bodies.stopping()
        with ExitStack() as stack:
            num_bytes = stack.enter_context(self._bytes.share())
            body = await self._read(receive, num_bytes, work, most=most)
            # From here on the work keeps its shares, even if the client leaves.
            answering = asyncio.create_task(self._parse_and_answer(body, num_bytes, work, stack.pop_all()))
        self._answering.add(answering)
        answering.add_done_callback(self._forget)
        return await self._wait_for(answering, receive, work)

    def _forget(self, answering: asyncio.Task[bytes]) -> None:
        self._answering.discard(answering)
        if not answering.cancelled():
            answering.exception()  # else asyncio would report errors of work that nobody waited for

    async def _read(self, receive: Receive, share: Share, work: Work, *, most: int) -> bytearray:
        upload = asyncio.timeout(work.seconds_left)
        try:
            async with upload:
                self._uploads.add(upload)
                return await bodies.read_body(receive, share, most=most)
        except TimeoutError:
            if self._is_stopping:
                raise bodies.stopping() from None
            message = f"the request was not complete after {self._seconds} seconds"
            raise RequestError(message, HTTPStatus.REQUEST_TIMEOUT, closes=True) from None
        finally:
            self._uploads.discard(upload)

    async def _wait_for(self, answering: asyncio.Task[bytes], receive: Receive, work: Work) -> bytes:
        leaving = asyncio.create_task(bodies.wait_until_gone(receive))
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({answering, leaving}, timeout=max(work.seconds_left, 0), return_when=first)
            if not answering.done():
                work.end()
                await asyncio.wait({answering}, timeout=GRACE_SECONDS)
            if leaving.done():
                raise ClientGone
        finally:
            leaving.cancel()
        with suppress(WorkEnded):
            if answering.done():
                return answering.result()
        message = f"the answer was not ready after {self._seconds} seconds; send fewer or smaller images"
        raise RequestError(message, HTTPStatus.GATEWAY_TIMEOUT)

    async def _parse_and_answer(
        self, body: bytearray, num_bytes: Share, work: Work, held: ExitStack
    ) -> bytes:
        """Parse the body, choose its lane and answer in a thread; return all shares afterwards."""
        loop = asyncio.get_running_loop()
        with held:
            parse = partial(_parse, body, self._limits, work, self._refused)
            request, pixels = await loop.run_in_executor(self._parsers, parse)
            num_bytes.take(sum(map(len, request.images)) - num_bytes.held)
            body.clear()
            lane = self._lane_of(request, pixels)
            if lane.is_full or not held.enter_context(self._pixels.share()).take(pixels):
                raise bodies.full()
            lane.works.add(work)
            held.callback(lane.works.discard, work)
            decoding = PoolDecoding(lane.pool, work)
            return await loop.run_in_executor(lane.threads, _answer, self._answer, request, decoding)

    def _lane_of(self, request: Posted, pixels: int) -> Lane:
        is_small = pixels <= QUICK_PIXELS and len(request.images) <= QUICK_ROWS
        return self._quick if is_small and not request.params.get("explain") else self._slow


# ---- in threads ------------------------------------------------------------------------------


def _parse(body: bytearray, limits: Mapping[str, int], work: Work, refused: Refused) -> tuple[Posted, int]:
    """The request and the number of pixels of its images."""
    work.require_wanted()
    request = posted.parse(body, limits)
    try:
        return request, posted.require_affordable(request.images, limits)
    except RequestError as error:
        refused(request.images, request.image_ids, request.group_ids, error.reasons)
        raise


def _answer(answer: Answer, request: Posted, decoding: PoolDecoding) -> bytes:
    """The body of the answer."""
    decoding.require_wanted()
    try:
        columns = answer(
            request.images,
            request.image_ids,
            request.params,
            group_ids=request.group_ids,
            decoding=decoding,
        )
        rows = zip(*columns.values(), strict=True)
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
        return json.dumps({"predictions": predictions}).encode()
    except WorkEnded:
        raise
    except MlflowException as error:
        if error.get_http_status_code() < HTTPStatus.INTERNAL_SERVER_ERROR:
            reasons = getattr(error, "reasons", {})  # of `scorer.RowsRefused`
            raise RequestError(str(error), error.get_http_status_code(), reasons=reasons) from error
        _log.exception("a request could not be answered")
    except Exception:  # the stack trace belongs into the log, not into the answer
        _log.exception("a request could not be answered")
    raise RequestError("internal error, see the log of the server", HTTPStatus.INTERNAL_SERVER_ERROR)


# ---- answers ---------------------------------------------------------------------------------


def _refusal(status: int, message: str) -> bytes:
    """Body of an error in MLflow's format."""
    code = ERROR_CODES.get(status, "BAD_REQUEST")
    return json.dumps({"error_code": code, "message": message}).encode()


async def _respond(send: Send, status: HTTPStatus, content: bytes, *, closes: bool = False) -> None:
    headers = [(b"content-type", posted.JSON.encode()), (b"content-length", str(len(content)).encode())]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    if closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": content})
