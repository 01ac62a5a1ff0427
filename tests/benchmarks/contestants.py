"""Programs that are measured by turns: they live in processes of their own and work only when told to.

So all see the same minutes of the machine, and start-up and compilation are over before the first turn.
Needs the standard library only: a contestant may run in another environment than this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "GLOG_minloglevel": "2"}
SHARE_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

Answer = dict[str, Any]
Turn = Callable[[], Answer]


def serve(turns: Mapping[str, Turn], about: Answer) -> None:
    """What a process of contestants does: says `about` once it is ready, then takes each turn that it reads.

    What libraries print goes to the error stream.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        print(json.dumps(turns[line.strip()]()), file=answers)


class Process:
    """A process of contestants.

    Attributes:
        about: What it said of itself when it was ready; read it before the first turn.
    """

    about: Answer

    def __init__(self, module: str, task: Mapping[str, Any], *, python: str, env: dict[str, str]) -> None:
        """Start `python -m module` with `task` as its argument; returns at once."""
        self._module = module
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            [python, "-m", module, json.dumps(task)],
            cwd=ROOT,
            env=os.environ | QUIET | SHARE_GPU | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )

    def wait_until_ready(self) -> None:
        """Return when it has warmed up."""
        self.about = self.hear()

    def tell(self, way: str) -> None:
        """Let it begin a turn."""
        self._process.stdin.write(f"{way}\n")

    def hear(self) -> Answer:
        """Wait for the end of a turn."""
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self._module} ended without an answer:\n{self._errors.read()[-3000:]}")
        answer: Answer = json.loads(line)
        return answer

    def turn(self, way: str) -> Answer:
        """One turn."""
        self.tell(way)
        return self.hear()

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@contextlib.contextmanager
def started(
    module: str, task: Mapping[str, Any], *, python: str = sys.executable, **env: str
) -> Iterator[Process]:
    """A process that is ready, and gone at the end."""
    process = Process(module, task, python=python, env=env)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.close()


def turns_of(process: Process, ways: list[str]) -> dict[str, Turn]:
    """Each way as a function without arguments."""
    return {way: partial(process.turn, way) for way in ways}


def alternate(turns: Mapping[str, Turn], num_rounds: int) -> dict[str, list[Answer]]:
    """The answers of each, `num_rounds` of them; every round begins with another one."""
    from tqdm import tqdm  # only here: who measures has it, a contestant need not

    answers: dict[str, list[Answer]] = {name: [] for name in turns}
    names = list(turns)
    for number in tqdm(range(num_rounds), unit="round", leave=False, disable=None):
        start = number % len(names)
        for name in [*names[start:], *names[:start]]:
            answers[name].append(turns[name]())
    return answers
