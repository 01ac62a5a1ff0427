"""Ports of this machine on which servers listen. Needs the standard library only."""

import errno
import socket

LOCAL = "127.0.0.1"


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
