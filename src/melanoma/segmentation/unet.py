"""A small U-Net (Ronneberger et al., MICCAI 2015): down by pooling, up again, with shortcuts between.

Unlike the published one it pads, so that picture and mask have one size, and normalises batches, without
which so small a network learns slowly from a few hundred masks.
"""

from typing import Any

import keras

NORM_MOMENTUM = 0.9  # of the running means; an epoch of a small cohort has few steps


def build(*, image_size: int, depth: int, filters: int) -> keras.Model:
    """An uncompiled network.

    Args:
        image_size: Side of the square input in pixels, a multiple of 2 to the power of `depth`.
        depth: Number of times that the picture is halved.
        filters: Channels at the full size; each halving doubles them.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255 (scaled to 0..1 inside).

    Output shape:
        `(batch, image_size, image_size, 1)`, float32, probability that a pixel is lesion.

    Raises:
        ValueError: The size cannot be halved so often.
    """
    if image_size % 2**depth:
        raise ValueError(
            f"image_size must be a multiple of {2**depth} to be halved {depth} times, got {image_size}"
        )
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    hidden = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
    shortcuts = []
    for level in range(depth):
        hidden = _convolve_twice(hidden, filters * 2**level, f"down_{level}")
        shortcuts.append(hidden)
        hidden = keras.layers.MaxPooling2D(2, name=f"pool_{level}")(hidden)
    hidden = _convolve_twice(hidden, filters * 2**depth, "bottom")
    for level in reversed(range(depth)):
        hidden = keras.layers.UpSampling2D(2, name=f"grow_{level}")(hidden)
        hidden = keras.layers.Concatenate(name=f"join_{level}")([hidden, shortcuts[level]])
        hidden = _convolve_twice(hidden, filters * 2**level, f"up_{level}")
    outputs = keras.layers.Conv2D(1, 1, activation="sigmoid", name="lesion")(hidden)
    return keras.Model(inputs, outputs, name=f"unet_{depth}")


def _convolve_twice(hidden: Any, channels: int, name: str) -> Any:
    for turn in ("a", "b"):
        hidden = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}{turn}")(
            hidden
        )
        hidden = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}{turn}_norm")(hidden)
        hidden = keras.layers.ReLU(name=f"{name}{turn}_relu")(hidden)
    return hidden
