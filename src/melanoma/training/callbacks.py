"""What happens in each epoch beside training: scores, checkpoints, early stopping, a progress bar."""

import time
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from melanoma.data.packed import Part
from melanoma.errors import DivergenceError
from melanoma.training import checkpoints, scores
from melanoma.training.averages import AveragedModel
from melanoma.training.recipe import Arrays, Recipe


class EpochScores(keras.callbacks.Callback):
    """Scores every epoch on the hold-out, keeps weights and the checkpoint, and stops early.

    With `keep_epoch: last` nothing is chosen: there is no early stopping, and no hold-out is needed. Without
    one, the history has no columns `val_…`. Where weights are averaged, the averages are scored and kept.
    """

    def __init__(
        self, arrays: Arrays, recipe: Recipe, *, num_epochs: int, seed: int, checkpoint: Path | None
    ) -> None:
        """Read the checkpoint of this training, if there is one."""
        super().__init__()
        self._num_training_images, self._settings = len(arrays.train), recipe.train
        self._sampling_power = recipe.hyperparameters.sampling_power
        self._keeps_best = recipe.hyperparameters.keep_epoch == "best"
        self._num_epochs, self._checkpoint = num_epochs, checkpoint
        self.history = pd.DataFrame()
        self._best: list[np.ndarray] = []
        self._found: checkpoints.State | None = None
        if checkpoint is not None:
            self._problem = checkpoints.problem_digest(arrays, recipe, num_epochs=num_epochs, seed=seed)
            self._found = checkpoints.load(checkpoint, self._problem)
        if self._found is not None:
            self.history, self._best = self._found.history, self._found.best

    @property
    def num_done(self) -> int:
        """Epochs trained so far, including those before an interruption."""
        return len(self.history)

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the last `patience` of them brought no better score."""
        if self.num_done in (0, self._num_epochs):
            return self.num_done > 0
        return self._keeps_best and self._num_epochs_waited >= self._settings.patience

    @property
    def _num_epochs_waited(self) -> int:
        return scores.num_epochs_since_best(self.history, self._settings.monitor)

    def resume(
        self,
        learner: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        scored: Part | None,
        *,
        averaged: AveragedModel | None = None,
    ) -> None:
        """Give network and optimizer the state of the checkpoint, if there is one.

        Args:
            learner: The network, or the part of it that is trained.
            optimizer: Optimizer of its weights.
            scored: Images that it is scored on after each epoch; None to score nothing.
            averaged: The average of its weights; None to keep the weights themselves.
        """
        self._learner, self._optimizer, self._scored = learner, optimizer, scored
        self._averaged = averaged
        if self._found is not None:
            checkpoints.assign(learner.variables, self._found.network)
            checkpoints.assign(optimizer.variables, self._found.optimizer)
            checkpoints.assign(self._state_of_average, self._found.average)
            self._found = None  # the arrays are large

    @property
    def _state_of_average(self) -> list[keras.Variable]:
        return [] if self._averaged is None else self._averaged.state

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Complete `logs`, which all later callbacks see."""
        logs = {} if logs is None else logs
        trained_seconds = time.perf_counter() - self._started
        logs |= self._score(epoch + 1)
        logs["learning_rate"] = float(self._optimizer.learning_rate)
        logs["duration_seconds"] = time.perf_counter() - self._started
        logs["images_per_second"] = self._num_training_images / trained_seconds
        row = {"epoch": epoch + 1, **{name: float(score) for name, score in logs.items()}}
        self.history = pd.concat([self.history, pd.DataFrame([row])], ignore_index=True)
        if self._keeps_best and self._num_epochs_waited == 0:
            self._best = self._present_weights()
        if self._checkpoint is not None:
            self._save(self._checkpoint)
        if self.is_over:
            self.model.stop_training = True

    def _score(self, epoch: int) -> dict[str, float]:
        part = self._scored
        if part is None:
            return {}
        with nullcontext() if self._averaged is None else self._averaged.swapped_in():
            probability = scores.predict(self._learner, part)
        if not np.isfinite(probability).all():
            rate = float(self._optimizer.learning_rate)
            raise divergence("The probability of a held-out image is not a number", epoch, rate)
        return scores.score_holdout(part.targets, probability, sampling_power=self._sampling_power)

    def _present_weights(self) -> list[np.ndarray]:
        """The weights that the present epoch would keep, their averages where they are averaged."""
        return checkpoints.values(
            self._learner.weights if self._averaged is None else self._averaged.averages
        )

    def _save(self, path: Path) -> None:
        state = checkpoints.State(
            self._problem,
            self.history,
            checkpoints.values(self._learner.variables),
            checkpoints.values(self._optimizer.variables),
            self._best,
            checkpoints.values(self._state_of_average),
        )
        checkpoints.save(state, path)

    def restore_kept(self) -> pd.Series:
        """Give the network the weights of the kept epoch and return its row of the history."""
        kept = self._best if self._keeps_best else self._present_weights()
        checkpoints.assign(self._learner.weights, kept)
        if self._keeps_best:
            return scores.best_epoch(self.history, self._settings.monitor)
        return self.history.iloc[-1]


class StopAtNan(keras.callbacks.Callback):
    """Ends training with a `DivergenceError` at the batch in which the loss is no longer a number."""

    async_safe = True  # only reads the logs: Keras then need not wait for the loss of each batch

    def __init__(self) -> None:
        """No epoch has begun."""
        super().__init__()
        self._epoch, self._rate = 0, float("nan")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep epoch and learning rate: batches are checked in another thread than the optimizer's."""
        self._epoch, self._rate = epoch + 1, float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The loss is a mean over the epoch so far: once it is no number, it stays so."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise divergence(f"The training loss is {loss}", self._epoch, self._rate, batch=batch + 1)


def divergence(what: str, epoch: int, rate: float, *, batch: int | None = None) -> DivergenceError:
    """The error for `what`, with epoch, batch, learning rate and how to fix it."""
    where = f"epoch {epoch}" + (f", batch {batch}" if batch else "")
    return DivergenceError(
        f"{what} in {where}, at a learning rate of {rate:.3g}: training has diverged. Lower the learning "
        "rate, raise warmup_epochs, or set train.mixed_precision: false."
    )


class ProgressBar(keras.callbacks.Callback):
    """A bar over epochs with the last scores, images a second and the time left."""

    def __init__(self, name: str, *, num_epochs: int, num_done: int, shown: tuple[str, ...]) -> None:
        """The bar appears when training begins.

        Args:
            name: Label before the bar.
            num_epochs: Length of the bar.
            num_done: Epochs trained by an earlier process.
            shown: Names of the scores to show.
        """
        super().__init__()
        self._shown = shown
        self._options = {"desc": name, "total": num_epochs, "initial": num_done, "unit": "epoch"}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Show the bar where output is a terminal."""
        self._bar = tqdm(disable=None, **self._options)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Move on by one epoch."""
        scored = logs or {}
        words = {name: f"{scored[name]:.3f}" for name in self._shown if name in scored}
        self._bar.set_postfix(words | {"images/s": f"{scored['images_per_second']:.0f}"})
        self._bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leave the bar as it is."""
        self._bar.close()
