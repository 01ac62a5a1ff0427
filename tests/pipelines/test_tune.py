import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest

from melanoma import config, tracking
from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.tracking_fields import NOTE_TAG
from melanoma.training import studies
from melanoma.training.storages import open_storage
from tests.data.packs import reseal
from tests.imports import ROOT
from tests.pipelines.workspace import change_params, command, run_stage, space

JOURNAL = "data/studies/studies.journal"


def tuning() -> dict:
    return json.loads(Path("reports/sample/tuning.json").read_text())


def runs_of(parent_id: str) -> dict[int, list]:
    """The runs of each trial, by its number."""
    store = tracking.client()
    experiment = store.get_run(parent_id).info.experiment_id
    found: dict[int, list] = {}
    for run in store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent_id}'"):
        found.setdefault(int(run.data.tags["trial"]), []).append(run)
    return found


def num_runs(summary: dict) -> dict[int, int]:
    return {number: len(runs) for number, runs in sorted(runs_of(summary["run_id"]).items())}


def load_study() -> optuna.Study:
    return optuna.load_study(study_name=tuning()["study"], storage=open_storage(JOURNAL))


def test_trial_0_is_the_baseline(at_workspace):
    trials = tuning()["trials"]
    assert [trial["is_baseline"] for trial in trials] == [True, False, False]
    chosen = trials[0]["hyperparameters"]
    assert (chosen["depth"], chosen["learning_rate"], chosen["filters"]) == (2, 5.0e-4, 4)


def test_the_best_is_the_best_trial_with_all_its_hyperparameters(at_workspace):
    summary = tuning()
    best = max(summary["trials"], key=lambda trial: trial["value"] or 0)
    assert summary["best"] == {key: best[key] for key in ("trial", "value", "hyperparameters")}
    assert set(best["hyperparameters"]) == set(Hyperparameters.model_fields)
    assert summary["num_by_state"]["failed"] == 0
    assert summary["num_finished"] == 3


def test_the_run_and_the_page_say_what_was_searched_and_found(at_workspace):
    line = studies.summary_line(tuning())
    assert "over learning_rate, depth; best is trial" in line
    description = tracking.client().get_run(tuning()["run_id"]).data.tags[NOTE_TAG]
    assert description.endswith(f"\n\nResult: {line}.")
    assert line in Path("reports/sample/search.html").read_text()


def test_every_trial_has_one_run_with_hyperparameters_epochs_state_and_device(at_workspace):
    summary = tuning()
    runs = runs_of(summary["run_id"])
    assert sorted(runs) == [trial["trial"] for trial in summary["trials"]] == [0, 1, 2]
    for trial in summary["trials"]:
        (run,) = runs[trial["trial"]]
        assert run.info.run_id == trial["run_id"]
        assert run.info.status == "FINISHED"
        chosen = {key: value for key, value in trial["hyperparameters"].items() if value is not None}
        hyperparameters = {key: str(value) for key, value in chosen.items()}
        assert hyperparameters.items() <= run.data.params.items()
        assert run.data.tags["protocol"] == "leak_free"
        assert run.data.tags["state"] == trial["state"]
        assert run.data.tags["device_name"] == trial["device"]
        assert float(run.data.tags["duration_seconds"]) == trial["duration_seconds"] > 0
        assert float(run.data.tags["images_per_second"]) > 0
        assert float(run.data.tags["peak_memory_mib"]) > 0
        epochs = tracking.client().get_metric_history(run.info.run_id, "epoch/holdout_auc_roc")
        assert [entry.step for entry in epochs] == list(range(1, trial["num_epochs"] + 1))


def test_the_parent_names_problem_data_objective_study_and_best(at_workspace):
    summary = tuning()
    run = tracking.client().get_run(summary["run_id"]).data
    manifest = json.loads(Path("data/packed/sample/manifest.json").read_text())
    assert run.tags["data_digest"] == manifest["digest"]
    assert run.tags["is_synthetic"] == "true"
    assert run.tags["positive_means"] == summary["positive_means"] == "melanoma"
    assert "git_commit" in run.tags
    assert (run.tags["study"], run.tags["objective"]) == (summary["study"], "auc_roc")
    chosen = {key: value for key, value in summary["best"]["hyperparameters"].items() if value is not None}
    best = {f"best.{name}": str(value) for name, value in chosen.items()}
    assert best.items() <= run.tags.items()
    assert run.metrics["search/best_auc_roc"] == summary["best"]["value"]
    assert (run.metrics["search/num_completed"], run.metrics["search/num_failed"]) == (
        summary["num_by_state"]["complete"],
        0,
    )
    assert run.params["tune.space.depth.high"] == "3"
    assert run.params["baseline.filters"] == "4"


def test_the_search_is_drawn_on_a_page_that_its_run_holds_too(at_workspace):
    assert "<h1>Search " in Path("reports/sample/search.html").read_text(encoding="utf-8")
    names = {item.path for item in tracking.client().list_artifacts(tuning()["run_id"])}
    assert names == {"search.html", "tuning.json"}


def test_a_new_tracking_store_gets_a_run_for_every_trial(broken):
    before = tuning()  # its store was left behind
    assert run_stage("tune") == 0
    after = tuning()
    assert num_runs(after) == {0: 1, 1: 1, 2: 1}
    for old, new in zip(before["trials"], after["trials"], strict=True):
        run = tracking.client().get_run(new["run_id"])
        assert new["run_id"] != old["run_id"]
        assert run.data.tags["state"] == old["state"]
        assert run.data.metrics["epoch/holdout_auc_roc"] > 0


def test_a_later_trial_may_become_the_best_of_the_same_run(broken):
    assert run_stage("tune") == 0
    before, study = tuning(), load_study()
    better = study.trials[1].params | {"depth": 1}
    distributions = study.trials[1].distributions
    study.add_trial(optuna.create_trial(params=better, distributions=distributions, value=1.0))
    assert run_stage("tune") == 0
    after = tuning()
    assert after["run_id"] == before["run_id"]
    assert after["best"]["trial"] == 3
    assert after["best"]["hyperparameters"].items() >= better.items()
    assert tracking.client().get_run(after["run_id"]).data.tags["best.depth"] == "1"


@pytest.mark.slow
def test_two_workers_share_study_and_tracking_store(broken):
    change_params(broken / "params.yaml", tune={"seed": 5, "num_trials": 4, "num_workers": 2})
    assert run_stage("tune") == 0
    summary = tuning()
    assert summary["num_finished"] == len(summary["trials"]) == 4
    assert num_runs(summary) == {0: 1, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"baseline": {"depth": 1}},
        {"tune": {"space": space(max_depth=2)}},
        {"tune": {"objective": "average_precision"}},
        {"baseline": {"schedule": "cosine"}},
        {"train": {"num_folds": 2}},
        {"augment.strong": {"zoom_fraction": 0.1}},  # a trial may draw it
    ],
)
def test_another_problem_is_another_study(broken, changes, monkeypatch):
    before = tuning()["study"]
    change_params(broken / "params.yaml", **changes)
    monkeypatch.setattr("melanoma.training.search.run_trials", stop)
    assert run_stage("tune") == 1
    names = optuna.get_all_study_names(open_storage(JOURNAL))
    assert len(set(names) - {before}) == 1


def test_a_study_of_ones_own_name_is_refused_for_another_space_and_gone_on_with_for_the_same(
    broken, capsys, monkeypatch
):
    monkeypatch.setattr("melanoma.training.search.run_trials", stop)
    change_params(broken / "params.yaml", tune={"study": "mine"})
    for changes in ({}, {"tune": {"num_trials": 9}}, {"train": {"seed": 9, "num_epochs": 9, "num_seeds": 1}}):
        change_params(broken / "params.yaml", **changes)
        assert run_stage("tune") == 1
        assert "stopped by the test" in capsys.readouterr().err
    change_params(broken / "params.yaml", tune={"space": space(max_depth=4)})
    assert run_stage("tune") == 1
    message = capsys.readouterr().err
    assert "Study sample-mine was started with other settings or data" in message
    assert "tune.space.depth.high: 3 in the study, 4 now" in message
    assert "tune.num_trials" not in message
    assert "params.yaml: tune.study to another name" in message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_a_person_or_the_system_stops_says_how_to_go_on(number, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tune", *command("tune", "sample")])
    monkeypatch.setattr(config, "load", lambda path: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("pipelines.tune", run_name="__main__")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def stop(*_, **__):
    from melanoma.errors import TrainingError

    raise TrainingError("stopped by the test")


def test_a_database_that_is_down_is_named_without_its_password(broken, capsys):
    change_params(broken / "params.yaml", tune={"storage": "postgresql://me:secret@127.0.0.1:1/studies"})
    assert run_stage("tune") == 1
    message = capsys.readouterr().err
    assert "error: The Optuna storage postgresql://me:***@127.0.0.1:1/studies does not answer" in message
    assert "secret" not in message
    assert "Traceback" not in message


def test_a_packed_cohort_that_was_tampered_with_is_refused(broken, capsys):
    array = Path("data/packed/sample/images_48.npy")
    changed = array.read_bytes()
    array.write_bytes(changed[:-1] + bytes([changed[-1] ^ 1]))
    assert run_stage("tune") == 1
    assert "has changed since it was packed" in capsys.readouterr().err


def test_a_training_split_of_one_class_is_refused_before_any_trial(broken, capsys):
    folder = Path("data/packed/sample")
    index = pd.read_parquet(folder / packed.INDEX)
    index.loc[index["split"] == "train", "target"] = 0
    index.to_parquet(folder / packed.INDEX, index=False)
    reseal(folder)
    before = Path(JOURNAL).read_bytes()
    assert run_stage("tune") == 1
    assert "The training split has 0 positive and" in capsys.readouterr().err
    assert Path(JOURNAL).read_bytes() == before


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        ("EfficientNetV9", "keras.applications has no network 'EfficientNetV9'"),
        ("Xception", "Xception cannot take images of 48 pixels"),
        ("MobileNetV2", "stopped by the test"),
    ],
)
def test_a_network_that_keras_cannot_build_is_refused_before_any_trial(
    broken, capsys, monkeypatch, network, complaint
):
    monkeypatch.setattr("melanoma.training.search.run_trials", stop)
    families = {"choices": ["conv_blocks", "applications"]}
    names = {"choices": ["MobileNetV3Small", network]}
    change_params(broken / "params.yaml", tune={"space": space(max_depth=3, family=families, network=names)})
    before = Path(JOURNAL).read_bytes()
    assert run_stage("tune") == 1
    assert complaint in capsys.readouterr().err
    is_begun = Path(JOURNAL).read_bytes() != before
    assert is_begun == (network == "MobileNetV2")


def test_the_process_that_asks_loads_no_machine_learning_library():
    program = "import sys, pipelines.tune; print(*{'keras', 'tensorflow', 'jax', 'ray'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
