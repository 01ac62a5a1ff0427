"""Fit one network: the seam between data and Keras that search and the train stage share."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from melanoma.data.packed import Part
from melanoma.models.builders import build_model
from melanoma.training import checkpoints, features, inputs, numerics, schedules, scores
from melanoma.training.progress import Progress
from melanoma.training.recipe import Arrays, Recipe, require_both_classes


@dataclass(frozen=True)
class Trained:
    """A fitted network.

    Attributes:
        model: With the weights of its best epoch.
        history: One row an epoch: `epoch` (from 1), `loss`, `accuracy` (on augmented training images),
            `val_loss`, `val_accuracy`, `val_auc_roc`, `val_average_precision`,
            `val_specificity_at_95_sensitivity`, `learning_rate` (at its end), `duration_seconds` (with
            validation), `images_per_second` (of training alone).
        best_epoch: The row whose weights `model` has.
    """

    model: keras.Model
    history: pd.DataFrame
    best_epoch: pd.Series


def train(
    arrays: Arrays,
    recipe: Recipe,
    *,
    num_epochs: int,
    seed: int,
    checkpoint: Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Trained:
    """Build and fit one network; the only way from images to weights.

    `recipe.train.monitor` says which epoch is best; training stops after `patience` epochs without a
    better one. Where all but the end of the network is frozen, the end alone is trained, see `features`.

    Args:
        arrays: Both parts with both classes.
        recipe: How.
        num_epochs: At most so many.
        seed: Of the first weights, of the order of images and of augmentation.
        checkpoint: File that keeps the state after every epoch; when it holds this very training, training
            goes on from it, or is found to be over. Whoever names it removes it when the network is safe.
        callbacks: See the scores of each epoch, those of `Trained.history`; not of epochs before a kill. They
            may set `model.stop_training`.

    Raises:
        TrainingError: A part lacks a class, the loss is no longer a number, or the settings contradict each
            other.
    """
    require_both_classes(arrays)
    settings = recipe.train
    if settings.deterministic:
        numerics.make_repeatable(settings)
    keras.backend.clear_session()  # or memory grows from training to training (optuna#1178)
    keras.utils.set_random_seed(seed)
    epochs = _Epochs(arrays, recipe, num_epochs=num_epochs, seed=seed, checkpoint=checkpoint)
    with numerics.precision(settings):
        network = build_model(recipe.hyperparameters, recipe.model, image_size=arrays.train.images.shape[1])
        frozen = features.compute(network, arrays, recipe)
        learner = network if frozen is None else frozen.end
        fitted, batches = inputs.prepare(
            learner,
            arrays.train,
            recipe,
            seed=seed,
            first_epoch=epochs.num_done,
            views=None if frozen is None else frozen.views,
        )
        rate = schedules.learning_rate(
            recipe.hyperparameters.learning_rate,
            settings,
            num_epochs=num_epochs,
            steps_per_epoch=len(batches),
        )
        numerics.compile_model(fitted, recipe.hyperparameters, settings, learning_rate=rate)
    epochs.resume(learner, fitted.optimizer, arrays.validation if frozen is None else frozen.validation)
    if not epochs.is_over:
        progress = Progress(
            f"{network.name} seed {seed}",
            num_epochs=num_epochs,
            num_done=epochs.num_done,
            shown=("loss", settings.monitor, "val_auc_roc"),
        )
        fitted.fit(
            batches,
            initial_epoch=epochs.num_done,
            epochs=num_epochs,
            shuffle=False,  # the batches know their order
            verbose=0,
            callbacks=[numerics.StopAtNan(), epochs, progress, *callbacks],
        )
    return epochs.finish(network)


class _Epochs(keras.callbacks.Callback):
    """Scores every epoch, keeps the best weights and the checkpoint, and says when it is enough."""

    def __init__(
        self, arrays: Arrays, recipe: Recipe, *, num_epochs: int, seed: int, checkpoint: Path | None
    ) -> None:
        """Look for a checkpoint of this training."""
        super().__init__()
        self._arrays, self._settings = arrays, recipe.train
        self._num_epochs, self._checkpoint = num_epochs, checkpoint
        self._history = pd.DataFrame()
        self._found: checkpoints.State | None = None
        if checkpoint is not None:
            self._problem = checkpoints.problem_digest(arrays, recipe, num_epochs=num_epochs, seed=seed)
            self._found = checkpoints.load(checkpoint, self._problem)
        if self._found is not None:
            self._history, self._best = self._found.history, self._found.best

    @property
    def num_done(self) -> int:
        """Epochs so far, those before a kill among them."""
        return len(self._history)

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the last `patience` of them brought nothing better."""
        if self.num_done in (0, self._num_epochs):
            return self.num_done > 0
        waited = scores.num_epochs_since_best(self._history, self._settings.monitor)
        return waited >= self._settings.patience

    def resume(self, learner: keras.Model, optimizer: keras.optimizers.Optimizer, scored: Part) -> None:
        """Give both the state of the checkpoint, where there is one.

        Args:
            learner: The network, or that part of it that is trained.
            optimizer: Of its weights.
            scored: What it is scored on after each epoch.
        """
        self._learner, self._optimizer, self._scored = learner, optimizer, scored
        if self._found is not None:
            checkpoints.assign(learner.variables, self._found.network)
            checkpoints.assign(optimizer.variables, self._found.optimizer)
            self._found = None  # the arrays are large

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Complete `logs`, which all later callbacks see."""
        logs = {} if logs is None else logs
        trained_seconds = time.perf_counter() - self._started
        logs |= self._score(epoch + 1)
        logs["learning_rate"] = float(self._optimizer.learning_rate)
        logs["duration_seconds"] = time.perf_counter() - self._started
        logs["images_per_second"] = len(self._arrays.train) / trained_seconds
        row = {"epoch": epoch + 1, **{name: float(score) for name, score in logs.items()}}
        self._history = pd.concat([self._history, pd.DataFrame([row])], ignore_index=True)
        if scores.num_epochs_since_best(self._history, self._settings.monitor) == 0:
            self._best = checkpoints.values(self._learner.weights)
        if self._checkpoint is not None:
            self._save(self._checkpoint)
        if self.is_over:
            self.model.stop_training = True

    def _score(self, epoch: int) -> dict[str, float]:
        part = self._scored
        probability = scores.predict(self._learner, part)
        if not np.isfinite(probability).all():
            rate = float(self._optimizer.learning_rate)
            raise numerics.not_a_number("A validation image's probability is no number", epoch, rate)
        return scores.score_validation(
            part.targets, probability, balance_classes=self._settings.balance_classes
        )

    def _save(self, path: Path) -> None:
        state = checkpoints.State(
            self._problem,
            self._history,
            checkpoints.values(self._learner.variables),
            checkpoints.values(self._optimizer.variables),
            self._best,
        )
        checkpoints.save(state, path)

    def finish(self, network: keras.Model) -> Trained:
        """The whole network with the weights of its best epoch, whatever ended its training."""
        checkpoints.assign(self._learner.weights, self._best)
        best = scores.best_epoch(self._history, self._settings.monitor)
        return Trained(network, self._history, best)
