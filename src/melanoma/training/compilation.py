"""How a network is compiled: precision, determinism, optimizer, learning rate and loss."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from melanoma.config.training import Hyperparameters
from melanoma.errors import TrainingError
from melanoma.models import stages
from melanoma.training import optimizers
from melanoma.training.backend import has_bfloat16, has_gpu
from melanoma.training.recipe import Recipe

XLA_IS_REPEATABLE = "--xla_gpu_deterministic_ops=true"
# Images per second in 16 bits relative to 32, by family and device: `make bench-train`, on a processor with
# instructions for bfloat16. A depthwise convolution has none, so EfficientNet loses what its others gain.
SPEED_OF_16_BITS = {
    ("conv_blocks", "tensorflow", "cpu"): 1.7,
    ("efficientnet_lite", "tensorflow", "cpu"): 0.7,
}


def is_mixed(recipe: Recipe) -> bool:
    """Whether the network of a recipe computes in 16 bits on this machine.

    `train.mixed_precision: auto` does so where it was measured to be faster, see `SPEED_OF_16_BITS`; what was
    not measured stays at 32 bits. It depends on family, backend and processor alone, so that an interrupted
    training resumes with the same precision.
    """
    if recipe.train.mixed_precision != "auto":
        return recipe.train.mixed_precision
    device = "gpu" if has_gpu() else "cpu"
    if device == "cpu" and not has_bfloat16():
        return False
    measured = (recipe.hyperparameters.family, keras.backend.backend(), device)
    return SPEED_OF_16_BITS.get(measured, 1.0) > 1


def precision_name(recipe: Recipe) -> str:
    """The dtype policy of Keras that the network of a recipe has on this machine."""
    if not is_mixed(recipe):
        return "float32"
    return "mixed_float16" if has_gpu() else "mixed_bfloat16"


@contextmanager
def precision(recipe: Recipe) -> Iterator[None]:
    """Networks built inside have the precision of a recipe; their weights keep 32 bits.

    16 bits are float16 on a GPU, with a scaled loss so that small gradients do not vanish; elsewhere
    bfloat16, which needs none. The former policy is restored afterwards.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision_name(recipe))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_deterministic() -> None:
    """Make the same seed give the same weights, bit by bit, for the rest of this process.

    Raises:
        TrainingError: The backend cannot, or JAX was not told so before it started.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415  # only where it is the backend

        tf.config.experimental.enable_op_determinism()
    elif backend != "jax":
        raise TrainingError(
            f"train.deterministic is supported on TensorFlow and JAX, not on {backend}. Set "
            "KERAS_BACKEND=tensorflow, or train.deterministic: false."
        )
    elif has_gpu() and XLA_IS_REPEATABLE not in os.environ.get("XLA_FLAGS", ""):
        raise TrainingError(
            f"train.deterministic requires the environment variable XLA_FLAGS={XLA_IS_REPEATABLE} before "
            "JAX starts. Set it, or set train.deterministic: false."
        )


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    *,
    num_epochs: int,
    steps_per_epoch: int,
    num_classes: int = 1,
    network: keras.Model | None = None,
) -> None:
    """Compile `model` with optimizer and loss of the recipe and build the optimizer's state.

    Weight decay spares biases and batch normalisation: all variables of fewer than two dimensions. With
    `layer_decay` or `unfreeze_epoch` the learning rate differs by stage.

    Args:
        model: Network, built, or a model around it or around its end.
        recipe: Training recipe.
        num_epochs: Maximum number of epochs, also of a resumed training.
        steps_per_epoch: Number of batches per epoch.
        num_classes: 1 for the cross-entropy of the target; else the number of classes.
        network: The network itself, where `model` is another.

    Raises:
        TrainingError: The warm-up leaves no epoch.
    """
    hyperparameters = recipe.hyperparameters
    learning_rate = learning_rate_schedule(recipe, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch)
    weights = model.trainable_variables
    rates = _rates(network or model, weights, hyperparameters, steps_per_epoch)
    optimizer = _optimizer(recipe, learning_rate, rates)
    optimizer.exclude_from_weight_decay(var_list=[weight for weight in weights if len(weight.shape) < 2])
    if is_mixed(recipe) and has_gpu():
        # Keras would look at the outermost model only, which may be float32.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.CategoricalCrossentropy if num_classes > 1 else keras.losses.BinaryCrossentropy
    model.compile(
        optimizer,
        loss(label_smoothing=hyperparameters.label_smoothing),
        metrics=["accuracy"],
        # XLA makes steps slower on CPUs. JAX always compiles: without, it runs operation by operation.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
        auto_scale_loss=False,
    )
    optimizer.build(weights)  # a scaled loss has a state of its own


def _optimizer(
    recipe: Recipe, learning_rate: Any, rates: list[optimizers.Rate]
) -> keras.optimizers.Optimizer:
    """The one of Keras itself where all weights have its learning rate."""
    options: dict[str, Any] = {"weight_decay": recipe.hyperparameters.weight_decay or None}
    source: Any = keras.optimizers
    if any(rate != (1.0, 0) for rate in rates):
        source, options["rates"] = optimizers, rates
    if recipe.hyperparameters.optimizer == "adam":
        return source.Adam(learning_rate, **options)
    return source.SGD(learning_rate, momentum=recipe.train.momentum, **options)


def _rates(
    network: keras.Model, weights: list[Any], hyperparameters: Hyperparameters, steps_per_epoch: int
) -> list[optimizers.Rate]:
    """How the learning rate of each weight follows that of the optimizer."""
    decay, unfreeze_epoch = hyperparameters.layer_decay or 1.0, hyperparameters.unfreeze_epoch
    if decay == 1 and unfreeze_epoch is None:
        return []
    first_step = ((unfreeze_epoch or 1) - 1) * steps_per_epoch
    found = stages.learning_rates(network, decay)
    frozen = hyperparameters.frozen_stages or 0
    return [
        optimizers.Rate(factor, first_step if stage <= frozen else 0)
        for stage, factor in (found[weight.path] for weight in weights)
    ]


def learning_rate_schedule(
    recipe: Recipe, *, num_epochs: int, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of every step: a function of the step's number alone, so that training can resume.

    In `warmup_epochs` the rate rises by equal steps, the first of which is not zero, to the recipe's learning
    rate. Then it stays, or follows half a cosine down to `final_learning_rate_fraction` of it, which it
    reaches at the end of epoch `num_epochs`, whether or not training gets there.

    Returns:
        A number where the rate never changes.

    Raises:
        TrainingError: The warm-up leaves no epoch.
    """
    settings, peak_learning_rate = recipe.hyperparameters, recipe.hyperparameters.learning_rate
    if settings.warmup_epochs >= num_epochs:
        raise TrainingError(
            "warmup_epochs must be less than the number of epochs, or the learning rate never reaches "
            f"its peak; got {settings.warmup_epochs} and {num_epochs}. Lower it, or raise num_epochs."
        )
    if settings.schedule == "constant" and settings.warmup_epochs == 0:
        return peak_learning_rate
    num_warmup_steps = settings.warmup_epochs * steps_per_epoch
    return keras.optimizers.schedules.CosineDecay(
        peak_learning_rate / (num_warmup_steps + 1),
        decay_steps=num_epochs * steps_per_epoch - num_warmup_steps,
        # After a warm-up, a constant rate is a cosine that falls to 1 of its peak.
        alpha=settings.final_learning_rate_fraction if settings.schedule == "cosine" else 1.0,
        warmup_target=peak_learning_rate if num_warmup_steps else None,
        warmup_steps=num_warmup_steps,
    )
