"""Close idle connections: uvicorn (0.54) keeps them open without a limit.

A connection that sends no request or half of one, or does not read its answer, stays open for ever, and a
server that shuts down waits for it. A model cannot configure the server that loads it, but its code runs in
the server's process. Two methods of uvicorn's protocol class are extended here: one to know the connections,
one to know that the server was told to stop.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

PROTOCOLS = {
    "uvicorn.protocols.http.h11_impl": "H11Protocol",
    "uvicorn.protocols.http.httptools_impl": "HttpToolsProtocol",
}
LOOK_SECONDS = 0.5
# After a refusal, the rest of the body is read and dropped for a while: otherwise a client that still sends
# would find the connection broken and not see the refusal.
LINGER_SECONDS = 3.0
KEPT_SECONDS = 1.0  # for which the connection of an answered client is kept even if the table is full
BUSY_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class Connections:
    """The open connections of a server."""

    def __init__(
        self, *, most: int, idle_seconds: float, busy_seconds: float, stop: Callable[[], None]
    ) -> None:
        """Set the limits.

        Args:
            most: Largest number of connections.
            idle_seconds: Longest time of a connection without a request in progress: while it sends the
                headers, between two requests, and while the client reads its answer.
            busy_seconds: Longest time of a request in progress; a safeguard behind its own deadline.
            stop: Function to call when the server was told to stop.
        """
        self._most, self._stop = most, stop
        self._idle_seconds, self._busy_seconds = idle_seconds, busy_seconds
        self._seen: dict[Any, tuple[Any, float]] = {}  # state of each connection and its start

    def __len__(self) -> int:
        """Number of open connections; closed ones are dropped after `LOOK_SECONDS`."""
        return len(self._seen)

    def extend_uvicorn(self) -> None:
        """Watch all connections that are opened from now on."""
        for module, name in PROTOCOLS.items():
            if module in sys.modules:
                self._extend(getattr(sys.modules[module], name))

    def _extend(self, protocol: Any) -> None:
        made, shutdown = protocol.connection_made, protocol.shutdown

        def connection_made(connection: Any, transport: Any) -> None:
            made(connection, transport)
            self._opened(connection)

        def shutdown_too(connection: Any) -> None:
            self._stop()
            shutdown(connection)

        protocol.connection_made, protocol.shutdown = connection_made, shutdown_too

    def _opened(self, connection: Any) -> None:
        self._seen[connection] = (_state(connection), time.monotonic())
        if len(self._seen) > self._most:
            self._seen = {one: seen for one, seen in self._seen.items() if one in one.connections}
        if len(self._seen) <= self._most:
            return
        unwanted = self._least_wanted(but=connection)
        if unwanted is None:
            connection.transport.write(BUSY_ANSWER)
            connection.transport.close()
        else:
            unwanted.transport.abort()
        self._seen.pop(unwanted or connection)

    def _least_wanted(self, *, but: Any) -> Any:
        """The idle connection that makes room for a new one, or None.

        Those whose last request was not read to its end, or that sent none, go first. A client that was
        answered may send its next request at any moment: its connection goes last, and not at once.
        """
        now = time.monotonic()
        idle = {
            one: now - since if state == _state(one) else 0
            for one, (state, since) in self._seen.items()
            if one is not but and _is_idle(one)
        }
        choice = [one for one, seconds in idle.items() if not _was_answered(one) or seconds > KEPT_SECONDS]
        return min(choice, key=lambda one: (_was_answered(one), -idle[one]), default=None)

    async def watch(self) -> None:
        """Close connections that exceed a limit, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        for connection, (state, since) in list(self._seen.items()):
            if connection not in connection.connections:  # uvicorn's own set of the open ones
                del self._seen[connection]
            elif state != _state(connection):
                self._seen[connection] = (_state(connection), now)
            elif now - since > self._seconds_of(connection):
                connection.transport.abort()

    def _seconds_of(self, connection: Any) -> float:
        """Longest time of the connection's current state."""
        if not _is_idle(connection):
            return self._busy_seconds
        is_unread = connection.cycle is not None and connection.cycle.more_body
        return LINGER_SECONDS if is_unread else self._idle_seconds


def _is_idle(connection: Any) -> bool:
    return connection.cycle is None or connection.cycle.response_complete


def _was_answered(connection: Any) -> bool:
    """Whether the last request of an idle connection was read to its end and answered."""
    return connection.cycle is not None and not connection.cycle.more_body


def _state(connection: Any) -> Any:
    """State of a connection: it changes with each request, and when an answer was sent."""
    return connection.cycle, _is_idle(connection)
