from dataclasses import replace
from typing import get_args

import keras
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from melanoma.config.training import Monitor
from melanoma.errors import TrainingError
from melanoma.training import fit
from melanoma.training.recipe import Recipe
from melanoma.training.scores import predict

COLUMNS = [
    "epoch",
    "accuracy",
    "loss",
    "val_loss",
    "val_accuracy",
    "val_auc_roc",
    "val_average_precision",
    "val_specificity_at_95_sensitivity",
    "learning_rate",
    "duration_seconds",
    "images_per_second",
]
TIMES = ["duration_seconds", "images_per_second"]


def change(recipe: Recipe, **sections: dict[str, object]) -> Recipe:
    """`recipe` with other values in some of its sections."""
    copies = {name: getattr(recipe, name).model_copy(update=values) for name, values in sections.items()}
    return replace(recipe, **copies)


class EndAfter(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets an error or a stop happen at the end of an epoch (from 1)."""

    def __init__(self, epoch: int, error: BaseException | None = None) -> None:
        super().__init__()
        self._epoch, self._error = epoch, error
        self.seen: list[int] = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch + 1)
        if epoch + 1 == self._epoch:
            self.model.stop_training = True
            if self._error is not None:
                raise self._error


@pytest.fixture(scope="module")
def trained(bright_or_dark, params):
    """Six epochs, the best of them chosen by AUC."""
    small = {"depth": 1, "filters": 4, "dense_units": 4, "batch_size": 8, "learning_rate": 1e-2}
    recipe = Recipe(
        params.baseline.model_copy(update=small),
        params.model,
        params.augment.paper,
        params.train.model_copy(update={"monitor": "val_auc_roc", "patience": 6}),
    )
    return fit.train(bright_or_dark, recipe, num_epochs=6, seed=1)


def test_a_difference_in_brightness_is_learnt(bright_or_dark, recipe):
    eager = change(recipe, hyperparameters={"filters": 4, "dense_units": 8}, train={"patience": 20})
    result = fit.train(bright_or_dark, eager, num_epochs=20, seed=3)
    assert result.history["val_auc_roc"].max() == 1.0
    assert result.history["loss"].iloc[-1] < result.history["loss"].iloc[0]


def test_the_history_has_one_row_an_epoch_counted_from_1(trained):
    assert sorted(trained.history.columns) == sorted(COLUMNS)
    assert trained.history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.isfinite(trained.history.to_numpy()).all()


def test_time_speed_and_learning_rate_of_each_epoch_are_told(trained):
    history = trained.history
    assert history["learning_rate"].tolist() == pytest.approx([1e-2] * 6)
    training_seconds = 24 / history["images_per_second"]
    assert (training_seconds > 0).all()
    assert (training_seconds < history["duration_seconds"]).all()  # validation comes on top


def test_the_scores_of_the_best_epoch_are_those_of_the_returned_network(trained, bright_or_dark):
    part = bright_or_dark.holdout
    probability = predict(trained.model, part)
    best = trained.best_epoch
    assert best["val_auc_roc"] == trained.history["val_auc_roc"].max()
    assert best["val_auc_roc"] == roc_auc_score(part.targets, probability)
    assert best["val_accuracy"] == pytest.approx(balanced_accuracy_score(part.targets, probability >= 0.5))


@pytest.mark.parametrize("monitor", get_args(Monitor))
def test_each_monitor_chooses_its_own_best_epoch(trained, bright_or_dark, recipe, monitor):
    watching = change(recipe, train={"monitor": monitor, "patience": 3})
    result = fit.train(bright_or_dark, watching, num_epochs=3, seed=1)
    scores = result.history[monitor]
    best = scores.idxmin() if monitor == "val_loss" else scores.idxmax()
    assert result.best_epoch["epoch"] == best + 1
    loss = result.best_epoch["val_loss"]
    part = bright_or_dark.holdout
    weights = np.where(part.targets == 1, 2, 1)  # 4 positive and 8 negative images weigh the same
    assert log_loss(part.targets, predict(result.model, part), sample_weight=weights) == pytest.approx(loss)


def test_training_stops_when_patience_is_over(bright_or_dark, recipe):
    still = change(recipe, hyperparameters={"learning_rate": 1e-9}, train={"patience": 2})
    still = change(still, train={"monitor": "val_accuracy"})
    result = fit.train(bright_or_dark, still, num_epochs=50, seed=1)
    assert result.history["epoch"].tolist() == [1, 2, 3]
    assert result.best_epoch["epoch"] == 1


def test_a_callback_may_stop_it_and_the_best_weights_still_come_back(bright_or_dark, recipe):
    falling = change(recipe, hyperparameters={"learning_rate": 0.9, "optimizer": "sgd"})
    result = fit.train(bright_or_dark, falling, num_epochs=50, seed=1, callbacks=[EndAfter(3)])
    assert len(result.history) == 3
    auc = roc_auc_score(bright_or_dark.holdout.targets, predict(result.model, bright_or_dark.holdout))
    assert auc == pytest.approx(result.best_epoch["val_auc_roc"])


def test_callbacks_see_all_scores_of_the_epoch(bright_or_dark, recipe):
    seen: list[dict[str, float]] = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    result = fit.train(bright_or_dark, recipe, num_epochs=2, seed=1, callbacks=[callback])
    assert seen == result.history.drop(columns="epoch").to_dict("records")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_start_and_another_one_another(bright_or_dark, recipe):
    losses = [
        fit.train(bright_or_dark, recipe, num_epochs=1, seed=seed).history["loss"].iloc[0]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


@pytest.mark.parametrize(("split", "name"), [("train", "training part"), ("holdout", "hold-out")])
def test_a_part_of_one_class_is_refused_by_name_before_anything_is_trained(
    bright_or_dark, recipe, split, name, monkeypatch
):
    monkeypatch.setattr(fit, "build_model", lambda *_, **__: pytest.fail("a network was built"))
    part = getattr(bright_or_dark, split)
    arrays = replace(bright_or_dark, **{split: replace(part, targets=np.zeros_like(part.targets))})
    with pytest.raises(TrainingError, match=f"The {name} has .* one class"):
        fit.train(arrays, recipe, num_epochs=1, seed=1)


def test_a_loss_that_is_no_number_stops_within_the_epoch_and_writes_nothing(bright_or_dark, recipe, tmp_path):
    batches = []
    counter = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: batches.append(batch))
    wild = change(recipe, hyperparameters={"learning_rate": 1e38, "batch_size": 1})
    folder = tmp_path / "never"
    with pytest.raises(
        TrainingError, match=r"loss is (nan|inf) in epoch 1, batch \d+, .* rate of 1e\+38.*Lower"
    ):
        fit.train(
            bright_or_dark,
            wild,
            num_epochs=3,
            seed=1,
            checkpoint=folder / "state.npz",
            callbacks=[counter],
        )
    assert len(batches) <= len(bright_or_dark.train)  # of one epoch; the loss is looked at beside the steps
    assert not folder.exists()


def test_a_finished_training_is_not_trained_again(bright_or_dark, recipe, tmp_path):
    arguments = {"num_epochs": 2, "seed": 1, "checkpoint": tmp_path / "state.npz"}
    first = fit.train(bright_or_dark, recipe, **arguments)
    counter = EndAfter(99)
    second = fit.train(bright_or_dark, recipe, **arguments, callbacks=[counter])
    assert counter.seen == []
    assert second.history.equals(first.history)
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_interrupted_training_goes_on_as_if_it_never_stopped(bright_or_dark, recipe, optimizer, tmp_path):
    recipe = change(
        recipe,
        hyperparameters={"optimizer": optimizer, "dropout": 0.3, "weight_decay": 1e-3, "batch_norm": True}
        | {"schedule": "cosine", "warmup_epochs": 1},
        train={"patience": 6},
    )
    straight = fit.train(bright_or_dark, recipe, num_epochs=4, seed=1)
    checkpoint = tmp_path / "state.npz"
    arguments = {"num_epochs": 4, "seed": 1, "checkpoint": checkpoint}
    with pytest.raises(KeyboardInterrupt):
        fit.train(bright_or_dark, recipe, **arguments, callbacks=[EndAfter(2, KeyboardInterrupt())])
    after = EndAfter(99)
    resumed = fit.train(bright_or_dark, recipe, **arguments, callbacks=[after])
    assert after.seen == [3, 4]
    np.testing.assert_allclose(
        resumed.history.drop(columns=TIMES), straight.history.drop(columns=TIMES), rtol=1e-3, atol=1e-5
    )
    for one, other in zip(resumed.model.get_weights(), straight.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_patience_counts_epochs_before_an_interruption(bright_or_dark, recipe, tmp_path):
    still = change(
        recipe,
        hyperparameters={"learning_rate": 1e-9},
        train={"patience": 3, "monitor": "val_accuracy"},
    )
    arguments = {"num_epochs": 50, "seed": 1, "checkpoint": tmp_path / "state.npz"}
    with pytest.raises(KeyboardInterrupt):
        fit.train(bright_or_dark, still, **arguments, callbacks=[EndAfter(2, KeyboardInterrupt())])
    assert len(fit.train(bright_or_dark, still, **arguments).history) == 4


def test_the_checkpoint_of_another_recipe_is_not_gone_on_with(bright_or_dark, recipe, tmp_path, caplog):
    arguments = {"num_epochs": 1, "seed": 1, "checkpoint": tmp_path / "state.npz"}
    fit.train(bright_or_dark, recipe, **arguments)
    counter = EndAfter(99)
    other = change(recipe, hyperparameters={"learning_rate": 1e-3})
    fit.train(bright_or_dark, other, **arguments, callbacks=[counter])
    assert counter.seen == [1]
    assert "Training starts from the beginning" in caplog.text
