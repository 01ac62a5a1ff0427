"""A model of several classes through evaluation and the served code."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from melanoma import files
from melanoma.data.images import read_bytes
from melanoma.fingerprint import sha256_of_file
from melanoma.serving.network import Network
from tests.pipelines.workspace import change_params, copy, inside, run_stage


def test_two_answers_have_no_classes_and_the_report_says_so(at_workspace):
    folder = Path("reports/sample/diagnosis")
    assert [path.name for path in folder.iterdir()] == ["diagnosis.json"]
    content = files.read_json(folder / "diagnosis.json")
    assert content["target"] == "positive"
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
        assert content["classes"] == ["melanoma", "nevus"]
        assert (content["learnt_as_other"], content["num_without_class"]) == ({}, 0)
        names = {path.name for path in Path("reports/sample/diagnosis").iterdir()}
        kinds = ("roc.png", "confusion.png", "classes.csv")
        assert names == {
            "diagnosis.json",
            *(f"{model}_{kind}" for model in ("baseline", "tuned") for kind in kinds),
        }

        network = Network(Path("models/sample/baseline/model.onnx"))
        assert network.classes == ("melanoma", "nevus")
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
        # the score of positive is served as the one of any other model
        np.testing.assert_allclose(answer["probability"], predictions["probability"], atol=1e-6)
        assert answer["decision"].tolist() == predictions["decision"].tolist()
        for by_class, probability in zip(answer["diagnosis"], answer["probability"], strict=True):
            assert list(by_class) == ["melanoma", "nevus"]
            assert by_class["melanoma"] == pytest.approx(probability)
            assert sum(by_class.values()) == pytest.approx(1)
