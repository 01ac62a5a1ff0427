"""The learning rate of every step: a function of the step's number alone, so a resumed run goes on alike."""

import keras

from melanoma.config.training import Train
from melanoma.errors import TrainingError


def learning_rate(
    height: float, settings: Train, *, num_epochs: int, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The schedule of `params.yaml: train` for one training.

    In `warmup_epochs` the rate rises by equal steps, the first of which is not zero. Then it stays, or
    follows half a cosine down to `final_learning_rate_fraction` of `height`, which it reaches at the end of
    the last epoch, whether or not training gets there.

    Args:
        height: The hyperparameter.
        settings: How.
        num_epochs: Of the whole training, also where it is resumed.
        steps_per_epoch: Batches.

    Returns:
        A number, when the rate never changes.

    Raises:
        TrainingError: The warm-up leaves no epoch.
    """
    if settings.warmup_epochs >= num_epochs:
        raise TrainingError(
            f"train.warmup_epochs is {settings.warmup_epochs}, but only {num_epochs} epochs are trained: the "
            "learning rate would never reach its height. Lower it, or raise num_epochs."
        )
    if settings.schedule == "constant" and settings.warmup_epochs == 0:
        return height
    num_warmup_steps = settings.warmup_epochs * steps_per_epoch
    # A cosine that falls to 1 of its height is what remains constant after a warm-up.
    final_fraction = settings.final_learning_rate_fraction if settings.schedule == "cosine" else 1.0
    return keras.optimizers.schedules.CosineDecay(
        height / (num_warmup_steps + 1),
        decay_steps=num_epochs * steps_per_epoch - num_warmup_steps,
        alpha=final_fraction,
        warmup_target=height if num_warmup_steps else None,
        warmup_steps=num_warmup_steps,
    )
