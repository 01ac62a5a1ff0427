"""A `dvc repro` that is killed while it trains goes on where it stopped, to the same result."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma import tracking
from tests.end_to_end.clone import kill, make_clone, report, run, start
from tests.pipelines.workspace import SMALL, inside

pytestmark = pytest.mark.slow

NUM_EPOCHS = 60
CHANGES = SMALL | {
    "train": {
        "num_epochs": NUM_EPOCHS,
        "num_seeds": 2,
        "patience": NUM_EPOCHS,
        "schedule": "cosine",
        "deterministic": True,
    }
}
TIMES = ["duration_seconds", "images_per_second"]


def num_epochs_at(checkpoint: Path) -> int:
    with checkpoint.open("rb") as stream, np.load(stream) as stored:
        return len(json.loads(str(stored["words"]))["history"]["epoch"])


def histories(folder: Path) -> dict[str, pd.DataFrame]:
    return {
        model: pd.read_csv(folder / f"models/sample/{model}/history.csv").drop(columns=TIMES)
        for model in ("baseline", "tuned")
    }


def scores(folder: Path) -> dict:
    return {model: report(folder, "sample/seeds")[model] for model in ("baseline", "tuned")}


def runs_of_stage(folder: Path) -> list:
    with inside(folder):
        store = tracking.client()
        experiment = store.get_experiment_by_name("melanoma-sample")
        return store.search_runs([experiment.experiment_id], "tags.stage = 'train'")


def test_a_killed_training_is_completed_with_the_result_of_one_without_a_break(tmp_path):
    folder = make_clone(tmp_path / "clone", CHANGES)
    run(folder, "dvc", "repro", "tune")
    process = start(folder, "dvc", "repro", "train")
    second = folder / "data/checkpoints/sample/baseline-seed2/state.npz"
    deadline = time.monotonic() + 300
    while not second.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    kill(process)
    assert 1 <= num_epochs_at(second) < NUM_EPOCHS  # in the middle of the second of four networks
    assert not (folder / "models/sample/runs.json").exists()
    before = {one.info.run_id: one.info.status for one in runs_of_stage(folder)}
    assert sorted(before.values()) == ["FINISHED", "RUNNING"]

    output = run(folder, "dvc", "repro", "train")
    assert "training begins anew" not in output
    runs = runs_of_stage(folder)
    assert [one.info.status for one in runs] == ["FINISHED"] * 4
    assert set(before) <= {one.info.run_id for one in runs}
    with inside(folder):
        for one in runs:
            assert tracking.resume_run(one.info.run_id).logged_steps("loss") == set(range(1, NUM_EPOCHS + 1))
    assert list((folder / "data/checkpoints").iterdir()) == []
    assert run(folder, "git", "status", "--porcelain", "--", "models", "reports", "data").count("/.") == 0

    resumed, resumed_scores = histories(folder), scores(folder)
    run(folder, "dvc", "repro", "--force", "--single-item", "train@sample")
    for model, history in histories(folder).items():
        pd.testing.assert_frame_equal(resumed[model], history, check_exact=True)
    assert scores(folder) == resumed_scores
    assert len(runs_of_stage(folder)) == 8
