"""Ports of this machine on which servers listen. Needs the standard library only."""

import errno
import socket

LOCAL = "127.0.0.1"


LAST_RESERVED, MAX_PORT = 1023, 65535


def next_free(port: int) -> int:
    """The first port above `port` on which a server may listen; 0 if there is none."""
    return next((number for number in range(port + 1, MAX_PORT + 1) if is_free(number)), 0)


def is_free(port: int) -> bool:
    """Whether a server may listen on a port of this machine.

    Raises:
        OSError: The system forbids it, for instance below 1024.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
        try:
            probe.bind((LOCAL, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
