import json
from pathlib import Path

import pandas as pd

from melanoma import tracking
from tests.pipelines.workspace import run_stage


def test_both_models_are_kept_with_their_histories(workspace):
    for name in ("baseline", "tuned"):
        folder = workspace / "models/sample" / name
        assert {file.name for file in folder.iterdir()} == {"model.keras", "model.onnx", "history.csv"}
        assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2, 3]


def training_groups() -> dict[str, list[str]]:
    splits = pd.read_csv("data/splits/sample.csv")
    rows = splits[splits["split"] == "train"]
    return {str(group_id): sorted(ids) for group_id, ids in rows.groupby("group_id")["image_id"]}


def test_the_runs_hold_parameters_epochs_lineage_groups_and_the_curves(at_workspace, tmp_path):
    runs = json.loads(Path("models/sample/runs.json").read_text())
    store = tracking.client()
    tuning = json.loads(Path("reports/sample/tuning.json").read_text())
    for name in ("baseline", "tuned"):
        run = store.get_run(runs[name])
        assert run.info.status == "FINISHED"
        assert run.data.tags["model"] == name
        assert run.data.tags["tuning_run_id"] == tuning["run_id"]
        assert run.data.params["train.batch_size"] == "32"
        history = pd.read_csv(f"models/sample/{name}/history.csv")
        logged = store.get_metric_history(runs[name], "val_loss")
        assert [entry.value for entry in logged] == history["val_loss"].tolist()
        files = {file.path for file in store.list_artifacts(runs[name], "figures")}
        assert "figures/history.png" in files
        trained_on = tracking.download_run_file(runs[name], "data/training_groups.json", tmp_path)
        groups = json.loads(trained_on.read_text())
        assert groups == training_groups()
        assert run.data.metrics["num_training_groups"] == len(groups)
    assert store.get_run(runs["baseline"]).data.params["depth"] == "2"
    assert store.get_run(runs["tuned"]).data.params["depth"] == str(tuning["best"]["depth"])


def test_the_curves_are_pictures_for_dvc_too(workspace):
    pictures = sorted((workspace / "reports/sample/training").iterdir())
    assert [picture.name for picture in pictures] == ["baseline.png", "tuned.png"]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_missing_tuning_is_refused(broken, capsys):
    Path("reports/sample/tuning.json").unlink()
    assert run_stage("train") == 1
    assert "reports/sample/tuning.json does not exist" in capsys.readouterr().err
