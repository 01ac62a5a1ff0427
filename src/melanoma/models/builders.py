"""The table of network families. A new family needs a module, a function and a line here."""

from collections.abc import Callable
from pathlib import Path

import keras

from melanoma import fingerprint
from melanoma.config.training import Hyperparameters, Model
from melanoma.models import (
    applications,
    conv_blocks,
    efficientnet_lite,
    efficientnet_lite_weights,
    stages,
    vgg16,
    vgg16_weights,
)


def build_model(
    hyperparameters: Hyperparameters, model: Model, *, image_size: int, num_classes: int = 1
) -> keras.Model:
    """The uncompiled network of these hyperparameters and the settings of `params.yaml: model`.

    Every family takes images `(batch, image_size, image_size, 3)`, uint8 in 0..255, and gives the
    probability `(batch, 1)`, float32, that the lesion is positive; with several classes that of each,
    `(batch, num_classes)`. Its first weights follow from the global seed of Keras.

    Raises:
        ValueError: The family has no such depth, or the image is too small for it.
        TrainingError: The weights to start from cannot be had or do not fit, Keras knows no such network, or
            more stages are to be frozen than the network has.
    """
    network = BUILDERS[hyperparameters.family](hyperparameters, model, image_size, num_classes)
    stages.freeze(
        network,
        hyperparameters.frozen_stages or 0,
        is_for_good=hyperparameters.unfreeze_epoch is None,
    )
    return network


def weights_digest(hyperparameters: Hyperparameters) -> str | None:
    """Hex digest of the file that the weights of the network are read from.

    Returns:
        None where there is none, or where Keras downloads it and checks it itself.
    """
    weights = hyperparameters.weights
    if weights is None:
        return None
    if hyperparameters.family == "vgg16":
        return vgg16_weights.digest(weights)
    if hyperparameters.family == "efficientnet_lite":
        path = efficientnet_lite_weights.find(hyperparameters.network or "", weights)
    else:
        path = Path(weights)
    return fingerprint.sha256_of_file(path) if path.is_file() else None


def _build_conv_blocks(
    hyperparameters: Hyperparameters, model: Model, image_size: int, num_classes: int
) -> keras.Model:
    return conv_blocks.build(
        image_size=image_size,
        depth=hyperparameters.depth or 0,
        filters=[(hyperparameters.filters or 0) * multiple for multiple in model.filter_multiples],
        dense_units=hyperparameters.dense_units,
        dropout=hyperparameters.dropout,
        batch_norm=bool(hyperparameters.batch_norm),
        global_pooling=bool(hyperparameters.global_pooling),
        residual=bool(hyperparameters.residual),
        num_classes=num_classes,
    )


def _build_vgg16(
    hyperparameters: Hyperparameters, _model: Model, image_size: int, num_classes: int
) -> keras.Model:
    return vgg16.build(
        image_size=image_size,
        depth=hyperparameters.depth or 0,
        dense_units=hyperparameters.dense_units,
        dropout=hyperparameters.dropout,
        weights=hyperparameters.weights,
        num_classes=num_classes,
    )


def _build_applications(
    hyperparameters: Hyperparameters, _model: Model, image_size: int, num_classes: int
) -> keras.Model:
    return applications.build(
        network=hyperparameters.network or "",
        image_size=image_size,
        dense_units=hyperparameters.dense_units,
        dropout=hyperparameters.dropout,
        weights=hyperparameters.weights,
        num_classes=num_classes,
    )


def _build_efficientnet_lite(
    hyperparameters: Hyperparameters, _model: Model, image_size: int, num_classes: int
) -> keras.Model:
    return efficientnet_lite.build(
        network=hyperparameters.network or "",
        image_size=image_size,
        dense_units=hyperparameters.dense_units,
        dropout=hyperparameters.dropout,
        drop_connect=hyperparameters.drop_connect or 0.0,
        weights=hyperparameters.weights,
        num_classes=num_classes,
    )


BUILDERS: dict[str, Callable[[Hyperparameters, Model, int, int], keras.Model]] = {
    "conv_blocks": _build_conv_blocks,
    "vgg16": _build_vgg16,
    "efficientnet_lite": _build_efficientnet_lite,
    "applications": _build_applications,
}
