"""Optuna's dashboard on the study of the workspace."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from pipelines import _cli, _dashboard
from tests.end_to_end.clone import free_port
from tests.imports import ROOT

PATIENCE_SECONDS = 120


@pytest.mark.slow
def test_it_serves_the_study_of_the_last_search(at_workspace):
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines._dashboard", "--port", str(port)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert f"http://127.0.0.1:{port}" in server.stdout.readline()
            studies = read_when_up(f"http://127.0.0.1:{port}/api/studies")
        finally:
            server.terminate()
    names = [study["study_name"] for study in json.loads(studies)["study_summaries"]]
    assert json.loads(Path("reports/sample/tuning.json").read_text())["study"] in names


def read_when_up(address: str) -> bytes:
    """The answer of a server, once it answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urlopen(address, timeout=PATIENCE_SECONDS) as answer:
                return answer.read()
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_without_a_search_it_says_what_to_run(broken, capsys):
    Path("data/studies/studies.journal").unlink()
    assert _cli.run(_dashboard.main, []) == 1
    assert "There are no searches yet" in capsys.readouterr().err
    assert not Path("data/studies/studies.journal").exists()
