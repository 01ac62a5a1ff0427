"""A project has one tracking store, also for experiments that DVC runs in copies and deletes afterwards."""

import json
import shutil
import subprocess
from collections import Counter

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


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A project of one stage, which has run once; each test adds experiments with seeds of its own."""
    folder = tmp_path_factory.mktemp("toy")
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
    return Counter(int(found.data.tags["seed"].split()[1]) for found in runs)


def current_seed(folder):
    """That of the run which the results in the workspace name."""
    store = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run_id = json.loads((folder / "run.json").read_text())["run_id"]
    return store.get_run(run_id).data.tags["seed"]


def test_a_temporary_experiment_writes_to_the_store_of_the_project(toy):
    before, current = seeds(toy), current_seed(toy)
    run(toy, "dvc", "exp", "run", "--temp", "-n", "t", "-S", "seed=2")
    assert seeds(toy) - before == {2: 1}
    assert current_seed(toy) == current
    run(toy, "dvc", "exp", "apply", "t")
    assert current_seed(toy) == "seed: 2\n"
    assert "up to date" in run(toy, "dvc", "repro")


def test_a_relative_setting_means_the_file_of_the_project_and_an_absolute_one_wins(toy, tmp_path):
    before = seeds(toy)
    environ = ["env", "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"]
    run(toy, *environ, "dvc", "exp", "run", "--temp", "-S", "seed=5")
    assert seeds(toy) - before == {5: 1}
    environ = ["env", f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/own/mlflow.db"]
    run(toy, *environ, "dvc", "exp", "run", "--temp", "-S", "seed=6")
    assert seeds(toy) - before == {5: 1}
    assert seeds(tmp_path / "own") == {6: 1}


def test_queued_experiments_that_run_at_once_may_be_the_first_to_make_the_store(toy, tmp_path):
    no_store = shutil.ignore_patterns("mlflow.db*", "mlruns", "tmp")
    folder = shutil.copytree(toy, tmp_path / "copy", ignore=no_store)
    for seed in ("7", "8"):
        run(folder, "dvc", "exp", "run", "--queue", "-n", f"q{seed}", "-S", f"seed={seed}")
    run(folder, "dvc", "exp", "run", "--run-all", "-j", "2")
    assert seeds(folder) == {7: 1, 8: 1}
    run(folder, "dvc", "exp", "apply", "q7")
    assert current_seed(folder) == "seed: 7\n"
