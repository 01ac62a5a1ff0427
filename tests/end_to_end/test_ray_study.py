"""Stages on a Ray cluster of two nodes, with studies and runs in PostgreSQL; a node dies in mid-search."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from melanoma import fingerprint
from melanoma.data import packed
from melanoma.training.storages import open_storage
from tests.end_to_end.clone import report
from tests.imports import ROOT
from tests.pipelines import workspace as ws

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

NUM_TRIALS = 4
NUM_EPOCHS = 20  # of tiny pictures: seconds, in which a node can die


@pytest.fixture(scope="module")
def folder(workspace, tmp_path_factory):
    """A copy of the workspace, whose stages have run in processes; the current folder."""
    folder = ws.copy(workspace, tmp_path_factory.mktemp("cluster") / "copy")
    with ws.inside(folder):
        yield folder


@pytest.fixture(scope="module")
def on_ray(folder, postgres, cluster):
    """The parameters of the folder say that work runs on the cluster."""
    ws.change_params(
        folder / "params.yaml",
        execution={"backend": "ray", "num_workers": 0, "ray_address": cluster.address},
        train={"patience": NUM_EPOCHS},
        tune={
            "storage": postgres["studies"],
            "num_trials": NUM_TRIALS,
            "num_epochs": NUM_EPOCHS,
            "pruner": "none",
        },
    )


@contextmanager
def stored_study(url: str):
    """The only study there, to look at; without an open connection afterwards."""
    storage = open_storage(url)
    try:
        (name,) = optuna.get_all_study_names(storage)
        yield optuna.load_study(study_name=name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def num_trials_in_training(url: str) -> int:
    try:
        with stored_study(url) as study:
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            return sum(bool(trial.intermediate_values) for trial in running)
    except ValueError:  # no study is there yet
        return 0


def test_inspect_and_pack_give_the_same_files_as_processes_do(folder, on_ray):
    facts, cohort = folder / "data/facts/sample.parquet", folder / "data/packed/sample"
    digests = fingerprint.sha256_of_file(facts), packed.open_packed(cohort).digest
    facts.unlink()
    assert ws.run_stage("inspect") == 0
    assert ws.run_stage("pack") == 0
    assert (fingerprint.sha256_of_file(facts), packed.open_packed(cohort).digest) == digests


def test_a_study_survives_the_death_of_a_node(folder, on_ray, postgres, cluster):
    os.environ["MLFLOW_TRACKING_URI"] = postgres["runs"]
    search = subprocess.Popen(
        [sys.executable, "-m", "pipelines.tune", *ws.command("tune", "sample")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    while num_trials_in_training(postgres["studies"]) < 2:
        assert search.poll() is None
        time.sleep(0.2)
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    assert search.wait(timeout=600) == 0

    tuning = report(folder, "sample/tuning")
    assert tuning["num_finished"] == NUM_TRIALS
    (lost,) = (trial for trial in tuning["trials"] if trial["state"] == "failed")
    assert "Ray lost a task (NodeDiedError)" in lost["error"]
    (again,) = (trial for trial in tuning["trials"] if trial["repeats"] == lost["trial"])
    assert again["state"] == "complete"
    assert again["hyperparameters"] == lost["hyperparameters"]
    with stored_study(postgres["studies"]) as study:
        numbers = [trial.number for trial in study.trials]
    assert numbers == list(range(NUM_TRIALS + 1))
    assert runs_of_trials(postgres["runs"], tuning["run_id"]) == {
        trial["trial"]: (trial["run_id"], "FAILED" if trial is lost else "FINISHED")
        for trial in tuning["trials"]
    }


def runs_of_trials(tracking_uri: str, parent_id: str) -> dict[int, tuple[str, str]]:
    """Id and status of the run of each trial, none of which has two."""
    client = MlflowClient(tracking_uri)
    experiment = client.get_run(parent_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent_id}'")
    numbers = [int(run.data.tags["trial"]) for run in runs]
    assert len(set(numbers)) == len(numbers)
    return {number: (run.info.run_id, run.info.status) for number, run in zip(numbers, runs, strict=True)}
