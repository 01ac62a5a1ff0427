"""Another process that moves an alias, and may kill itself on the way."""

import os
import signal
import subprocess
import sys

from tests.imports import ROOT

CODE = """
import os, signal, sys
from melanoma.registry import moves, versions

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

version, death = int(sys.argv[1]), sys.argv[2]
set_alias = versions.set_alias
if death == "before":
    versions.set_alias = die
if death == "after":
    versions.set_alias = lambda *words: (set_alias(*words), die())
with moves.turn("melanoma-ph2"):
    print("in", flush=True)
    if death == "wait":
        sys.stdin.readline()
    moves.move_alias(
        "melanoma-ph2", "production", version, kind="release", by="child", reason="test", evidence={}
    )
    print("moved", flush=True)
"""


def start(version: int, death: str = "never") -> subprocess.Popen[str]:
    """Move `production` to `version`; dies `before` or `after` that, or waits for a line."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(version), death],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def kill_itself(version: int, death: str) -> None:
    """Run one that dies by SIGKILL."""
    process = start(version, death)
    _, problem = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, problem
