"""Program of a decoder process: it receives jobs through standard input, a socket, and returns pixels.

A message is the length of a JSON object, the object, and as many bytes as the object says. Nothing is
unpickled on either side, so that a decoder that was taken over by a hostile image cannot attack the server
with its answers.

The operating system limits memory and processor time of a job and kills a decoder that exceeds them. A
decoder ends with the server, because its standard input ends.
"""

import json
import os
import resource
import signal
import socket
import struct
import sys

import numpy as np

from melanoma.data.crops import Box
from melanoma.errors import ImageError
from melanoma.serving.decoding import Job, decode

LENGTH = struct.Struct("<I")


def main(memory_bytes: int, job_seconds: int, niceness: int) -> None:
    """Answer jobs until the server closes the connection."""
    os.nice(niceness)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # kills the process
    with socket.socket(fileno=0) as connection:
        while (message := receive(connection)) is not None:
            signal.setitimer(signal.ITIMER_PROF, job_seconds)
            send(connection, *_answer(*message))
            signal.setitimer(signal.ITIMER_PROF, 0)


def _answer(fields: dict[str, object], encoded: bytes) -> tuple[dict[str, object], bytes]:
    box = fields.pop("box")
    job = Job(encoded=encoded, box=None if box is None else Box(*box), **fields)  # type: ignore[arg-type, misc]
    try:
        return {}, np.ascontiguousarray(decode(job)).tobytes()
    except ImageError as error:
        return {"refused": str(error)}, b""
    except MemoryError:
        return {"refused": "the image needs more memory than is allowed"}, b""


def send(connection: socket.socket, fields: dict[str, object], content: bytes) -> None:
    """Send one message."""
    described = json.dumps(fields | {"num_bytes": len(content)}).encode()
    connection.sendall(LENGTH.pack(len(described)) + described)
    connection.sendall(content)


def receive(connection: socket.socket) -> tuple[dict[str, object], bytes] | None:
    """The next message; None if the other side has closed the connection."""
    try:
        (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size))
        fields = json.loads(_exactly(connection, length))
        return fields, _exactly(connection, fields.pop("num_bytes"))
    except EOFError:
        return None


def _exactly(connection: socket.socket, num_bytes: int) -> bytes:
    content = bytearray(num_bytes)
    view = memoryview(content)
    while view:
        num_read = connection.recv_into(view)
        if not num_read:
            raise EOFError
        view = view[num_read:]
    return bytes(content)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
