"""What MLflow's pages show of the runs of a whole pipeline."""

import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking

LEARNED = {"training", "holdout"}  # both of the training split


@pytest.fixture
def runs(at_workspace):
    store = tracking.client()
    found = store.search_runs([experiment.experiment_id for experiment in store.search_experiments()])
    assert len(found) > 10
    return found


def test_every_run_says_what_it_is_by_which_command_and_user(runs):
    for run in runs:
        for field in ("mlflow.note.content", "mlflow.source.name", "mlflow.source.type", "mlflow.user"):
            assert run.data.tags.get(field), (run.info.run_name, field)


def test_every_metric_lies_in_a_section_and_no_end_of_an_interval_is_a_metric(runs):
    names = {name for run in runs for name in run.data.metrics}
    assert {name for name in names if "/" not in name or name.endswith(("_low", "_high"))} == set()
    assert max(len(run.data.metrics) for run in runs) < 100


def test_networks_and_trials_name_the_images_that_they_use(runs):
    split = pd.read_csv("data/splits/sample.csv")["split"].value_counts()
    kept = json.loads(Path("models/sample/runs.json").read_text())
    manifest = json.loads(Path("data/packed/sample/manifest.json").read_text())
    pixels = {sha256[:16] for sha256 in manifest["sha256_of_size"].values()}
    for run in runs:
        if run.data.tags.get("stage") not in {"train", "tune"}:
            continue
        found = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
        contexts = LEARNED | ({"validation", "test"} if run.info.run_id in kept.values() else set())
        assert set(found) == contexts, run.info.run_name
        sizes = {context: json.loads(dataset.profile)["num_rows"] for context, dataset in found.items()}
        assert sizes["training"] + sizes["holdout"] == split["train"]
        assert all(sizes[context] == split[context] for context in contexts - LEARNED)
        for dataset in found.values():
            assert dataset.name == "melanoma-sample"
            assert dataset.digest.split("-")[0] in pixels


def test_the_search_says_what_it_varied(runs):
    (run,) = [run for run in runs if run.data.tags.get("stage") == "tune" and "study" in run.data.tags]
    assert "Varied: " in run.data.tags["mlflow.note.content"]
    assert "depth (1 to 3)" in run.data.tags["mlflow.note.content"]
    assert "SYNTHETIC" in run.data.tags["mlflow.note.content"]


def test_the_ledger_and_the_registered_model_say_what_they_are(runs):
    names = {run.info.run_name for run in runs}
    assert {"look evaluate baseline", "look evaluate tuned"} <= names
    about = tracking.client().get_registered_model("melanoma-sample").description
    for words in ("cohort sample", "SYNTHETIC", "make serve COHORT=sample", "not a medical device"):
        assert words.lower() in about.lower()
