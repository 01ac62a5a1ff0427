"""The commands in shell blocks of the READMEs, run in the order of each document in a clone after the demo.

`tests/documents.py` says how a command is marked that needs what a test has not.
"""

import re
import shutil
import subprocess
import zipfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, Command, blocks, shell_commands
from tests.end_to_end.clone import BIN, free_port, kill, run, server, start
from tests.imports import ROOT
from tests.pipelines.raw_sources import make_isic, make_ph2

pytestmark = pytest.mark.slow
LIMIT_SECONDS = 600  # of one block, on a machine as busy as can be
SERVERS = {
    "make serve": ("PORT", "/ping"),
    "make ui": ("UI_PORT", "/health"),
    "make dashboard": ("DASHBOARD_PORT", "/dashboard/"),
}
DEFAULT_PORTS = {"PORT": 5001, "UI_PORT": 5000, "DASHBOARD_PORT": 8080}  # of the Makefile
RUN_BY = {  # these would run this test again, or need long and are run as they are by other tests
    "make test": "tests/test_make.py::test_ci_runs_the_fast_tests_and_then_the_slow_ones",
    "make test-all": "tests/test_make.py::test_each_test_is_selected_by_exactly_one_of_the_two_targets",
    "make lint": "tests/test_make.py::test_linters_run_before_the_tests",
}


def words_of(command: Command) -> str:
    """A command without its comment."""
    return re.sub(r"\s+# .*", "", command.text)


def to_run() -> dict[str, list[list[Command]]]:
    """For each README the blocks of commands that can be run."""
    found = {
        document.relative_to(ROOT).as_posix(): [
            [
                command
                for command in shell_commands(block)
                if not command.needs and words_of(command) not in RUN_BY
            ]
            for block in blocks(document, "bash")
        ]
        for document in DOCUMENTS
    }
    return {name: rest for name, commands in found.items() if (rest := [some for some in commands if some])}


@pytest.fixture(scope="module")
def project(demo_copy):
    """The clone, with an environment that make takes for installed, and with what a user would bring."""
    environment = demo_copy / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/activate").symlink_to(BIN / "activate")
    for name in ("bin/uv", ".installed", ".installed-dev"):
        (environment / name).touch()
    make_isic(demo_copy)
    (demo_copy / "masks").mkdir()
    with zipfile.ZipFile(demo_copy / "PH2Dataset.zip", "w") as archive:
        source = make_ph2(demo_copy / "tmp" / "PH2Dataset")
        for file in sorted(source.rglob("*")):
            archive.write(file, file.relative_to(source.parent))
    shutil.rmtree(source.parent)
    for name in ("user.name", "user.email"):
        run(demo_copy, "git", "config", name, "a@b.example")
    return demo_copy


def run_block(project: Path, commands: list[str]) -> None:
    """Run commands as one script that stops at the first error."""
    process = start(project, "bash", "-euo", "pipefail", "-xc", "\n".join(commands))
    try:
        output = process.communicate(timeout=LIMIT_SECONDS)[0]
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    assert process.returncode == 0, output


def start_server(project: Path, command: str, ports: dict[str, int]) -> AbstractContextManager[Path] | None:
    """What runs the server that a command starts; None if it starts none."""
    for beginning, (variable, path) in SERVERS.items():
        if command.startswith(beginning):
            settings = {name: str(port) for name, port in ports.items()}
            url = f"http://127.0.0.1:{ports[variable]}{path}"
            return server(project, *command.split(), url=url, settings=settings)
    return None


def asking_here(command: str, ports: dict[str, int]) -> str:
    """A command that asks the servers of this test, not those on the default ports, and fails if refused."""
    command = command.replace("curl -s ", "curl -s --fail ")
    for name, default in DEFAULT_PORTS.items():
        command = command.replace(f"127.0.0.1:{default}", f"127.0.0.1:{ports[name]}")
    return command


@pytest.mark.parametrize(("document", "found"), to_run().items(), ids=list(to_run()))
def test_commands_of_a_readme_run(project, document, found):
    ports = {name: free_port() for name in DEFAULT_PORTS}
    with ExitStack() as servers:  # they run until the end of the document
        for block in found:
            script = []
            for command in map(words_of, block):
                if (running := start_server(project, command, ports)) is not None:
                    servers.enter_context(running)
                else:
                    script.append(asking_here(command, ports))
            run_block(project, script)
    run(project, "git", "checkout", "-q", "params.yaml")


def test_what_another_test_runs_is_in_a_readme_and_that_test_exists():
    named = {
        words_of(command)
        for document in DOCUMENTS
        for block in blocks(document, "bash")
        for command in shell_commands(block)
    }
    for command, test in RUN_BY.items():
        path, _, name = test.partition("::")
        assert command in named
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
