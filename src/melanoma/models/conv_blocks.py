"""The published network: blocks of convolution, ReLU and pooling, then one dense layer.

A block is a 3 x 3 convolution (stride 1, no padding) and 2 x 2 max pooling: 150 -> 148 -> 74 -> 72 ->
36 -> 34 -> 17 for three blocks. The output is the probability that the lesion is positive.

What the paper does not have is off in the baseline: batch normalisation, residual blocks, global pooling,
dropout. Weight decay and label smoothing are no part of a network; they stand in the optimizer and the
loss it is fitted with.
"""

from typing import Any

import keras

from melanoma.models import head

# Momentum of the running means. The default of Keras, 0.99, forgets the first ones only after hundreds of
# steps, and an epoch of a small cohort has five.
NORM_MOMENTUM = 0.9


def build(
    *,
    image_size: int,
    depth: int,
    filters: list[int],
    dense_units: int,
    dropout: float,
    batch_norm: bool,
    global_pooling: bool,
    residual: bool,
    num_classes: int = 1,
) -> keras.Model:
    """An uncompiled network.

    Args:
        image_size: Side of the square input in pixels; at least so large that `depth` halvings leave
            one pixel.
        depth: Number of blocks, 1 to 5.
        filters: Channels of each block; the first `depth` are taken.
        dense_units: Width of the dense layer.
        dropout: Fraction of the dense layer's outputs that training drops, in [0, 1).
        batch_norm: Normalise after each convolution, which then needs no bias.
        global_pooling: Average each channel over the last picture, instead of flattening it.
        residual: Add a shortcut around each convolution (He et al., 2016), before its ReLU.
        num_classes: See `head.classify`.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255 (scaled to 0..1 inside).

    Output shape:
        `(batch, 1)`, float32 in mixed precision too, probability that the lesion is positive; with several
        classes `(batch, num_classes)`.

    Raises:
        ValueError: No such depth, or no pixel is left after so many blocks.
    """
    if not 1 <= depth <= len(filters):
        raise ValueError(f"depth must be between 1 and {len(filters)} (the number of filters), got {depth}")
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    hidden = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
    for block, channels in enumerate(filters[:depth], start=1):
        hidden = _convolve(hidden, block, channels, batch_norm=batch_norm, residual=residual)
        hidden = keras.layers.MaxPooling2D(2, name=f"pool_{block}")(hidden)
    outputs = head.classify(
        hidden,
        dense_units=dense_units,
        dropout=dropout,
        global_pooling=global_pooling,
        num_classes=num_classes,
    )
    return keras.Model(inputs, outputs, name=f"conv_blocks_{depth}")


def _convolve(hidden: Any, block: int, channels: int, *, batch_norm: bool, residual: bool) -> Any:
    """Convolution and ReLU; one layer where nothing comes between them, as in networks saved earlier."""
    if not (batch_norm or residual):
        return keras.layers.Conv2D(channels, 3, activation="relu", name=f"conv_{block}")(hidden)
    convolved = keras.layers.Conv2D(channels, 3, use_bias=not batch_norm, name=f"conv_{block}")(hidden)
    if batch_norm:
        convolved = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"norm_{block}")(convolved)
    if residual:
        shortcut = _shortcut(hidden, block, channels)
        convolved = keras.layers.Add(name=f"add_{block}")([convolved, shortcut])
    return keras.layers.ReLU(name=f"relu_{block}")(convolved)


def _shortcut(hidden: Any, block: int, channels: int) -> Any:
    """What goes around a convolution, in the shape of what comes out of it.

    Without padding it loses a border of one pixel, which is cut off here; and where the number of channels
    changes, a 1 x 1 convolution changes it here too.
    """
    num_channels = hidden.shape[-1]
    hidden = keras.layers.Cropping2D(1, name=f"crop_{block}")(hidden)
    if num_channels == channels:
        return hidden
    return keras.layers.Conv2D(channels, 1, use_bias=False, name=f"project_{block}")(hidden)
