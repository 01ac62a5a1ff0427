import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from melanoma.errors import TrainingError
from melanoma.training import fit
from melanoma.training.averages import AveragedModel
from melanoma.training.recipe import Arrays
from melanoma.training.scores import predict
from tests.imports import ROOT
from tests.training.test_fit import EndAfter, change

MOMENTUM = 0.8


def network_of(arrays) -> keras.Model:
    """Convolution, batch normalisation and an output; its outputs depend on all of its weights."""
    keras.utils.set_random_seed(1)
    images = keras.Input(arrays.train.images.shape[1:], dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    normal = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Conv2D(2, 3)(scaled))
    pooled = keras.layers.GlobalAveragePooling2D()(normal)
    return keras.Model(images, keras.layers.Dense(1, activation="sigmoid")(pooled))


class Noting(keras.callbacks.Callback):  # type: ignore[misc]
    """The trainable weights with which each epoch of one step begins, the others as it leaves them."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network
        self.begun: list[list[np.ndarray]] = []
        self.ended: list[list[np.ndarray]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append([np.array(weight.numpy()) for weight in self.network.weights])

    def on_epoch_end(self, epoch, logs=None):
        self.ended.append([np.array(weight.numpy()) for weight in self.network.weights])


def test_the_average_is_numpys_over_all_steps_and_covers_the_statistics_of_batch_norm(bright_or_dark):
    network = network_of(bright_or_dark)
    averaged, noted = AveragedModel(network, MOMENTUM), Noting(network)
    averaged.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", jit_compile=False)
    images, targets = bright_or_dark.train.images, bright_or_dark.train.targets
    averaged.fit(images, targets, batch_size=len(images), epochs=5, verbose=0, callbacks=[noted])
    share = MOMENTUM ** np.arange(5)[::-1]
    share /= share.sum()
    for at, (weight, average) in enumerate(zip(network.weights, averaged.averages, strict=True)):
        # Batch norm moves its statistics in the step itself, before the average sees them.
        seen = np.stack([(noted.begun if weight.trainable else noted.ended)[step][at] for step in range(5)])
        np.testing.assert_allclose(average.numpy(), np.tensordot(share, seen, axes=1), rtol=1e-4, atol=1e-6)
    moved = [not np.allclose(noted.begun[0][at], noted.ended[-1][at]) for at in range(len(network.weights))]
    assert all(moved)
    assert float(averaged.total.numpy()) == pytest.approx(1 - MOMENTUM**5, rel=1e-5)


def test_the_weights_themselves_train_as_without_an_average(bright_or_dark, recipe):
    exact = change(recipe, hyperparameters={"batch_norm": True, "keep_epoch": "last"})
    plain = fit.train(bright_or_dark, exact, num_epochs=2, seed=1)
    averaged = fit.train(bright_or_dark, change(exact, hyperparameters={"ema": 0.9}), num_epochs=2, seed=1)
    assert averaged.history["loss"].tolist() == pytest.approx(plain.history["loss"].tolist(), rel=1e-4)
    assert not np.allclose(averaged.model.get_weights()[0], plain.model.get_weights()[0])


@pytest.mark.parametrize(("keep_epoch", "place"), [("best", "host"), ("last", "device")])
def test_averaged_weights_are_scored_and_kept(bright_or_dark, recipe, keep_epoch, place):
    changes = {"ema": 0.9, "keep_epoch": keep_epoch, "batch_norm": True}
    changed = change(recipe, hyperparameters=changes, train={"input": place})
    result = fit.train(bright_or_dark, changed, num_epochs=3, seed=1)
    part = bright_or_dark.holdout
    scored = np.clip(predict(result.model, part), 1e-7, 1 - 1e-7)
    loss = np.where(part.targets == 1, -np.log(scored), -np.log(1 - scored))
    weights = np.where(part.targets == 1, 2, 1)  # 4 positive and 8 negative images weigh the same
    assert np.average(loss, weights=weights) == pytest.approx(result.best_epoch["val_loss"], rel=1e-4)


def test_an_average_survives_an_interruption(bright_or_dark, recipe, tmp_path):
    exact = change(recipe, train={"deterministic": True, "patience": 9})
    exact = change(exact, hyperparameters={"ema": 0.9, "keep_epoch": "last", "batch_norm": True})
    whole = fit.train(bright_or_dark, exact, num_epochs=4, seed=1, checkpoint=tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit.train(
            bright_or_dark,
            exact,
            num_epochs=4,
            seed=1,
            checkpoint=stopped,
            callbacks=[EndAfter(2, KeyboardInterrupt())],
        )
    resumed = fit.train(bright_or_dark, exact, num_epochs=4, seed=1, checkpoint=stopped)
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    again = fit.train(bright_or_dark, exact, num_epochs=4, seed=1, checkpoint=stopped)  # nothing is trained
    np.testing.assert_array_equal(again.model.get_weights()[0], whole.model.get_weights()[0])


def test_the_last_epoch_needs_no_held_out_images_and_the_best_one_does(bright_or_dark, recipe):
    alone = Arrays(bright_or_dark.train, None)
    last = change(recipe, hyperparameters={"keep_epoch": "last", "learning_rate": 1e-9})
    last = change(last, train={"patience": 1})
    result = fit.train(alone, last, num_epochs=3, seed=1)
    assert result.history["epoch"].tolist() == [1, 2, 3]  # no early stopping
    assert not [name for name in result.history.columns if "val_" in name]
    assert result.best_scores == {}
    assert result.best_epoch["epoch"] == 3
    with pytest.raises(TrainingError, match=r"keep_epoch: best .* there is no hold-out"):
        fit.train(alone, recipe, num_epochs=3, seed=1)


def test_with_a_hold_out_the_last_epoch_is_kept_however_it_scores(bright_or_dark, recipe):
    falling = change(recipe, hyperparameters={"keep_epoch": "last", "learning_rate": 0.9, "optimizer": "sgd"})
    result = fit.train(bright_or_dark, falling, num_epochs=3, seed=1)
    assert result.best_epoch["epoch"] == 3
    assert result.best_scores["val_loss"] == result.history["val_loss"].iloc[-1]


@pytest.mark.slow
def test_all_of_this_holds_on_jax_too():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", __file__],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
