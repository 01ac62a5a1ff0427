"""The program of a worker process: `python -m melanoma.execution.worker_main FILE_DESCRIPTOR`.

It takes tasks from a connection until there are no more. It ends at once when its parent is gone, however
that ended: a worker that nobody waits for would hold its GPU for hours.
"""

import os
import pickle
import select
import sys
import threading
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from melanoma.execution.calls import answer


def main(file_descriptor: int) -> None:
    """Answer task after task; the first message is the function, an empty one says that all is done."""
    threading.Thread(target=_end_with_parent, args=(file_descriptor,), daemon=True).start()
    connection: Connection = Connection(file_descriptor)
    function = connection.recv_bytes()
    while message := connection.recv_bytes():
        connection.send_bytes(answer(partial(_call, function, message)))


def _call(function: bytes, task: bytes) -> Any:
    return pickle.loads(function)(pickle.loads(task))  # noqa: S301  # from our parent


def _end_with_parent(file_descriptor: int) -> None:
    hang_up = select.poll()
    hang_up.register(file_descriptor, 0)  # nothing but the end of the other side
    hang_up.poll()
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
