import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import _cli, _repro
from tests.imports import ROOT


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of DVC in git with a stage `tune`, which is the current folder."""
    (tmp_path / "MLproject").touch()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages:\n  tune:\n    cmd: echo 1\n  train:\n    cmd: echo 2\n")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def start(project, *words):
    """The script in a process of its own, which becomes that of DVC."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "pipelines._repro", *words],
        cwd=project,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/src", "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_parameters_it_is_dvc_repro(project):
    done = start(project, "tune")
    assert done.returncode == 0, done.stderr
    assert "Running stage 'tune'" in done.stdout
    assert "Running stage 'train'" not in done.stdout
    assert "Running stage 'train'" in start(project).stdout


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["tune", "--num_trials", "3"], "set=tune.num_trials=3"),
        (["train", "--num_epochs", "3"], "set=train.num_epochs=3"),
        (["page", "--num_trials", "3"], "set=tune.num_trials=3"),
        (["tune", "--train.num_epochs", "3"], "set=train.num_epochs=3"),
        (["tune", "--nothing", "3"], "set=tune.nothing=3"),
        (["--num_trials", "3"], "set=tune.num_trials=3"),
        (["tune", "--num_trials"], "set=tune.num_trials=…"),
    ],
)
def test_an_undeclared_parameter_is_answered_with_the_command_that_takes_it(project, capsys, words, setting):
    assert _cli.run(_repro.main, words) == 1
    assert f"mlflow run . -e experiment -P {setting} --env-manager local" in capsys.readouterr().err


def test_a_project_without_git_is_told_how_to_do_without(project, capsys):
    shutil.rmtree(project / ".git")
    assert _cli.run(_repro.main, []) == 1
    assert "dvc config --local core.no_scm true" in capsys.readouterr().err
    (project / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    assert "Running stage 'tune'" in start(project).stdout
