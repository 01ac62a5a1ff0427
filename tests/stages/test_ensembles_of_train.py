"""The stage `train` with several networks: tiny ones, on images that are bright or dark."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run

from melanoma import tracking
from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.errors import DataError
from melanoma.evaluation import seeds
from melanoma.files import write_json
from melanoma.stages import train
from melanoma.training import fit, saving
from melanoma.training.ensembles import mean_of_logits
from tests.stages import bright_cohort
from tests.stages.bright_cohort import NUM_TRAINING, SMALL


@pytest.fixture
def data(monkeypatch):
    found = bright_cohort.build()
    monkeypatch.setattr(packed, "open_packed", lambda folder: found)
    return found


@pytest.fixture
def stage(shelf, data, params, tmp_path, monkeypatch):
    """Run the stage with other settings and hyperparameters of the tuned network; what it wrote."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packed").mkdir()
    data.index.to_parquet(tmp_path / "packed" / packed.INDEX)
    baseline = Hyperparameters.model_validate(params.baseline.model_dump() | SMALL)

    def run(tuned, **settings):
        best = baseline.model_dump() | tuned
        write_json({"run_id": "search", "best": {"hyperparameters": best}}, Path("tuning.json"))
        changed = params.train.model_copy(
            update={"num_epochs": 1, "num_seeds": 2, "checkpoints": "checkpoints"} | settings
        )
        train.run(
            "toy",
            params.model_copy(update={"baseline": baseline, "train": changed}),
            inputs=train.Inputs(Path("packed"), Path("tuning.json")),
            outputs=train.Outputs(
                *(Path(name) for name in ("baseline", "tuned", "runs.json", "seeds.json", "curves", "plots"))
            ),
        )
        return json.loads(Path("seeds.json").read_text())

    return run


@pytest.fixture
def unsaved(monkeypatch):
    """No network is exported, which takes seconds."""
    monkeypatch.setattr(saving, "save_model", lambda networks, folder, **_: folder)


@pytest.fixture
def trained(monkeypatch):
    """What each network was trained on, in order: seed, number of training and of held-out images."""
    seen: list[tuple[int, int, int]] = []
    original = fit.train

    def noted(arrays, recipe, *, seed, **options):
        result = original(arrays, recipe, seed=seed, **options)
        seen.append((seed, len(arrays.train), len(arrays.holdout or ())))
        return result

    monkeypatch.setattr(fit, "train", noted)
    return seen


def runs() -> dict[str, Run]:
    store = tracking.client()
    experiment = store.get_experiment_by_name("melanoma-toy")
    return {run.info.run_name: run for run in store.search_runs([experiment.experiment_id])}


LAST = {"keep_epoch": "last", "ema": 0.5, "learning_rate": 2e-2}


def test_the_mean_of_networks_that_learned_from_all_groups_is_kept_and_others_judge(stage, trained, unsaved):
    found = stage(LAST, num_networks=2)
    judges = [(1, 32, 8), (2, 32, 8)]
    assert trained == [*judges, (1, 40, 0), (2, 40, 0), *judges]
    assert found["networks"]["tuned"] == {
        "seeds": [1, 2],
        "learned_from": seeds.ALL,
        "scored_on": seeds.OUT_OF_FOLD,
        "num_folds": 1,
    }
    assert found["networks"]["baseline"]["seeds"] == [1]
    assert found["rule"] == seeds.RULE
    named = runs()
    parent = named["tuned"].info.run_id
    below = {name for name, run in named.items() if run.data.tags.get("mlflow.parentRunId") == parent}
    assert below == {"tuned seed 2", "tuned seed 1 (judges the recipe)"}
    assert json.loads(Path("runs.json").read_text())["tuned"] == parent
    assert "val_loss" not in pd.read_csv("tuned/history.csv")


def test_over_folds_every_training_image_has_the_score_of_a_network_that_did_not_learn_it(
    stage, trained, unsaved
):
    found = stage(LAST, num_networks=2, ensemble="folds")
    assert found["networks"]["tuned"]["learned_from"] == seeds.ALL_BUT_ONE
    assert [held for _, _, held in trained] == [held for _, _, held in trained[:2]] * 2  # the same folds
    assert sum(held for _, _, held in trained[:2]) == NUM_TRAINING
    held_out = pd.read_csv("tuned/held_out.csv")
    assert sorted(held_out["image_id"]) == [f"i{one:02}" for one in range(NUM_TRAINING)]
    assert held_out["fold"].tolist() == (held_out["seed"] - 1).tolist()


def test_what_is_kept_is_the_mean_of_the_logits_of_the_kept_networks(stage, data, monkeypatch):
    kept: list[np.ndarray] = []
    original = saving.save_model

    def noted(networks, folder, **options):
        kept.append(np.stack([network.predict_on_batch(data.images[:6]) for network in networks]))
        original(networks, folder, **options)

    monkeypatch.setattr(saving, "save_model", noted)
    stage({"learning_rate": 2e-2}, num_networks=2)
    assert [len(one) for one in kept] == [1, 2]
    answers = keras.models.load_model("tuned/model.keras").predict_on_batch(data.images[:6])
    np.testing.assert_allclose(answers, mean_of_logits(kept[1]), atol=1e-5)
    assert not np.allclose(*kept[1])  # networks of their own


@pytest.mark.slow
def test_an_interrupted_ensemble_goes_on_with_the_network_that_was_interrupted(stage, unsaved, monkeypatch):
    epochs, original = [], fit.train

    def interrupted(*args, callbacks, **options):
        def note(epoch, logs):
            epochs.append((options["seed"], epoch + 1))
            if len(epochs) == 4:  # the second of the tuned networks
                raise KeyboardInterrupt

        noting = keras.callbacks.LambdaCallback(on_epoch_end=note)
        return original(*args, callbacks=[noting, *callbacks], **options)

    monkeypatch.setattr(fit, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage(LAST, num_networks=2)
    assert not Path("tuned").exists()
    before = {run.info.run_id for run in runs().values()}
    stage(LAST, num_networks=2)
    assert epochs == [(1, 1), (2, 1)] * 3  # baseline, served and judging networks, each once
    assert before <= {run.info.run_id for run in runs().values()}
    assert not Path("checkpoints/toy").exists()


def test_folds_with_too_few_groups_of_a_class_are_refused_before_anything_is_trained(stage, trained):
    with pytest.raises(DataError, match=r"5 positive and 15 negative groups; 6 folds need at least 6 groups"):
        stage(LAST, num_networks=6, num_seeds=6, ensemble="folds")
    assert trained == []
