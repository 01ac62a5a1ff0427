"""How numbers are computed: precision, compilation, repeatability; and what stops when they are none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from melanoma.config.training import Hyperparameters, Train
from melanoma.errors import DivergenceError, TrainingError
from melanoma.training.inputs import has_gpu

XLA_IS_REPEATABLE = "--xla_gpu_deterministic_ops=true"


@contextmanager
def precision(settings: Train) -> Iterator[None]:
    """Networks built inside compute in 16 bits where `mixed_precision` asks for it; weights keep 32.

    On a GPU that is float16, with a scaled loss so that small gradients do not vanish; elsewhere bfloat16,
    which needs none. What is built afterwards is as before.
    """
    before = keras.config.dtype_policy()
    if settings.mixed_precision:
        keras.config.set_dtype_policy("mixed_float16" if has_gpu() else "mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_repeatable(settings: Train) -> None:
    """Let the same seed give the same weights, bit by bit, for the rest of this process.

    Raises:
        TrainingError: This backend cannot, or not with these settings.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow" and not settings.xla:
        import tensorflow as tf  # noqa: PLC0415  # only where it is the backend

        tf.config.experimental.enable_op_determinism()
    elif backend == "tensorflow":
        raise TrainingError(
            "train.deterministic is not to be had together with train.xla on TensorFlow: not all operations "
            "that XLA compiles are repeatable. Set one of them to false."
        )
    elif backend != "jax":
        raise TrainingError(
            f"train.deterministic is known to hold on TensorFlow and on JAX, not on {backend}. Set "
            "KERAS_BACKEND=tensorflow, or train.deterministic: false."
        )
    elif has_gpu() and XLA_IS_REPEATABLE not in os.environ.get("XLA_FLAGS", ""):
        raise TrainingError(
            "train.deterministic needs JAX to be told so before it starts: set the environment variable "
            f"XLA_FLAGS={XLA_IS_REPEATABLE}, or train.deterministic: false."
        )


def compile_model(
    model: keras.Model,
    hyperparameters: Hyperparameters,
    settings: Train,
    *,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    num_classes: int = 1,
) -> None:
    """Compile `model` with optimizer and loss of the recipe and build the optimizer's state.

    The loss is the cross-entropy of the target, or of `num_classes` classes where there are several.
    Weight decay spares biases and batch norm: all variables of fewer than two dimensions.
    """
    decay = hyperparameters.weight_decay or None
    if hyperparameters.optimizer == "adam":
        optimizer = keras.optimizers.Adam(learning_rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(learning_rate, momentum=settings.momentum, weight_decay=decay)
    weights = model.trainable_variables
    optimizer.exclude_from_weight_decay(var_list=[weight for weight in weights if len(weight.shape) < 2])
    if (
        settings.mixed_precision and has_gpu()
    ):  # Keras looks at the outermost model only, which may be float32
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.CategoricalCrossentropy if num_classes > 1 else keras.losses.BinaryCrossentropy
    model.compile(
        optimizer,
        loss(label_smoothing=settings.label_smoothing),
        metrics=["accuracy"],
        jit_compile=_jit_compile(settings),
        auto_scale_loss=False,
    )
    optimizer.build(weights)  # a scaled loss has a state of its own


def _jit_compile(settings: Train) -> bool | str:
    """JAX always compiles: without, it runs operation by operation."""
    return settings.xla if keras.backend.backend() == "tensorflow" else "auto"


class StopAtNan(keras.callbacks.Callback):
    """Ends training with a `DivergenceError` at the batch in which the loss is no longer a number."""

    async_safe = True  # only reads the logs: Keras then need not wait for the loss of each batch

    def __init__(self) -> None:
        """No epoch has begun."""
        super().__init__()
        self._epoch, self._rate = 0, float("nan")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember where we are; the batches are looked at beside the training, which owns the optimizer."""
        self._epoch, self._rate = epoch + 1, float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The loss is a mean over the epoch so far: once no number, it stays so."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise not_a_number(f"The training loss is {loss}", self._epoch, self._rate, batch=batch + 1)


def not_a_number(what: str, epoch: int, rate: float, *, batch: int | None = None) -> DivergenceError:
    """The error for `what`, with where, at which learning rate, and what to do."""
    where = f"epoch {epoch}" + (f", batch {batch}" if batch else "")
    return DivergenceError(
        f"{what} in {where}, at a learning rate of {rate:.3g}: training has blown up. Lower the learning "
        "rate, let it rise slowly (train.warmup_epochs), or switch train.mixed_precision off."
    )
