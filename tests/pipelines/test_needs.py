"""What make targets say before there are results, and that they are silent afterwards."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import _cli, _needs, _serve, accept, history, predict, release, rollback, summary, trace, ui
from tests.imports import ROOT
from tests.registry.shelf import NAME
from tests.stages.test_needs import listening

WHO = ["--by", "A. Name", "--reason", "tried"]
READERS = [
    (history, [NAME]),
    (trace, [f"models:/{NAME}@staging"]),
    (accept, ["--cohort", "ph2", *WHO]),
    (release, [NAME, "--version", "1", *WHO]),
    (rollback, [NAME, *WHO]),
    (predict, ["--images", ".", "--out", "scores.csv"]),
    (ui, ["--no-browser"]),
    (_serve, ["--cohort", "ph2", "--port", "5001"]),
]


@pytest.mark.parametrize(("options", "is_refused"), [(["-S", "-E"], True), ([], False)])
def test_a_script_outside_the_environment_says_how_to_enter_it(options, is_refused):
    command = [sys.executable, *options, "-m", "pipelines.history", "--help"]  # -S: without packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == int(is_refused), done.stderr
    assert done.stderr.startswith("error: The packages of this project are not installed") == is_refused
    assert ("source .venv/bin/activate" in done.stderr) == is_refused
    assert "Traceback" not in done.stderr


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """The current folder is a project in which nothing was run."""
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize(("script", "words"), READERS)
def test_before_the_first_run_one_line_says_so_and_no_store_is_made(fresh, capsys, script, words):
    assert _cli.run(script.main, words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Run `make demo` first.")
    assert not Path("mlflow.db").exists()


def test_the_summary_needs_results(fresh, capsys):
    assert _cli.run(summary.main, []) == 1
    assert "no results in reports yet. Run `make demo`" in capsys.readouterr().err


def test_the_page_needs_results(fresh, capsys):
    assert _cli.run(_needs.main, []) == 1
    assert "no results in reports yet" in capsys.readouterr().err
    for file in ("headlines/sample.json", "data/sample.md"):
        Path("reports", file).parent.mkdir(parents=True)
        Path("reports", file).touch()
    assert _cli.run(_needs.main, []) == 0


def test_a_served_cohort_on_a_free_port_becomes_mlflow_with_the_address_of_the_store(shelf, monkeypatch):
    shelf.move(shelf.register())
    shutil.copy(ROOT / "params.yaml", ".")
    with listening() as port:
        pass
    became = []
    monkeypatch.setattr(os, "execvpe", lambda *given: became.append(given))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    _cli.run(_serve.main, ["--cohort", "ph2", "--port", str(port)])
    ((program, command, environment),) = became
    assert program == "mlflow"
    assert " ".join(command).endswith(f"-m models:/melanoma-ph2@staging --env-manager local --port {port}")
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{shelf.folder}/mlflow.db"


@pytest.mark.parametrize(
    ("script", "words", "cure"),
    [
        (ui, ["--no-browser"], "`make ui UI_PORT="),
        (_serve, ["--cohort", "ph2"], "`make serve COHORT=ph2 PORT="),
    ],
)
def test_a_port_in_use_says_how_to_choose_another(shelf, capsys, script, words, cure):
    shelf.move(shelf.register())
    shutil.copy(ROOT / "params.yaml", ".")
    with listening() as port:
        assert _cli.run(script.main, [*words, "--port", str(port)]) == 1
    assert cure in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "abc", "-1", ""])
def test_what_is_no_port_is_refused(capsys, port):
    with pytest.raises(SystemExit):
        ui.main([f"--port={port}"])
    assert "expected a number from 1 to 65535" in capsys.readouterr().err


def test_an_unknown_cohort_names_the_declared_ones(shelf, capsys):
    shutil.copy(ROOT / "params.yaml", ".")
    assert _cli.run(_serve.main, ["--cohort", "foo", "--port", "5001"]) == 1
    assert "Cohorts of params.yaml: sample, isic, ph2, joint" in capsys.readouterr().err
