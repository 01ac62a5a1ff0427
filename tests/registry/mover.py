"""A process that moves aliases: `python -m tests.registry.mover END VERSION...`, in the folder of a store.

It says `ready`, waits for a line, then moves `staging` to one version after the other.
"""

import os
import signal
import sys

from melanoma.registry import ledger, moves, versions
from tests.registry.shelf import NAME, WHO

set_alias = versions.set_alias


def die_before(name: str, alias: str, version: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(name: str, alias: str, version: str) -> None:
    set_alias(name, alias, version)
    os.kill(os.getpid(), signal.SIGKILL)


def main(end: str, numbers: list[int]) -> None:
    """Move; `end` is `alive`, or where to die."""
    setters = {"alive": set_alias, "before": die_before, "after": die_after}
    versions.set_alias = setters[end]
    print("ready", flush=True)
    sys.stdin.readline()
    for number in numbers:
        with moves.exclusive(NAME):
            moves.move_alias(NAME, versions.STAGING, number, kind=ledger.PROMOTE, evidence={}, **WHO)


if __name__ == "__main__":
    main(sys.argv[1], [int(number) for number in sys.argv[2:]])
