import os
import subprocess
import sys

import pytest

from melanoma import project
from tests.imports import ROOT


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A project, which is the current folder; no store is configured."""
    folder = tmp_path / "a project"
    (folder / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1" / ".dvc").mkdir(parents=True)
    (folder / "reports" / "ph2").mkdir(parents=True)
    (folder / "MLproject").touch()
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    return folder


PLACES = (".", "reports/ph2", ".dvc/tmp/exps/standalone/tmp1", ".dvc/tmp/exps/standalone/tmp1/.dvc")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("setting", "file"),
    [
        (None, "mlflow.db"),
        ("", "mlflow.db"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:///./runs/../x.db", "x.db"),
        ("sqlite+pysqlite:///x.db?timeout=3", "x.db"),
    ],
)
def test_a_relative_address_begins_at_the_top_wherever_the_command_runs(
    top, monkeypatch, place, setting, file
):
    monkeypatch.chdir(top / place)
    if setting is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", setting)
    assert project.file_of(project.tracking_uri()) == top / file


@pytest.mark.parametrize(
    "uri", ["sqlite:////data/x.db", "http://127.0.0.1:5000", "postgresql://db/mlflow", "sqlite:///:memory:"]
)
def test_an_absolute_address_is_taken_as_it_is(top, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert project.tracking_uri() == uri


def test_an_experiment_reads_its_own_copy_but_has_the_store_of_the_project(top, monkeypatch):
    monkeypatch.chdir(top / PLACES[2])
    assert project.working_tree() == top / PLACES[2]
    assert project.project_top() == top


def test_where_the_copies_lie_elsewhere_dvc_names_the_project(top, tmp_path, monkeypatch):
    copy = tmp_path / "scratch"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert project.project_top() == copy
    monkeypatch.setenv("DVC_ROOT", str(top))
    monkeypatch.setenv("DVC_EXP_NAME", "x")
    assert project.project_top() == top


def test_outside_of_any_project_the_store_lies_here(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert project.tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_script_that_starts_outside_belongs_to_its_own_project(top, tmp_path):
    (top / "pipelines").mkdir()
    script = top / "pipelines" / "where.py"
    script.write_text("from melanoma import project; print(project.tracking_uri())")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment = kept | {"PYTHONPATH": f"{ROOT}/src"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"sqlite:///{top}/mlflow.db"


UNDER_MLFLOW = """
import os, subprocess, sys
os.chdir(sys.argv[1])
child = "from melanoma import project; print(project.tracking_uri())"
given = {"MLFLOW_RUN_ID": "r", "MLFLOW_TRACKING_URI": sys.argv[3]}
subprocess.run([sys.executable, "-c", child], cwd=sys.argv[2], env=os.environ | given, check=True)
"""


@pytest.mark.parametrize("is_set", [False, True])
def test_what_mlflow_run_hands_down_from_elsewhere_counts_only_when_somebody_set_it(top, tmp_path, is_set):
    """`mlflow run PROJECT` hands down the store of its own current folder, as if somebody had chosen it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    handed = f"sqlite:///{elsewhere}/mlflow.db"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment = kept | {"PYTHONPATH": f"{ROOT}/src"} | ({"MLFLOW_TRACKING_URI": handed} if is_set else {})
    command = [sys.executable, "-c", UNDER_MLFLOW, str(elsewhere), str(top), handed]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (handed if is_set else f"sqlite:///{top}/mlflow.db")


def test_a_quoted_path_of_mlflow_run_is_the_folder_that_exists(top, monkeypatch):
    quoted = str(top).replace(" ", "%20")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{quoted}/mlflow.db")
    assert project.file_of(project.tracking_uri()) == top / "mlflow.db"
    (top / "100%25").mkdir()  # a name that looks quoted
    (top / "100%25" / "x.db").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{top}/100%25/x.db")
    assert project.file_of(project.tracking_uri()) == top / "100%25" / "x.db"


def test_a_git_worktree_without_a_cache_is_told_where_one_is(tmp_path):
    main, other = tmp_path / "main", tmp_path / "other"
    (main / ".dvc" / "cache").mkdir(parents=True)
    (main / ".dvc" / "config").touch()
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", ".dvc/config"], ["commit", "-qm", "x"], ["worktree", "add", other]):
        subprocess.run(["git", *identity, *words], cwd=main, check=True, capture_output=True)
    assert project.cache_of_main_worktree(main) is None
    assert project.cache_of_main_worktree(other) == main / ".dvc" / "cache"
    assert f"dvc cache dir --local {main}/.dvc/cache" in project.how_to_share(main / ".dvc" / "cache")
    (other / ".dvc" / "config.local").write_text("[cache]\n    dir = /elsewhere\n")
    assert project.cache_of_main_worktree(other) is None
