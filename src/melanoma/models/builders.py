"""The table of network families; add a module, a function that hands it its parameters, and a line here."""

from collections.abc import Callable

import keras

from melanoma.models import conv_blocks, vgg16
from melanoma.training_sections import Hyperparameters, Model


def build_model(hyperparameters: Hyperparameters, model: Model, *, image_size: int) -> keras.Model:
    """The uncompiled network of these hyperparameters and the settings of `params.yaml: model`.

    Every family takes images `(batch, image_size, image_size, 3)`, uint8 in 0..255, and gives the
    probability `(batch, 1)`, float32, that the lesion is malignant. Its first weights follow from the
    global seed of Keras.

    Raises:
        ValueError: The family has no such depth, or the image is too small for it.
        TrainingError: The weights to start from cannot be had or do not fit.
    """
    return BUILDERS[hyperparameters.family](hyperparameters, model, image_size)


def _build_conv_blocks(hyperparameters: Hyperparameters, model: Model, image_size: int) -> keras.Model:
    return conv_blocks.build(
        image_size=image_size,
        depth=hyperparameters.depth,
        filters=[(hyperparameters.filters or 0) * multiple for multiple in model.filter_multiples],
        dense_units=hyperparameters.dense_units,
        dropout=hyperparameters.dropout,
        batch_norm=bool(hyperparameters.batch_norm),
        global_pooling=bool(hyperparameters.global_pooling),
        residual=bool(hyperparameters.residual),
    )


def _build_vgg16(hyperparameters: Hyperparameters, model: Model, image_size: int) -> keras.Model:
    return vgg16.build(
        image_size=image_size,
        depth=hyperparameters.depth,
        dense_units=hyperparameters.dense_units,
        dropout=hyperparameters.dropout,
        weights=model.weights,
        freeze=model.freeze,
    )


BUILDERS: dict[str, Callable[[Hyperparameters, Model, int], keras.Model]] = {
    "conv_blocks": _build_conv_blocks,
    "vgg16": _build_vgg16,
}
