import io
import pickle
import sys
from functools import partial
from pathlib import Path

import optuna
import pandas as pd
import pytest

from melanoma import config, tracking
from melanoma.data import packed
from melanoma.errors import DataError, TrainingError
from melanoma.stages import trial_worker
from melanoma.training.search import Asked
from melanoma.training.storages import open_storage

STORAGE = "data/studies/toy.journal"


@pytest.fixture
def job(broken):
    params = config.load(Path("params.yaml"))
    params = params.model_copy(update={"tune": params.tune.model_copy(update={"storage": STORAGE})})
    data = packed.open_packed(Path("data/packed/sample"))
    return {
        "params": params,
        "folder": Path("data/packed/sample"),
        "digest": data.digest,
        "tracking_uri": tracking.client().tracking_uri,
    }


@pytest.fixture
def asked(job):
    study = optuna.create_study(study_name="toy", storage=open_storage(STORAGE), direction="maximize")
    asked_trial = study.ask()
    with tracking.open_run(experiment="e", name="trial", tags={}) as run:
        return Asked("toy", asked_trial._trial_id, 0, job["params"].baseline, True, run.run_id)


def test_the_work_of_a_worker_travels_to_another_process(job, asked):
    copied = pickle.loads(pickle.dumps((partial(trial_worker.train_trial, **job), asked)))
    assert copied[0].keywords == job
    assert copied[1] == asked


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_worker_reports_each_epoch_to_the_study_and_to_the_trials_run_and_shows_no_bar(
    job, asked, monkeypatch
):
    monkeypatch.setattr("sys.stderr", Terminal())
    outcome = trial_worker.train_trial(asked, **job)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
    assert outcome.state == "complete"
    (kept,) = optuna.load_study(study_name="toy", storage=open_storage(STORAGE)).trials
    logged = tracking.client().get_metric_history(asked.run_id, "epoch/holdout_auc_roc")
    assert {entry.step: entry.value for entry in logged} == kept.intermediate_values
    assert sorted(kept.intermediate_values) == [1, 2]
    assert outcome.value in kept.intermediate_values.values()
    kept = tracking.download_run_file(asked.run_id, "history.csv", Path("of_the_run"))
    assert pd.read_csv(kept)["epoch"].tolist() == [1, 2]
    metrics = tracking.read_run(asked.run_id).data.metrics
    assert metrics["selection/auc_roc"] == outcome.value
    assert metrics["selection/epoch"] == outcome.facts["best_epoch"]
    by_epoch = {name for name in metrics if name.startswith("epoch/holdout_")}
    assert {name for name in metrics if name.startswith("selection/")} == {
        "selection/epoch",
        *(name.replace("epoch/holdout_", "selection/") for name in by_epoch),
    }


def test_a_cohort_that_was_packed_anew_meanwhile_is_refused(job, asked):
    with pytest.raises(DataError, match="was packed again while it was in use"):
        trial_worker.train_trial(asked, **(job | {"digest": "0" * 64}))


def test_a_storage_that_is_down_is_refused_by_name(job, asked):
    url = "postgresql://me:secret@127.0.0.1:1/studies"
    tune = job["params"].tune.model_copy(update={"storage": url})
    params = job["params"].model_copy(update={"tune": tune})
    with pytest.raises(TrainingError, match=r"me:\*\*\*@127.0.0.1:1/studies does not answer"):
        trial_worker.train_trial(asked, **(job | {"params": params}))
