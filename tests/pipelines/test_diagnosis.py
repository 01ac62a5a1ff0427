"""The stage `diagnosis`, and a model of several classes through evaluation and the served code."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from melanoma import files, tracking
from melanoma.data import packed
from melanoma.data.images import read_bytes
from melanoma.fingerprint import sha256_of_file
from melanoma.schema import CLASSES
from melanoma.serving.network import Network
from tests.pipelines.workspace import change_params, copy, inside, run_stage

CLASSES_JSON = Path("reports/study/diagnosis/sample.json")


@pytest.fixture(scope="module")
def studied(workspace, tmp_path_factory):
    """A copy of the workspace in which the stage has run; it is the current folder."""
    folder = copy(workspace, tmp_path_factory.mktemp("classes") / "copy")
    with inside(folder):
        change_params(folder / "params.yaml", evaluate={"min_slice_groups": 2})
        assert run_stage("diagnosis") == 0
        yield folder


def test_both_targets_are_trained_with_each_seed_in_runs_of_their_own(studied):
    results = files.read_json(CLASSES_JSON)
    assert [(row["trained_for"], row["seed"]) for row in results["runs"]] == [
        ("malignant", 1), ("diagnosis", 1), ("malignant", 2), ("diagnosis", 2),
    ]  # fmt: skip
    store = tracking.client()
    parents = set()
    for row in results["runs"]:
        run = store.get_run(row["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["protocol"] == "leak_free"
        assert run.data.tags["target"] == row["trained_for"]
        assert run.data.params["model.target"] == row["trained_for"]
        assert "test_auc_roc" in run.data.metrics
        assert ("test_macro_sensitivity" in run.data.metrics) == (row["trained_for"] == "diagnosis")
        parents.add(run.data.tags["mlflow.parentRunId"])
    assert len(parents) == 1


def test_the_results_follow_from_the_predictions(studied):
    results = files.read_json(CLASSES_JSON)
    predictions = pd.read_parquet("data/diagnosis/sample.parquet")
    index = pd.read_parquet("data/packed/sample/index.parquet")
    test = index[index["split"] == "test"]
    assert results["is_synthetic"]
    assert results["diagnosis"]["num_images"] == len(test)
    rows = predictions[predictions["trained_for"] == "diagnosis"]
    called = rows[list(CLASSES)].to_numpy().argmax(1)
    right = np.array(CLASSES)[called] == rows["diagnosis_class"]
    by_seed = right.groupby(rows["seed"]).mean().tolist()
    assert results["diagnosis"]["accuracy"]["by_seed"] == pytest.approx(by_seed)
    np.testing.assert_allclose(rows["probability"], rows["melanoma"])
    assert results["num_images"]["nevus"]["test"] == int((test["diagnosis_class"] == "nevus").sum())


def test_tables_and_pictures_have_captions_and_are_small(studied):
    folder = Path("reports/study/diagnosis/sample")
    captions = json.loads((folder / "captions.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*captions, "captions.json"}
    assert all(path.stat().st_size < 60_000 for path in folder.iterdir())


def test_each_stage_of_the_study_keeps_its_results_in_their_one_parent(studied):
    store = tracking.client()
    (row, *_) = files.read_json(CLASSES_JSON)["runs"]
    parent = store.get_run(row["run_id"]).data.tags["mlflow.parentRunId"]
    assert [file.path for file in store.list_artifacts(parent, "diagnosis")] == ["diagnosis/sample.json"]


def test_what_a_kill_would_need_is_gone_at_the_end(studied):
    assert not Path("data/checkpoints/diagnosis-sample").exists()


def test_a_cohort_that_was_packed_before_there_were_classes_is_refused(studied, capsys):
    index = Path("data/packed/sample") / packed.INDEX
    manifest = Path("data/packed/sample") / packed.MANIFEST
    kept = index.read_bytes(), manifest.read_text()
    pd.read_parquet(index).drop(columns="diagnosis_class").to_parquet(index, index=False)
    content = files.read_json(manifest) | {"digest": packed._digest(index.parent)}
    files.write_json(content, manifest)
    try:
        assert run_stage("diagnosis") == 1
    finally:
        index.write_bytes(kept[0])
        manifest.write_text(kept[1])
    assert "packed without classes" in (message := capsys.readouterr().err)
    assert "dvc repro --force pack@sample" in message


def test_two_answers_have_no_classes_and_the_report_says_so(at_workspace):
    folder = Path("reports/sample/diagnosis")
    assert [path.name for path in folder.iterdir()] == ["diagnosis.json"]
    content = files.read_json(folder / "diagnosis.json")
    assert content["target"] == "malignant"
    assert "model.target: diagnosis" in content["note"]


@pytest.mark.slow
def test_a_model_of_several_classes_is_trained_evaluated_and_served_like_any_other(workspace, tmp_path):
    folder = copy(workspace, tmp_path / "copy")
    with inside(folder):
        change_params(
            folder / "params.yaml",
            model={"target": "diagnosis"},
            train={"num_seeds": 1, "num_epochs": 2},
            evaluate={"min_slice_groups": 2},
        )
        assert run_stage("train") == 0
        assert run_stage("evaluate") == 0
        assert run_stage("audit") == 0
        assert run_stage("promote") == 0

        content = files.read_json(Path("reports/sample/diagnosis/diagnosis.json"))
        assert content["target"] == "diagnosis"
        assert content["baseline"]["macro"]["classes"] == ["melanoma", "nevus"]  # the sample has no others
        names = {path.name for path in Path("reports/sample/diagnosis").iterdir()}
        kinds = ("roc.png", "confusion.png", "classes.csv")
        assert names == {
            "diagnosis.json",
            *(f"{model}_{kind}" for model in ("baseline", "tuned") for kind in kinds),
        }

        network = Network(Path("models/sample/baseline/model.onnx"))
        assert network.tells_classes
        models = files.read_json(Path("reports/sample/models.json"))
        assert models["baseline"]["network_sha256"] == sha256_of_file(
            Path("models/sample/baseline/model.onnx")
        )
        served = mlflow.pyfunc.load_model(models["baseline"]["model_uri"])
        predictions = pd.read_csv("reports/sample/predictions.csv")
        predictions = predictions[predictions["model"] == "baseline"].head(5)
        paths = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
        encoded = [read_bytes(Path(paths[name])) for name in predictions["image_id"]]
        answer = served.predict(pd.DataFrame({"image": encoded}))
        # the melanoma score is served as the one of any other model
        np.testing.assert_allclose(answer["probability"], predictions["probability"], atol=1e-6)
        assert answer["decision"].tolist() == predictions["decision"].tolist()
        for by_class, probability in zip(answer["diagnosis"], answer["probability"], strict=True):
            assert list(by_class) == list(CLASSES)
            assert by_class["melanoma"] == probability
            assert sum(by_class.values()) == pytest.approx(1)
