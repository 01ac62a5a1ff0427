"""Fit one network; used by the hyperparameter search, the stage `train` and the study."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import pandas as pd

from melanoma.models.builders import build_model
from melanoma.training import batches, compilation, features
from melanoma.training.averages import AveragedModel
from melanoma.training.callbacks import EpochScores, ProgressBar, StopAtNan
from melanoma.training.recipe import (
    Arrays,
    Recipe,
    require_both_classes,
    require_diagnoses,
    require_holdout,
)


@dataclass(frozen=True)
class Trained:
    """A fitted network.

    Attributes:
        model: Network with the weights of its kept epoch, or their average up to it.
        history: One row per epoch: `epoch` (from 1), `loss`, `accuracy` (on augmented training images),
            `val_loss`, `val_accuracy`, `val_auc_roc`, `val_average_precision`,
            `val_specificity_at_95_sensitivity`, `learning_rate` (at the end of the epoch),
            `duration_seconds` (of the whole epoch), `images_per_second` (of training alone). `val_` is the
            hold-out; without one, there are no such columns. With several classes, `loss` and `accuracy` are
            over the classes; scores on the hold-out compare the probability of positive with the target.
        best_epoch: Row of `history` of the epoch whose weights `model` has: the best, or with
            `keep_epoch: last` the last.
    """

    model: keras.Model
    history: pd.DataFrame
    best_epoch: pd.Series

    @property
    def best_scores(self) -> dict[str, float]:
        """Scores on the hold-out at the kept epoch, by name (`val_…`); empty without a hold-out."""
        scores = self.best_epoch.items()
        return {str(name): float(score) for name, score in scores if str(name).startswith("val_")}


def train(
    arrays: Arrays,
    recipe: Recipe,
    *,
    num_epochs: int,
    seed: int,
    checkpoint: Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Trained:
    """Build and fit one classifier, and return it with the weights of its best or its last epoch.

    `recipe.train.monitor` says which epoch is best; training stops after `patience` epochs without a
    better one. With `keep_epoch: last` neither is read. If the blocks of the network are frozen, only the
    layers after them are trained, see `features`.

    Args:
        arrays: Training and held-out images of both classes; without a hold-out for `keep_epoch: last` only.
        recipe: Training recipe.
        num_epochs: Maximum number of epochs.
        seed: Seed of initial weights, order of images and augmentation.
        checkpoint: File to which the state is written after every epoch. If it holds the state of the same
            training, training resumes from it, or ends at once if it was complete. The caller deletes it
            after the network is saved.
        callbacks: Called with the scores of each epoch (columns of `Trained.history`), except epochs before
            an interruption. They may set `model.stop_training`.

    Raises:
        TrainingError: The training or held-out images lack a class, the loss is not finite, or the settings
            contradict each other.
    """
    require_both_classes(arrays)
    require_holdout(arrays, recipe.hyperparameters)
    if recipe.model.target == "diagnosis":
        require_diagnoses(arrays)
    settings = recipe.train
    if settings.deterministic:
        compilation.make_deterministic()
    keras.backend.clear_session()  # otherwise memory grows with every training (optuna#1178)
    keras.utils.set_random_seed(seed)
    epochs = EpochScores(arrays, recipe, num_epochs=num_epochs, seed=seed, checkpoint=checkpoint)
    with compilation.precision(recipe):
        network = build_model(
            recipe.hyperparameters,
            recipe.model,
            image_size=arrays.train.image_size,
            num_classes=recipe.num_outputs(arrays.train),
        )
        frozen = features.compute(network, arrays, recipe)
        learner = network if frozen is None else frozen.end
        momentum = recipe.hyperparameters.ema
        averaged = AveragedModel(learner, momentum) if momentum else None
        fitted, batched = batches.prepare(
            averaged or learner,
            arrays.train,
            recipe,
            seed=seed,
            first_epoch=epochs.num_done,
            views=None if frozen is None else frozen.views,
        )
        compilation.compile_model(
            fitted,
            recipe,
            num_epochs=num_epochs,
            steps_per_epoch=len(batched),
            num_classes=network.output_shape[-1],
            network=network,
        )
    scored = arrays.holdout if frozen is None else frozen.holdout
    epochs.resume(learner, fitted.optimizer, scored, averaged=averaged)
    if not epochs.is_over:
        progress = ProgressBar(
            f"{network.name} seed {seed}",
            num_epochs=num_epochs,
            num_done=epochs.num_done,
            shown=("loss", settings.monitor, "val_auc_roc"),
        )
        fitted.fit(
            batched,
            initial_epoch=epochs.num_done,
            epochs=num_epochs,
            shuffle=False,  # the batches are already shuffled
            verbose=0,
            callbacks=[StopAtNan(), epochs, progress, *callbacks],
        )
    return Trained(network, epochs.history, epochs.restore_kept())
