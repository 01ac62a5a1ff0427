import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, roc_auc_score

from melanoma import schema, tracking
from melanoma.serving.network import Network
from tests.pipelines.workspace import change_params, run_stage


def read(name: str) -> dict:
    return json.loads(Path(f"reports/sample/{name}.json").read_text())


def test_the_metrics_follow_from_the_predictions(at_workspace):
    predictions = pd.read_csv("reports/sample/predictions.csv")
    assert tuple(predictions.columns) == schema.PREDICTION_COLUMNS
    metrics = read("metrics")
    for model in ("baseline", "tuned"):
        rows = predictions[(predictions["model"] == model) & (predictions["split"] == "test")]
        called = rows["decision"] == "malignant"
        entry = metrics[model]["test"]
        np.testing.assert_allclose(
            entry["auc_roc"]["value"], roc_auc_score(rows["target"], rows["probability"])
        )
        np.testing.assert_allclose(entry["accuracy"]["value"], accuracy_score(rows["target"], called))
        assert entry["auc_roc"]["low"] <= entry["auc_roc"]["value"] <= entry["auc_roc"]["high"]
        assert (called == (rows["probability"] >= metrics[model]["threshold"])).all()


def test_each_model_has_its_roc_curve(at_workspace):
    for model in ("baseline", "tuned"):
        curve = pd.read_csv(f"reports/sample/roc/{model}.csv")
        area = np.trapezoid(curve["sensitivity"], curve["false_positive_fraction"])
        np.testing.assert_allclose(area, read("metrics")[model]["test"]["auc_roc"]["value"])


def test_the_operating_point_reaches_its_sensitivity_on_validation(at_workspace):
    for model in ("baseline", "tuned"):
        assert read("metrics")[model]["validation"]["sensitivity"]["value"] >= 0.95


def test_metrics_figures_and_model_are_in_the_run(at_workspace):
    store = tracking.client()
    models = read("models")
    for name in ("baseline", "tuned"):
        run = store.get_run(models[name]["run_id"])
        expected = read("metrics")[name]["test"]["auc_roc"]["value"]
        assert run.data.metrics["test_auc_roc"] == expected
        figures = {file.path for file in store.list_artifacts(run.info.run_id, "figures")}
        assert {"figures/roc.png", "figures/confusion.png"} <= figures
        assert models[name]["model_uri"].startswith("models:/")


def test_another_operating_point_or_another_choice_needs_no_training(broken):
    # The store is a new one, so the runs are made anew; the networks stay.
    before = Path("models/sample/tuned/model.onnx").read_bytes()
    assert run_stage("train") == 0
    change_params(broken / "params.yaml", evaluate={"min_sensitivity": 0.5})
    assert run_stage("evaluate") == 0
    assert Network(Path("models/sample/tuned/model.onnx")).image_size == 48
    assert len(before) > 0
    assert read("metrics")["tuned"]["validation"]["sensitivity"]["value"] >= 0.5
    for mean, selected in ((1.1, "tuned"), (-0.1, "baseline")):  # over seeds, which alone decides
        comparison = read("seeds") | {"same_hyperparameters": False}
        comparison["tuned"]["val_auc_roc"]["mean"] = mean
        Path("reports/sample/seeds.json").write_text(json.dumps(comparison))
        assert run_stage("evaluate") == 0
        assert read("metrics")["selected"] == read("models")["selected"] == selected


def test_a_run_of_another_store_is_refused_with_how_to_mend_it(broken, capsys):
    assert run_stage("evaluate") == 1
    message = capsys.readouterr().err
    assert "is not in the tracking store" in message
    assert "MLFLOW_TRACKING_URI" in message
