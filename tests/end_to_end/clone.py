"""A fresh clone of this project, and the commands that a user would type in it."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.imports import ROOT
from tests.pipelines.workspace import change_params

BIN = Path(sys.executable).parent
START_SECONDS = 180  # a server may take this long to answer on a busy machine
NOT_SOURCE = ("data/", "dvc.lock")


def make_clone(folder: Path, changes: dict[str, Any]) -> Path:
    """Everything that git tracks or would track, committed anew with `changes` to params.yaml."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listing.stdout.splitlines():
        if not name.startswith(NOT_SOURCE) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    change_params(folder / "params.yaml", **changes)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "clone"]):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The environment of an activated .venv; stores and settings of the caller stay outside."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    return kept | {"PATH": f"{BIN}:{kept['PATH']}", "PYTHONPATH": str(folder / "src")}


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start a command in `folder` as the leader of a process group."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(folder: Path, *command: str, exit_code: int = 0) -> str:
    """Run a command in `folder`; its output."""
    process = start(folder, *command)
    output = process.communicate()[0]
    assert process.returncode == exit_code, output
    return output


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the process and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, *command: str, url: str, settings: dict[str, str] | None = None) -> Iterator[Path]:
    """Run a server with extra environment `settings` until the block ends; its log, once `url` answers."""
    with (folder / f"{Path(command[0]).name}-{command[1]}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder) | (settings or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(url, process, Path(log.name))
            yield Path(log.name)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # nothing here outlives the test
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=2).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.3)
    raise AssertionError(f"{url} did not answer in {START_SECONDS} s:\n{log.read_text()}")


@contextmanager
def staging_server(folder: Path, cohort: str, settings: dict[str, str] | None = None) -> Iterator[str]:
    """`mlflow models serve` of the staging model of `cohort`; its base URL."""
    port = free_port()
    model = f"models:/melanoma-{cohort}@staging"
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    with server(folder, *command, url=f"http://127.0.0.1:{port}/ping", settings=settings):
        yield f"http://127.0.0.1:{port}"


def score(url: str, images: list[bytes], params: dict[str, Any] | None = None) -> requests.Response:
    """POST images as base64 in column `image`, as the README shows."""
    encoded = [[base64.b64encode(image).decode()] for image in images]
    body: dict[str, Any] = {"dataframe_split": {"columns": ["image"], "data": encoded}}
    if params:
        body["params"] = params
    return requests.post(f"{url}/invocations", json=body, timeout=60)


def report(folder: Path, name: str) -> dict[str, Any]:
    """A JSON report below `reports/`."""
    content: dict[str, Any] = json.loads((folder / "reports" / f"{name}.json").read_text())
    return content
