"""The command that compares ensembles, with tiny networks."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.data.packed import Part
from melanoma.errors import DataError
from melanoma.stages import ensembles
from melanoma.training import fit
from tests.stages import bright_cohort
from tests.stages.bright_cohort import SMALL

PATHS = ensembles.Paths(Path("packed"), Path("tuning.json"), Path("ensembles.json"))
LAST = {"keep_epoch": "last", "ema": 0.5}


@pytest.fixture
def command(shelf, params, tmp_path, monkeypatch):
    """Run the command with other settings; what it wrote, and what each network learned from."""
    monkeypatch.chdir(tmp_path)
    data = bright_cohort.build()
    monkeypatch.setattr(packed, "open_packed", lambda folder: data)
    baseline = Hyperparameters.model_validate(params.baseline.model_dump() | SMALL | LAST)
    small = {"num_epochs": 1, "num_seeds": 2, "num_networks": 2, "checkpoints": "checkpoints"}

    def run(*, num_outer=1, **settings):
        train = params.train.model_copy(update=small | settings)
        outer = params.crossvalidate.model_copy(update={"num_folds": 5})
        changed = {"baseline": baseline, "train": train, "crossvalidate": outer}
        line = ensembles.run(
            "toy", params.model_copy(update=changed), model="baseline", num_outer=num_outer, paths=PATHS
        )
        return line, json.loads(PATHS.out.read_text())

    return run


@pytest.fixture
def trained(monkeypatch):
    """The image ids that each network learned from, and those held out, in order."""
    seen: list[tuple[set[str], set[str]]] = []
    original = fit.train

    def noted(arrays, recipe, **options):
        result = original(arrays, recipe, **options)
        held = set() if arrays.holdout is None else set(arrays.holdout.image_ids)
        seen.append((set(arrays.train.image_ids), held))
        return result

    monkeypatch.setattr(fit, "train", noted)
    return seen


def test_both_ensembles_learn_within_the_training_split_and_score_a_fold_that_none_of_them_learned(
    command, trained
):
    line, found = command()
    training = {f"i{one:02}" for one in range(40)}
    (one, _), (other, _), (first, held), (second, held_next) = trained
    assert one == other == first | held == second | held_next  # all but the outer fold
    assert not held & held_next
    assert first == held_next
    assert len(training - one) == found["num_images"] == 8
    assert one < training
    assert found["scored_on"].startswith("out of fold")
    assert (found["num_networks"], found["outer_folds"], found["is_synthetic"]) == (2, [1], True)
    assert "on 8 training images, out of fold" in line
    assert not Path("checkpoints/ensembles-toy").exists()


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_and_trains_nothing_twice(command, monkeypatch):
    original, seen = fit.train, []

    def interrupted(*args, callbacks, **options):
        def note(epoch, logs):
            seen.append(options["seed"])
            if len(seen) == 3:
                raise KeyboardInterrupt

        return original(
            *args, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note), *callbacks], **options
        )

    monkeypatch.setattr(fit, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command(num_outer=2)
    assert not PATHS.out.exists()
    _, found = command(num_outer=2)
    assert seen == [1, 2, 1, 2] * 2  # two outer folds, two kinds, two networks, each once
    assert found["num_images"] == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_networks": 1}, r"at least 2 networks, but train.num_networks is 1"),
        ({"num_outer": 6}, r"outer folds must be from 1 to 5 \(crossvalidate.num_folds\), got 6"),
        ({"num_networks": 5, "num_seeds": 5}, r"4 positive and \d+ negative groups; 5 folds need at least 5"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(command, trained, options, message):
    with pytest.raises(DataError, match=message):
        command(**options)
    assert trained == []


def test_with_several_classes_the_score_is_the_probability_of_all_positive_ones():
    part = Part(
        np.zeros((2, 1, 1, 3)),
        np.arange(2),
        np.array([1, 0]),
        image_ids=np.array(["a", "b"]),
        positive_classes=(0, 1),
    )
    outputs = [np.array([[0.05, 0.9, 0.05], [0.2, 0.1, 0.7]]), np.array([[0.05, 0.9, 0.05], [0.2, 0.1, 0.7]])]
    names = {"outer": 1, "kind": "seeds", "image_id": ["a", "b"], "group_id": ["a", "b"], "target": [1, 0]}
    rows = [
        pd.DataFrame(names | {"network": at, "probabilities": list(one)}) for at, one in enumerate(outputs)
    ]
    mean = ensembles._mean(pd.concat(rows), part)
    np.testing.assert_allclose(mean["score"], [0.95, 0.3], atol=1e-6)
    np.testing.assert_allclose(np.stack(mean["singles"].to_list()), [[0.95, 0.95], [0.3, 0.3]], atol=1e-6)
