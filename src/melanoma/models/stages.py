"""Stages of a network, for freezing them and for learning rates that differ by stage.

A stage is what a network computes at one resolution: the first layer with a stride that makes the picture
smaller than it was before begins the next stage. EfficientNet-Lite and most networks of `keras.applications`
have five, ConvNeXt has four, VGG-16 one for each block. Stages are counted from the input, from 1. The layers
after the pooled features (`head`) are in no stage.
"""

from collections.abc import Iterator

import keras
import numpy as np

from melanoma.errors import TrainingError
from melanoma.models import head


def of_layers(network: keras.Model) -> dict[str, int]:
    """The stage of each layer before the head that has weights to train, by the name of the layer."""
    level, smallest, levels = 0, network.input_shape[1], {}
    for layer in head.before(network):
        side = layer.output.shape[1]
        if _has_stride(layer) and side < smallest:
            level, smallest = level + 1, side
        if layer.weights:
            levels[layer.name] = level
    ranks = {level: stage for stage, level in enumerate(sorted(set(levels.values())), start=1)}
    return {name: ranks[level] for name, level in levels.items()}


def count(network: keras.Model) -> int:
    """Number of stages."""
    return max(of_layers(network).values(), default=0)


def freeze(network: keras.Model, num_stages: int, *, is_for_good: bool = True) -> None:
    """Keep the weights of the first stages.

    Batch normalisation in them uses its running means in training too, and keeps them.

    Args:
        network: Uncompiled network.
        num_stages: How many stages; 0 changes nothing.
        is_for_good: False freezes batch normalisation only: an optimizer that trains the other weights from
            some epoch on (`learning_rates`) needs to know them from the start.

    Raises:
        TrainingError: The network has fewer stages.
    """
    stages = of_layers(network) if num_stages else {}
    if num_stages > max(stages.values(), default=0):
        raise TrainingError(
            f"frozen_stages must be at most {max(stages.values())}, the number of stages of {network.name}, "
            f"got {num_stages}. Lower it in params.yaml."
        )
    for name, stage in stages.items():
        if stage <= num_stages:
            for layer in _flatten(network.get_layer(name)):
                if is_for_good or isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False


def is_frozen(network: keras.Model, num_stages: int) -> bool:
    """Whether `num_stages` are all stages that the network has, and one at least."""
    return 0 < num_stages == count(network)


def learning_rates(network: keras.Model, layer_decay: float) -> dict[str, tuple[int, float]]:
    """Stage and factor of the learning rate of each weight, by its path.

    Args:
        network: Network from `build_model`.
        layer_decay: The head learns with the full rate, the last stage with this fraction of it, and each
            earlier stage with this fraction of the rate of the next one.

    Returns:
        Weights of the head have the stage after the last one.
    """
    stages = of_layers(network)
    after = max(stages.values(), default=0) + 1
    found = {}
    for layer in network.layers:
        stage = stages.get(layer.name, after)
        for weight in layer.weights:
            found[weight.path] = (stage, layer_decay ** (after - stage))
    return found


def _has_stride(layer: keras.Layer) -> bool:
    return any(np.max(getattr(part, "strides", 1)) > 1 for part in _flatten(layer))


def _flatten(layer: keras.Layer) -> Iterator[keras.Layer]:
    """A layer, and those inside it where it is a model, as the downsampling of ConvNeXt."""
    yield layer
    if isinstance(layer, keras.Model):
        for part in layer.layers:
            yield from _flatten(part)
