"""A `dvc repro` that is killed while it searches goes on where it stopped."""

import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.end_to_end.clone import kill, make_clone, report, run, start
from tests.pipelines.workspace import SMALL

pytestmark = pytest.mark.slow


def finished(folder) -> int:
    journal = folder / "data/studies/studies.journal"
    if not journal.exists():
        return 0
    storage = JournalStorage(JournalFileBackend(str(journal)))
    names = optuna.get_all_study_names(storage)
    trials = [optuna.load_study(study_name=name, storage=storage).trials for name in names]
    return sum(trial.state.is_finished() for study in trials for trial in study)


def test_a_killed_search_is_completed_not_begun_again(tmp_path):
    folder = make_clone(
        tmp_path / "clone", SMALL | {"tune": {"num_trials": 8, "num_epochs": 6, "max_depth": 3}}
    )
    process = start(folder, "dvc", "repro", "tune")
    deadline = time.monotonic() + 240
    while finished(folder) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    kill(process)
    num_before = finished(folder)
    assert 2 <= num_before < 8
    run(folder, "dvc", "repro", "tune")
    tuning = report(folder, "sample/tuning")
    assert tuning["num_finished"] == 8
    assert tuning["trials"][0]["is_baseline"]
    assert len(tuning["trials"]) <= 8 + 1  # the trial that was killed stays as failed
