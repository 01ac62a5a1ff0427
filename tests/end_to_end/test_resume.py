"""A `dvc repro` that is killed in the search or in training goes on; MLflow shows it as it went."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from onnx.numpy_helper import to_array
from optuna.trial import FrozenTrial, TrialState

from melanoma.training.storages import open_storage
from tests.end_to_end.clone import kill, make_clone, report, run, start
from tests.pipelines.workspace import SMALL, change_params

pytestmark = pytest.mark.slow
NUM_TRIALS = 5
DEADLINE_SECONDS = 400  # a busy machine may take minutes to load TensorFlow
NUM_EPOCHS = 60  # of a tiny network: seconds, in which it can be killed
CHANGES: dict[str, dict[str, object]] = {
    "tune": {"num_trials": NUM_TRIALS, "num_epochs": 6, "pruner": "none"},
    # All that has a state: dropout draws, batch norm averages, Adam remembers, a cosine counts.
    "baseline": {"dropout": 0.3, "batch_norm": True, "weight_decay": 1e-3, "schedule": "cosine"},
    "train": {"num_epochs": NUM_EPOCHS, "patience": NUM_EPOCHS, "deterministic": True},
}
TIMES = ["duration_seconds", "images_per_second"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A clone in which all stages before `tune` have run."""
    folder = make_clone(tmp_path_factory.mktemp("resume") / "clone", SMALL)
    change_params(folder / "params.yaml", **CHANGES)
    run(folder, "dvc", "repro", "pack")
    return folder


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
        time.sleep(0.02)


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


def test_a_killed_dvc_repro_is_completed_not_begun_again(packed):
    process = start(packed, "dvc", "repro", "tune")
    wait_for_an_epoch_after(packed, 2)
    kill(process)
    before = trials(packed)
    assert sum(trial.state is TrialState.COMPLETE for trial in before) >= 2
    run(packed, "dvc", "repro", "tune")
    summary = require_complete(packed, num_failed=1)  # the trial that was killed
    for trial in before:
        if trial.state is TrialState.COMPLETE:
            assert summary["trials"][trial.number]["value"] == trial.value
    (killed,) = [trial for trial in summary["trials"] if trial["state"] == "failed"]
    (again,) = [trial for trial in summary["trials"] if trial["repeats"] == killed["trial"]]
    assert again["hyperparameters"] == killed["hyperparameters"]
    assert again["num_epochs"] == 6
    require_one_run_for_each_trial(packed)
    assert runs_by_trial(packed)[killed["trial"]][0].info.status == "KILLED"


def num_epochs_at(checkpoint: Path) -> int:
    with checkpoint.open("rb") as stream, np.load(stream) as stored:
        return len(json.loads(str(stored["words"]))["history"]["epoch"])


def runs_of_training(folder: Path) -> list[Run]:
    store = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = store.get_experiment_by_name("melanoma-sample")
    return store.search_runs([experiment.experiment_id], "tags.stage = 'train'")


def results(folder: Path) -> dict[str, object]:
    """Everything that training computed: weights, the scores of each epoch, the scores of each seed."""
    found: dict[str, object] = {"seeds": report(folder, "sample/seeds")}
    for model in ("baseline", "tuned"):
        history = pd.read_csv(folder / f"models/sample/{model}/history.csv").drop(columns=TIMES)
        # Without their names: Keras counts layers over the life of a process.
        network = onnx.load(folder / f"models/sample/{model}/model.onnx").graph.initializer
        found[f"{model} history"] = history.to_dict("list")
        found[f"{model} weights"] = sorted(to_array(weights).tobytes() for weights in network)
    return found


def test_a_killed_training_is_completed_with_the_result_of_one_without_a_break(packed):
    run(packed, "dvc", "repro", "tune")
    process = start(packed, "dvc", "repro", "train")
    second = packed / "data/checkpoints/sample/baseline-seed2/state.npz"
    wait_until(lambda: second.exists() or process.poll() is not None)
    kill(process)
    assert 1 <= num_epochs_at(second) < NUM_EPOCHS  # in the middle of the second of four networks
    assert not (packed / "models/sample/runs.json").exists()
    before = {one.info.run_id: one.info.status for one in runs_of_training(packed)}
    assert sorted(before.values()) == ["FINISHED", "RUNNING"]

    output = run(packed, "dvc", "repro", "train")
    assert "Training starts from the beginning" not in output
    runs = runs_of_training(packed)
    assert [one.info.status for one in runs] == ["FINISHED"] * 4
    assert set(before) <= {one.info.run_id for one in runs}
    store = MlflowClient(f"sqlite:///{packed}/mlflow.db")
    for one in runs:  # each epoch once, also the one whose scores the kill kept from the run
        logged = store.get_metric_history(one.info.run_id, "epoch/train_loss")
        assert sorted(entry.step for entry in logged) == list(range(1, NUM_EPOCHS + 1))
    assert list((packed / "data/checkpoints").iterdir()) == []
    assert run(packed, "git", "status", "--porcelain", "--", "models", "reports", "data").count("/.") == 0

    resumed = results(packed)
    run(packed, "dvc", "repro", "--force", "--single-item", "train@sample")
    assert results(packed) == resumed
    assert len(runs_of_training(packed)) == 8
