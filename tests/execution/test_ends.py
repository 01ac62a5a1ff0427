"""How workers end when their parent is interrupted or killed, tried with real programs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.execution.watching import await_that, has_ended

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start(tmp_path):
    """Starts the parent as a shell would, in a process group of its own; gives it and its busy workers."""
    started: list[int] = []

    def start(kind: str) -> tuple[subprocess.Popen, list[int]]:
        parent = subprocess.Popen(
            [sys.executable, "-m", "tests.execution.parent", kind, str(tmp_path)],
            cwd=ROOT,
            env=os.environ | {"HOME": str(tmp_path)},  # where Ray keeps its token
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        marks = [tmp_path / "0.pid", tmp_path / "1.pid"]
        await_that(lambda: all(mark.exists() for mark in marks))
        workers = [int(mark.read_text()) for mark in marks]
        started.extend([parent.pid, *workers])
        return parent, workers

    yield start
    for number in started:
        if not has_ended(number):
            os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["workers", "mapping", pytest.param("ray", marks=pytest.mark.slow)])
def test_workers_of_a_parent_that_is_killed_end_by_themselves(start, kind):
    if kind == "ray":
        pytest.importorskip("ray")
    parent, workers = start(kind)
    assert not any(map(has_ended, workers))
    parent.kill()
    parent.communicate(timeout=60)
    await_that(lambda: all(map(has_ended, workers)))


def test_ctrl_c_ends_parent_and_workers_and_only_the_parent_speaks(start):
    parent, workers = start("workers")
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    _, words = parent.communicate(timeout=60)
    assert parent.returncode == -signal.SIGINT
    assert words.splitlines()[-1] == "KeyboardInterrupt"
    assert "announce_and_sleep" not in words
    await_that(lambda: all(map(has_ended, workers)))
