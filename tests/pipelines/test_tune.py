import json
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from melanoma import tracking
from tests.pipelines.workspace import change_params, run_stage


def children(run_id: str) -> list:
    store = tracking.client()
    experiment = store.get_run(run_id).info.experiment_id
    return store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")


def test_trial_0_is_the_baseline(workspace):
    trials = json.loads((workspace / "reports/sample/tuning.json").read_text())["trials"]
    assert trials[0]["is_baseline"]
    assert (trials[0]["depth"], trials[0]["learning_rate"]) == (2, 5.0e-4)
    assert not any(trial["is_baseline"] for trial in trials[1:])


def test_every_trial_has_one_child_run_with_parameters_and_epochs(at_workspace):
    tuning = json.loads(Path("reports/sample/tuning.json").read_text())
    runs = {int(run.data.tags["trial"]): run for run in children(tuning["run_id"])}
    assert sorted(runs) == [trial["trial"] for trial in tuning["trials"]] == [0, 1, 2]
    for trial in tuning["trials"]:
        run = runs[trial["trial"]]
        assert int(run.data.params["depth"]) == trial["depth"]
        assert float(run.data.params["learning_rate"]) == trial["learning_rate"]
        assert run.data.tags["trial_state"] == trial["state"]
        epochs = tracking.client().get_metric_history(run.info.run_id, "val_auc_roc")
        assert [entry.step for entry in epochs] == list(range(1, trial["num_epochs"] + 1))


def test_the_parent_says_what_data_and_code_it_used(at_workspace):
    tuning = json.loads(Path("reports/sample/tuning.json").read_text())
    tags = tracking.client().get_run(tuning["run_id"]).data.tags
    manifest = json.loads(Path("data/packed/sample/manifest.json").read_text())
    assert tags["data_digest"] == manifest["digest"]
    assert tags["is_synthetic"] == "true"
    assert "git_commit" in tags


def test_the_best_parameters_are_those_of_the_best_trial(workspace):
    tuning = json.loads((workspace / "reports/sample/tuning.json").read_text())
    values = {trial["trial"]: trial["val_auc_roc"] for trial in tuning["trials"]}
    finished = {number: value for number, value in values.items() if value is not None}
    assert tuning["best"]["val_auc_roc"] == max(finished.values())


def test_more_trials_go_on_with_the_study_and_its_run(broken):
    before = json.loads(Path("reports/sample/tuning.json").read_text())
    change_params(broken / "params.yaml", tune={"num_trials": 4})
    assert run_stage("tune") == 0
    after = json.loads(Path("reports/sample/tuning.json").read_text())
    assert after["study"] == before["study"]
    assert [trial["trial"] for trial in after["trials"]] == [0, 1, 2, 3]
    assert after["trials"][:3] == before["trials"]


def test_a_later_trial_may_become_the_best_of_the_same_run(broken):
    change_params(broken / "params.yaml", tune={"seed": 4, "num_trials": 1})
    assert run_stage("tune") == 0
    first = json.loads(Path("reports/sample/tuning.json").read_text())
    assert first["best"]["trial"] == 0
    storage = JournalStorage(JournalFileBackend("data/studies/studies.journal"))
    study = optuna.load_study(study_name=first["study"], storage=storage)
    better = {"learning_rate": 1.0e-3, "depth": 1}
    distributions = study.trials[0].distributions
    study.add_trial(optuna.create_trial(params=better, distributions=distributions, value=1.0))
    change_params(broken / "params.yaml", tune={"num_trials": 2})
    assert run_stage("tune") == 0
    tuning = json.loads(Path("reports/sample/tuning.json").read_text())
    assert tuning["best"] == {"trial": 1, "val_auc_roc": 1.0, **better}
    assert tuning["run_id"] == first["run_id"]
    assert tracking.client().get_run(tuning["run_id"]).data.tags["best.depth"] == "1"


def test_another_baseline_is_another_study_with_itself_as_trial_0(broken):
    before = json.loads(Path("reports/sample/tuning.json").read_text())
    change_params(broken / "params.yaml", baseline={"depth": 1}, tune={"num_trials": 1})
    assert run_stage("tune") == 0
    after = json.loads(Path("reports/sample/tuning.json").read_text())
    assert after["study"] != before["study"]
    assert after["trials"][0]["depth"] == 1


def test_another_space_is_another_study(broken):
    before = json.loads(Path("reports/sample/tuning.json").read_text())
    change_params(broken / "params.yaml", tune={"max_depth": 2, "num_trials": 1})
    assert run_stage("tune") == 0
    assert json.loads(Path("reports/sample/tuning.json").read_text())["study"] != before["study"]


def test_a_packed_cohort_that_was_tampered_with_is_refused(broken, capsys):
    array = Path("data/packed/sample/images.npy")
    array.write_bytes(array.read_bytes()[:-1] + b"\x00")
    changed = array.read_bytes()
    array.write_bytes(changed[:-1] + bytes([changed[-1] ^ 1]))
    assert run_stage("tune") == 1
    assert "is not what was packed" in capsys.readouterr().err
