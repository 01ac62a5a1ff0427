"""Fit one network: the seam between data and Keras that search and the train stage share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight
from tqdm import tqdm

from melanoma.errors import TrainingError
from melanoma.models.builders import BUILDERS
from melanoma.sections import Augment, Model
from melanoma.training.batches import TrainingBatches

OBJECTIVE = "val_auc_roc"


@dataclass(frozen=True)
class Arrays:
    """Training and validation images `(n, size, size, 3)` uint8 and targets `(n,)` float32."""

    train_images: np.ndarray
    train_targets: np.ndarray
    validation_images: np.ndarray
    validation_targets: np.ndarray


@dataclass(frozen=True)
class FitSettings:
    """How one network is fitted."""

    num_epochs: int
    batch_size: int
    balance_classes: bool
    monitor: str
    patience: int
    seed: int


def build_model(model: Model, *, image_size: int, depth: int) -> keras.Model:
    """The network of `params.yaml: model` with `depth` blocks."""
    return BUILDERS[model.family](
        image_size=image_size, depth=depth, filters=model.filters, dense_units=model.dense_units
    )


def fit(
    model: keras.Model,
    arrays: Arrays,
    settings: FitSettings,
    *,
    learning_rate: float,
    augment: Augment,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> pd.DataFrame:
    """Train `model` in place with Adam and leave it with the weights of its best epoch.

    `settings.monitor` says which epoch is best; training stops after `patience` epochs without a
    better one.

    Args:
        model: Uncompiled.
        arrays: Both splits with both classes.
        settings: Amounts of work, and the seed of order and augmentation.
        learning_rate: Of Adam, constant.
        augment: Of training images.
        callbacks: See the scores of each epoch: `loss`, `accuracy` (on augmented training images),
            `val_loss`, `val_accuracy`, `val_auc_roc`; with `balance_classes`, both classes weigh the
            same in the first two of validation.

    Returns:
        One row an epoch: `epoch` (from 1) and those scores.

    Raises:
        TrainingError: A split lacks a class, or the loss is no longer a number.
    """
    _require_both_classes(arrays)
    model.compile(keras.optimizers.Adam(learning_rate), "binary_crossentropy", metrics=["accuracy"])
    batches = TrainingBatches(
        arrays.train_images,
        arrays.train_targets,
        batch_size=settings.batch_size,
        balance_classes=settings.balance_classes,
        amounts=augment,
        seed=settings.seed,
    )
    history = model.fit(
        batches,
        epochs=settings.num_epochs,
        verbose=0,
        callbacks=[
            _ValidationScores(arrays.validation_images, arrays.validation_targets, settings.balance_classes),
            keras.callbacks.EarlyStopping(
                settings.monitor,
                mode=_direction(settings.monitor),
                patience=settings.patience,
                restore_best_weights=True,
            ),
            _Progress(model.name, settings.num_epochs),
            *callbacks,
        ],
    )
    epochs = [epoch + 1 for epoch in history.epoch]
    return pd.DataFrame({"epoch": epochs, **history.history})


def _direction(monitor: str) -> str:
    return "min" if monitor == "val_loss" else "max"


def best_epoch(history: pd.DataFrame, monitor: str) -> pd.Series:
    """The row of `history` whose weights `fit` kept; the first of equals."""
    scores = history[monitor].to_numpy()
    return history.iloc[int(scores.argmin() if _direction(monitor) == "min" else scores.argmax())]


def _require_both_classes(arrays: Arrays) -> None:
    for split, targets in (
        ("train", arrays.train_targets),
        ("validation", arrays.validation_targets),
    ):
        if len(np.unique(targets)) < 2:
            raise TrainingError(
                f"The {split} split has {len(targets)} images of one class or none; training and "
                "its AUC need benign and malignant ones. Check data/splits and add images."
            )


def predict(model: keras.Model, images: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """Probabilities `(n,)` of `(n, size, size, 3)` uint8 images.

    Batch by batch, because `keras.Model.predict` sets up a data pipeline at every call (57 ms).
    """
    starts = range(0, len(images), batch_size)
    parts = [model.predict_on_batch(images[start : start + batch_size]) for start in starts]
    return np.concatenate(parts).ravel().astype(np.float64)


class _ValidationScores(keras.callbacks.Callback):
    """Adds val_loss, val_accuracy and the exact val_auc_roc to the scores of each epoch.

    Where training draws both classes equally often, they weigh equally in loss and accuracy here too.
    Else the loss would be lowest while the network still calls everything benign, as most images are.
    """

    def __init__(self, images: np.ndarray, targets: np.ndarray, balance_classes: bool) -> None:
        super().__init__()
        self._images, self._targets = images, targets
        self._weights = compute_sample_weight("balanced" if balance_classes else None, targets)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        if not np.isfinite(logs["loss"]):
            raise TrainingError(
                f"The training loss is {logs['loss']} in epoch {epoch + 1}; lower the learning rate."
            )
        probability = predict(self.model, self._images)
        called, weights = probability >= 0.5, self._weights
        logs["val_loss"] = float(log_loss(self._targets, probability, sample_weight=weights))
        logs["val_accuracy"] = float(accuracy_score(self._targets, called, sample_weight=weights))
        logs[OBJECTIVE] = float(roc_auc_score(self._targets, probability))


class _Progress(keras.callbacks.Callback):
    """A bar over epochs with the last scores."""

    def __init__(self, name: str, num_epochs: int) -> None:
        super().__init__()
        self._name, self._num_epochs = name, num_epochs

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._bar = tqdm(total=self._num_epochs, desc=self._name, unit="epoch", disable=None)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        scores = {key: f"{(logs or {})[key]:.3f}" for key in ("loss", OBJECTIVE)}
        self._bar.set_postfix(scores)
        self._bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._bar.close()


def save_model(model: keras.Model, folder: Path) -> None:
    """Write `model.keras` and `model.onnx` (input `image` uint8, output probabilities) to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    model.predict_on_batch(np.zeros((1, *model.input_shape[1:]), np.uint8))  # export needs one call
    model.export(folder / "model.onnx", format="onnx", verbose=False)
