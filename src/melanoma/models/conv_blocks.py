"""The published network: blocks of convolution, ReLU and pooling, then one dense layer.

A block is a 3 x 3 convolution (stride 1, no padding) and 2 x 2 max pooling: 150 -> 148 -> 74 -> 72 ->
36 -> 34 -> 17 for three blocks. The output is the probability that the lesion is malignant.
"""

import keras


def build(*, image_size: int, depth: int, filters: list[int], dense_units: int) -> keras.Model:
    """An uncompiled network.

    Args:
        image_size: Side of the square input in pixels; at least so large that `depth` halvings leave
            one pixel.
        depth: Number of blocks, 1 to 5.
        filters: Channels of each block; the first `depth` are taken.
        dense_units: Width of the dense layer.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255 (scaled to 0..1 inside).

    Output shape:
        `(batch, 1)`, float32, probability that the lesion is malignant.
    """
    if not 1 <= depth <= len(filters):
        raise ValueError(f"depth must lie in 1..{len(filters)} (one entry of filters each), got {depth}")
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    hidden = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
    for block, channels in enumerate(filters[:depth], start=1):
        hidden = keras.layers.Conv2D(channels, 3, activation="relu", name=f"conv_{block}")(hidden)
        hidden = keras.layers.MaxPooling2D(2, name=f"pool_{block}")(hidden)
    hidden = keras.layers.Flatten(name="flatten")(hidden)
    hidden = keras.layers.Dense(dense_units, activation="relu", name="dense")(hidden)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(hidden)
    return keras.Model(inputs, outputs, name=f"conv_blocks_{depth}")
