"""A project has one tracking store, also for experiments that DVC runs in copies and deletes afterwards."""

import json
import shutil
import subprocess

import pytest
from mlflow import MlflowClient

from tests.end_to_end.clone import run
from tests.imports import ROOT

pytestmark = pytest.mark.slow

STAGE = """
import json, pathlib
from melanoma import tracking
tags = {"seed": pathlib.Path("params.yaml").read_text()}
with tracking.open_run(experiment="toy", name="n", tags=tags) as made:
    made.log_text("x", "note.txt")
pathlib.Path("run.json").write_text(json.dumps({"run_id": made.run_id}))
"""
GRAPH = """
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    params: [seed]
    outs:
      - run.json: {cache: false}
"""


@pytest.fixture
def toy(tmp_path):
    """A project of one stage, which has run once."""
    folder = tmp_path / "toy"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "keep").touch()
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "train.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / "params.yaml").write_text("seed: 1\n")
    (folder / ".gitignore").write_text("/mlruns/\n/mlflow.db*\n__pycache__/\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "repro")
    commit(folder)
    return folder


def commit(folder):
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for words in (["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)


def seeds(folder):
    """The seeds of all runs in the project's store; the artifacts of each lie in the project."""
    store = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = store.search_runs([store.get_experiment_by_name("toy").experiment_id])
    for found in runs:
        assert found.info.artifact_uri.startswith(f"{folder}/mlruns/")
        assert [file.path for file in store.list_artifacts(found.info.run_id)] == ["note.txt"]
    return sorted(int(found.data.tags["seed"].split()[1]) for found in runs)


def current_seed(folder):
    """That of the run which the results in the workspace name."""
    store = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run_id = json.loads((folder / "run.json").read_text())["run_id"]
    return store.get_run(run_id).data.tags["seed"]


def test_a_temporary_experiment_writes_to_the_store_of_the_project(toy):
    run(toy, "dvc", "exp", "run", "--temp", "-n", "t", "-S", "seed=2")
    assert seeds(toy) == [1, 2]
    assert current_seed(toy) == "seed: 1\n"
    run(toy, "dvc", "exp", "apply", "t")
    assert current_seed(toy) == "seed: 2\n"
    assert "up to date" in run(toy, "dvc", "repro")


def test_queued_experiments_that_run_at_once_do_so_too(toy):
    for seed in ("3", "4"):
        run(toy, "dvc", "exp", "run", "--queue", "-n", f"q{seed}", "-S", f"seed={seed}")
    run(toy, "dvc", "exp", "run", "--run-all", "-j", "2")
    assert seeds(toy) == [1, 3, 4]
    run(toy, "dvc", "exp", "apply", "q3")
    assert current_seed(toy) == "seed: 3\n"


def test_a_relative_setting_means_the_file_of_the_project_and_an_absolute_one_wins(toy, tmp_path):
    environ = ["env", "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"]
    run(toy, *environ, "dvc", "exp", "run", "--temp", "-S", "seed=5")
    assert seeds(toy) == [1, 5]
    environ = ["env", f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/own/mlflow.db"]
    run(toy, *environ, "dvc", "exp", "run", "--temp", "-S", "seed=6")
    assert seeds(toy) == [1, 5]
    assert seeds(tmp_path / "own") == [6]


def test_the_first_two_experiments_of_a_project_may_make_the_store_at_once(toy):
    (toy / "mlflow.db").unlink()
    shutil.rmtree(toy / "mlruns")
    for seed in ("7", "8"):
        run(toy, "dvc", "exp", "run", "--queue", "-n", f"q{seed}", "-S", f"seed={seed}")
    run(toy, "dvc", "exp", "run", "--run-all", "-j", "2")
    assert seeds(toy) == [7, 8]
