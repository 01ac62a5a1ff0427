import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma import files, tracking
from melanoma.data import packed
from melanoma.schema import CLASSES
from tests.data.packs import reseal
from tests.pipelines.workspace import run_stage

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow  # trains networks

STAGE = "diagnosis"
CLASSES_JSON = Path("reports/study/diagnosis/sample.json")


def test_both_targets_are_trained_with_each_seed_in_runs_of_their_own(at_workspace):
    results = files.read_json(CLASSES_JSON)
    assert [(row["trained_for"], row["seed"]) for row in results["runs"]] == [
        ("positive", 1), ("diagnosis", 1), ("positive", 2), ("diagnosis", 2),
    ]  # fmt: skip
    store = tracking.client()
    parents = set()
    for row in results["runs"]:
        run = store.get_run(row["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["protocol"] == "leak_free"
        assert run.data.tags["target"] == row["trained_for"]
        assert run.data.params["model.target"] == row["trained_for"]
        assert "test/auc_roc" in run.data.metrics
        assert ("test/macro_sensitivity" in run.data.metrics) == (row["trained_for"] == "diagnosis")
        parents.add(run.data.tags["mlflow.parentRunId"])
    assert len(parents) == 1


def test_the_results_follow_from_the_predictions(at_workspace):
    results = files.read_json(CLASSES_JSON)
    predictions = pd.read_parquet("data/study/diagnosis/sample.parquet")
    index = pd.read_parquet("data/packed/sample/index.parquet")
    test = index[index["split"] == "test"]
    assert results["is_synthetic"]
    assert results["diagnosis"]["num_images"] == len(test)
    rows = predictions[predictions["trained_for"] == "diagnosis"]
    names = [name for name in CLASSES if rows[name].notna().any()]
    assert names == ["melanoma", "nevus"]  # the sample has no others
    called = rows[names].to_numpy().argmax(1)
    right = np.array(names)[called] == rows["diagnosis_class"]
    by_seed = right.groupby(rows["seed"]).mean().tolist()
    assert results["diagnosis"]["accuracy"]["by_seed"] == pytest.approx(by_seed)
    np.testing.assert_allclose(rows["probability"], rows["melanoma"])
    assert results["num_images"]["nevus"]["test"] == int((test["diagnosis_class"] == "nevus").sum())


def test_tables_and_pictures_have_captions_and_are_small(at_workspace):
    folder = Path("reports/study/diagnosis/sample")
    captions = json.loads((folder / "captions.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*captions, "captions.json"}
    assert all(path.stat().st_size < 60_000 for path in folder.iterdir())


def test_each_stage_of_the_study_keeps_its_results_in_their_one_parent(at_workspace):
    store = tracking.client()
    (row, *_) = files.read_json(CLASSES_JSON)["runs"]
    parent = store.get_run(row["run_id"]).data.tags["mlflow.parentRunId"]
    assert [file.path for file in store.list_artifacts(parent, "diagnosis")] == ["diagnosis/sample.json"]


def test_what_a_kill_would_need_is_gone_at_the_end(at_workspace):
    assert not Path("data/checkpoints/diagnosis-sample").exists()


def test_a_cohort_that_was_packed_before_there_were_classes_is_refused(broken, capsys):
    index = Path("data/packed/sample") / packed.INDEX
    pd.read_parquet(index).drop(columns="diagnosis_class").to_parquet(index, index=False)
    reseal(index.parent)
    assert run_stage("diagnosis") == 1
    assert "packed without classes" in (message := capsys.readouterr().err)
    assert "dvc repro --force pack@sample" in message
