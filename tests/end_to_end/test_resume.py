"""A search that is killed, stopped, or loses a worker goes on; MLflow shows it as it went."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import FrozenTrial, TrialState

from melanoma.training.storages import open_storage
from tests.end_to_end.clone import kill, make_clone, report, run, start
from tests.pipelines.workspace import SMALL, change_params, command

pytestmark = pytest.mark.slow
NUM_TRIALS = 5
DEADLINE_SECONDS = 400  # a busy machine may take minutes to load TensorFlow
TUNE: dict[str, object] = {"num_trials": NUM_TRIALS, "num_epochs": 6, "pruner": "none"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A clone in which all stages before `tune` have run."""
    folder = make_clone(tmp_path_factory.mktemp("resume") / "clone", SMALL)
    change_params(folder / "params.yaml", tune=TUNE)
    run(folder, "dvc", "repro", "pack")
    return folder


@pytest.fixture
def clone(packed, request):
    """The clone with a seed, and so a study, that no other test has."""
    change_params(packed / "params.yaml", tune={"seed": sum(request.node.name.encode())})
    return packed


def trials(folder: Path) -> list[FrozenTrial]:
    """The trials of the newest study."""
    journal = folder / "data/studies/studies.journal"
    if not journal.exists():
        return []
    storage = open_storage(str(journal))
    newest = max(storage.get_all_studies(), key=lambda study: study._study_id, default=None)
    return [] if newest is None else storage.get_all_trials(newest._study_id)


def num_finished(folder: Path) -> int:
    return sum(trial.state.is_finished() for trial in trials(folder))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for_an_epoch_after(folder: Path, num_wanted: int) -> None:
    """Until so many trials have finished, and the next one has trained for an epoch."""
    wait_until(
        lambda: (
            num_finished(folder) >= num_wanted
            and any(
                trial.state is TrialState.RUNNING and trial.intermediate_values for trial in trials(folder)
            )
        )
    )


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    below = psutil.Process(process.pid).children(recursive=True)
    return [child for child in below if "melanoma.execution.worker_main" in child.cmdline()]


def runs_by_trial(folder: Path) -> dict[int, list[Run]]:
    """The runs that MLflow has below the run of the search, by number of their trial."""
    store = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    parent = store.get_run(report(folder, "sample/tuning")["run_id"])
    below = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    found: dict[int, list[Run]] = {}
    for child in store.search_runs([parent.info.experiment_id], below):
        found.setdefault(int(child.data.tags["trial"]), []).append(child)
    return found


def require_one_run_for_each_trial(folder: Path) -> None:
    runs = runs_by_trial(folder)
    assert Counter({number: len(found) for number, found in runs.items()}) == Counter(
        trial.number for trial in trials(folder)
    )
    for trial in trials(folder):
        (found,) = runs[trial.number]
        is_complete = trial.state is TrialState.COMPLETE
        assert found.info.status in ({"FINISHED"} if is_complete else {"KILLED", "FAILED"})


def require_complete(folder: Path, *, num_failed: int) -> dict:
    """Exactly the wanted trials have finished, the baseline among them; the summary."""
    summary = report(folder, "sample/tuning")
    assert summary["num_by_state"] == {"complete": NUM_TRIALS, "pruned": 0, "failed": num_failed}
    baselines = [trial for trial in summary["trials"] if trial["is_baseline"]]
    assert baselines[-1]["state"] == "complete"
    return summary


def test_a_killed_dvc_repro_is_completed_not_begun_again(clone):
    process = start(clone, "dvc", "repro", "tune")
    wait_for_an_epoch_after(clone, 2)
    kill(process)
    before = trials(clone)
    assert sum(trial.state is TrialState.COMPLETE for trial in before) >= 2
    run(clone, "dvc", "repro", "tune")
    summary = require_complete(clone, num_failed=1)  # the trial that was killed
    for trial in before:
        if trial.state is TrialState.COMPLETE:
            assert summary["trials"][trial.number]["value"] == trial.value
    (killed,) = [trial for trial in summary["trials"] if trial["state"] == "failed"]
    (again,) = [trial for trial in summary["trials"] if trial["repeats"] == killed["trial"]]
    assert again["hyperparameters"] == killed["hyperparameters"]
    assert again["num_epochs"] == 6
    require_one_run_for_each_trial(clone)
    assert runs_by_trial(clone)[killed["trial"]][0].info.status == "KILLED"


def test_a_killed_worker_loses_only_its_trial_which_is_tried_again(clone):
    process = start(clone, "dvc", "repro", "tune")
    wait_for_an_epoch_after(clone, 1)
    (lost,) = [trial for trial in trials(clone) if trial.state is TrialState.RUNNING]
    (worker,) = workers_of(process)
    worker.kill()
    output = process.communicate(timeout=DEADLINE_SECONDS)[0]
    assert process.returncode == 0, output
    summary = require_complete(clone, num_failed=1)
    assert summary["trials"][lost.number]["state"] == "failed"
    assert "was killed (SIGKILL)" in summary["trials"][lost.number]["error"]
    assert summary["trials"][lost.number + 1]["repeats"] == lost.number
    require_one_run_for_each_trial(clone)
    assert runs_by_trial(clone)[lost.number][0].info.status == "FAILED"


def test_a_search_that_a_person_or_the_system_stops_ends_cleanly_and_goes_on(clone):
    tune = [sys.executable, "-m", "pipelines.tune", *command("tune", "sample")]
    for num_before, sign in enumerate((signal.SIGINT, signal.SIGTERM)):
        process = start(clone, *tune)
        wait_for_an_epoch_after(clone, num_before + 1)
        (worker,) = workers_of(process)
        process.send_signal(sign)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 130, output
        assert "run the same command again to go on" in output
        assert "Traceback" not in output
        assert not worker.is_running()
        assert TrialState.RUNNING not in {trial.state for trial in trials(clone)}
    run(clone, *tune)
    require_complete(clone, num_failed=2)
    require_one_run_for_each_trial(clone)
    statuses = Counter(found.info.status for (found,) in runs_by_trial(clone).values())
    assert statuses == {"FINISHED": NUM_TRIALS, "KILLED": 2}
