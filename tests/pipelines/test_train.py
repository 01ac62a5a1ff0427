import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking
from melanoma.training import fit
from tests.pipelines.workspace import change_params, run_stage

MODELS = ("baseline", "tuned")
PARENT = "tags.`mlflow.parentRunId`"


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def runs_of_stage() -> list:
    """All runs of the stage, the oldest first."""
    store = tracking.client()
    experiment = store.get_experiment_by_name("melanoma-sample")
    return store.search_runs(
        [experiment.experiment_id], "tags.stage = 'train'", order_by=["attributes.start_time"]
    )


def test_both_models_are_kept_with_their_histories(workspace):
    for name in MODELS:
        folder = workspace / "models/sample" / name
        assert {file.name for file in folder.iterdir()} == {
            "model.keras",
            "model.onnx",
            "history.csv",
            "held_out.csv",
        }
        assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2, 3]


def training_groups() -> dict[str, list[str]]:
    splits = pd.read_csv("data/splits/sample.csv")
    rows = splits[splits["split"] == "train"]
    return {str(group_id): sorted(ids) for group_id, ids in rows.groupby("group_id")["image_id"]}


def test_the_runs_hold_parameters_epochs_device_lineage_groups_and_the_curves(at_workspace, tmp_path):
    runs, tuning = read("models/sample/runs.json"), read("reports/sample/tuning.json")
    store = tracking.client()
    for name in MODELS:
        run = store.get_run(runs[name])
        assert run.info.status == "FINISHED"
        assert run.data.tags["model"] == name
        assert run.data.tags["seed"] == run.data.params["train.seed"] == "1"
        assert run.data.tags["tuning_run_id"] == tuning["run_id"]
        assert {"backend", "device_kind", "device_name"} <= set(run.data.tags)
        assert run.data.tags["protocol"] == "leak_free"
        assert "history.csv" in {file.path for file in store.list_artifacts(runs[name])}
        assert run.data.metrics["machine/peak_memory_mib"] > 0
        history = pd.read_csv(f"models/sample/{name}/history.csv")
        assert run.data.metrics["epoch/num_epochs"] == len(history)
        for score, metric in (
            ("val_loss", "holdout_loss"),
            ("loss", "train_loss"),
            ("learning_rate", "learning_rate"),
        ):
            logged = store.get_metric_history(runs[name], f"epoch/{metric}")
            assert [entry.step for entry in logged] == [1, 2, 3]
            assert [entry.value for entry in logged] == history[score].tolist()
        files = {file.path for file in store.list_artifacts(runs[name], "figures")}
        assert {"figures/history.png", "figures/seeds.png"} <= files
        trained_on = tracking.download_run_file(runs[name], "data/training_groups.json", tmp_path)
        groups = json.loads(trained_on.read_text())
        assert groups == training_groups()
        assert run.data.metrics["data/num_training_groups"] == len(groups)
    found = tuning["best"]["hyperparameters"]
    for name, depth in (("baseline", 2), ("tuned", found["depth"])):
        assert store.get_run(runs[name]).data.params["depth"] == str(depth)


def test_every_further_seed_has_a_run_below_that_of_its_model(at_workspace):
    runs, seeds = read("models/sample/runs.json"), read("reports/sample/seeds.json")
    store = tracking.client()
    for name in MODELS:
        parent = store.get_run(runs[name])
        (child,) = store.search_runs([parent.info.experiment_id], f"{PARENT} = '{runs[name]}'")
        assert child.info.status == "FINISHED"
        assert (child.data.tags["model"], child.data.params["train.seed"]) == (name, "2")
        by_seed = seeds[name]["val_auc_roc"]["by_seed"]
        logged = [str(run.data.metrics["selection/auc_roc"]) for run in (parent, child)]
        assert logged == [str(by_seed["1"]), str(by_seed["2"])]
        assert parent.data.metrics["seeds/auc_roc_mean"] == seeds[name]["val_auc_roc"]["mean"]
    assert len(runs_of_stage()) == 4


def test_the_comparison_is_of_the_epochs_that_are_kept(at_workspace):
    seeds = read("reports/sample/seeds.json")
    assert (seeds["seeds"], seeds["kept_seed"], seeds["is_synthetic"]) == ([1, 2], 1, True)
    assert seeds["positive_means"] == "melanoma"
    for name in MODELS:
        history = pd.read_csv(f"models/sample/{name}/history.csv")
        best = history.iloc[int(history["val_loss"].argmin())]
        for score in ("val_loss", "val_auc_roc"):
            assert seeds[name][score]["by_seed"]["1"] == pytest.approx(best[score], abs=1e-12)
    assert not any("test" in key for key in pd.json_normalize(seeds).columns)


def test_the_curves_are_pictures_for_dvc_too(workspace):
    pictures = sorted((workspace / "reports/sample/training").iterdir())
    assert [picture.name for picture in pictures] == ["baseline.png", "seeds.png", "tuned.png"]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_no_checkpoint_is_left_when_all_is_written(workspace):
    assert list((workspace / "data/checkpoints").iterdir()) == []


@pytest.fixture
def epochs(broken, monkeypatch):
    """Numbers of the epochs that are trained, in order; the list is interrupted after its third one.

    Networks are tiny here and have two epochs, so that is in the middle of the second network.
    """
    change_params(
        broken / "params.yaml",
        baseline={"depth": 1, "filters": 2, "dense_units": 2},
        train={"num_epochs": 2, "num_seeds": 2},
    )
    best = read("reports/sample/tuning.json")
    best["best"]["hyperparameters"] |= {"depth": 1, "filters": 2, "dense_units": 3}
    Path("reports/sample/tuning.json").write_text(json.dumps(best))
    seen: list[int] = []
    original = fit.train

    def train(*args, callbacks, **options):
        import keras

        def note(epoch, logs):
            seen.append(epoch + 1)
            if len(seen) == 3:
                raise KeyboardInterrupt

        noting = keras.callbacks.LambdaCallback(on_epoch_end=note)
        return original(*args, callbacks=[noting, *callbacks], **options)

    monkeypatch.setattr(fit, "train", train)
    return seen


@pytest.mark.slow
def test_an_interrupted_stage_goes_on_in_the_same_runs_and_trains_nothing_twice(epochs):
    assert run_stage("train") == 130
    before = [run.info.run_id for run in runs_of_stage()]
    assert run_stage("train") == 0
    assert epochs == [1, 2, 1, 2, 1, 2, 1, 2]  # four networks of two epochs, each once
    runs = runs_of_stage()
    assert [run.info.run_id for run in runs[:2]] == before
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert [(run.data.tags["model"], run.data.tags["seed"]) for run in runs] == [
        (model, seed) for model in MODELS for seed in ("1", "2")
    ]
    for run in runs:  # the epoch whose scores the interruption kept from the run is there, and once
        logged = tracking.client().get_metric_history(run.info.run_id, "epoch/holdout_loss")
        assert sorted(entry.step for entry in logged) == [1, 2]
    assert runs[1].data.tags["mlflow.parentRunId"] == runs[0].info.run_id


@pytest.mark.slow
def test_other_parameters_begin_anew_in_other_runs(epochs, broken, caplog):
    assert run_stage("train") == 130
    before = {run.info.run_id for run in runs_of_stage()}
    change_params(broken / "params.yaml", train={"num_seeds": 1, "momentum": 0.8})
    assert run_stage("train") == 0
    after = {run.info.run_id: run.info.status for run in runs_of_stage()}
    assert len(before) == 2
    assert len(after) == 4
    assert "RUNNING" not in after.values()
    assert "Training starts from the beginning" in caplog.text
    assert epochs == [1, 2, 1, 1, 2, 1, 2]


def test_a_study_that_found_the_baseline_is_called_so_and_trains_nothing_twice(epochs, broken, capsys):
    epochs.extend([0] * 3)  # nothing is interrupted
    change_params(broken / "params.yaml", train={"num_seeds": 1})
    tuning = read("reports/sample/tuning.json")
    tuning["best"]["hyperparameters"] |= {"dense_units": 2}
    committed = tuning["best"]["hyperparameters"]
    change_params(broken / "params.yaml", baseline=committed)
    Path("reports/sample/tuning.json").write_text(json.dumps(tuning))
    assert run_stage("train") == 0
    assert read("reports/sample/seeds.json")["same_hyperparameters"] is True
    out = capsys.readouterr().out
    assert out.count("[train@sample]") == 3  # one line per network, then the comparison
    assert "both have the same hyperparameters" in out
    assert epochs[3:] == [1, 2]
    histories = [Path(f"models/sample/{name}/history.csv").read_text() for name in MODELS]
    assert histories[0] == histories[1]
    same = {run.data.tags["model"]: run.data.tags.get("same_network_as") for run in runs_of_stage()}
    assert same == {"baseline": None, "tuned": "baseline-seed1"}


def test_missing_tuning_is_refused(broken, capsys):
    Path("reports/sample/tuning.json").unlink()
    assert run_stage("train") == 1
    assert "reports/sample/tuning.json does not exist" in capsys.readouterr().err
