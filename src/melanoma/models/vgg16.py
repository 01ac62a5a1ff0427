"""VGG-16 (Simonyan and Zisserman, 2015), with which the paper compares its network.

The convolutional blocks are those of `keras.applications`, the end is that of the other families. Images
are prepared inside as the published weights expect it: channels blue, green, red, less their means. What the
blocks give is standardized, image by image: with the published weights it is in the tens, and the sigmoid
would begin so far out that the loss has no gradient.
"""

from pathlib import Path
from typing import Any

import keras

from melanoma.errors import TrainingError
from melanoma.models import head, vgg16_weights

# Of ImageNet, in 0..255, blue first; `keras.applications.vgg16.preprocess_input` subtracts the same.
CHANNEL_MEANS = (103.939, 116.779, 123.68)
IMAGENET = "imagenet"
NUM_BLOCKS = len(vgg16_weights.NUM_CONVOLUTIONS)


def build(
    *,
    image_size: int,
    depth: int,
    dense_units: int,
    dropout: float,
    global_pooling: bool,
    weights: str | None,
    freeze: bool,
    num_classes: int = 1,
) -> keras.Model:
    """An uncompiled network.

    Args:
        image_size: Side of the square input in pixels, at least 32.
        depth: Number of its blocks that are kept, 1 to 5; each halves the side, padding keeps the rest.
        dense_units: Width of the dense layer.
        dropout: Fraction of the dense layer's outputs that training drops, in [0, 1).
        global_pooling: Average each channel over the last picture, instead of flattening it.
        weights: Of the blocks. None draws them, `imagenet` lets Keras download them (once, to its own
            folder in the home), anything else names a file (see `vgg16_weights.load`).
        freeze: Training leaves the blocks as they are.
        num_classes: See `head.classify`.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255, channels red, green, blue.

    Output shape:
        `(batch, 1)`, float32, probability that the lesion is malignant; with several classes
        `(batch, num_classes)`.

    Raises:
        ValueError: No such depth, or the image is too small.
        TrainingError: The weights cannot be had or do not fit.
    """
    if not 1 <= depth <= NUM_BLOCKS:
        raise ValueError(f"depth must lie in 1..{NUM_BLOCKS}, got {depth}")
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    flipped = keras.ops.take(inputs, [2, 1, 0], axis=-1)
    centred = keras.layers.Rescaling(1.0, offset=[-mean for mean in CHANNEL_MEANS], name="centre")(flipped)
    blocks = _build_blocks(centred, weights, depth)
    for layer in blocks.layers:
        layer.trainable = not freeze
    features = blocks.get_layer(f"block{depth}_pool").output
    standardized = keras.layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, name="standardize"
    )(features)
    outputs = head.classify(
        standardized,
        dense_units=dense_units,
        dropout=dropout,
        global_pooling=global_pooling,
        num_classes=num_classes,
    )
    return keras.Model(inputs, outputs, name=f"vgg16_{depth}")


def _build_blocks(pixels: Any, weights: str | None, depth: int) -> keras.Model:
    """All five blocks on top of `pixels`; at least the first `depth` with the wanted weights."""
    if weights == IMAGENET:
        return _download_blocks(pixels)
    blocks = keras.applications.VGG16(include_top=False, weights=None, input_tensor=pixels)
    if weights is not None:
        vgg16_weights.load(blocks, Path(weights), num_blocks=depth)
    return blocks


def _download_blocks(pixels: Any) -> keras.Model:
    try:
        return keras.applications.VGG16(include_top=False, weights=IMAGENET, input_tensor=pixels)
    except Exception as error:  # Keras raises just that when a download fails
        raise TrainingError(
            f"Keras could not get the weights of VGG-16 ({error}). Try again with a network, or give a file "
            "with them in params.yaml: model.weights."
        ) from error
