"""EfficientNet-Lite (Tan and Le, 2019; the variants without squeeze-and-excitation, with ReLU6).

The networks are those of the published weights: stem and head keep their width, the first and the last group
of blocks their number. Images are scaled inside as these weights expect it.
"""

import math
from typing import Any

import keras
import numpy as np

from melanoma.models import efficientnet_lite_weights, head

NETWORKS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}  # factors of width and depth
# Groups of blocks: kernel, number of blocks, channels, expansion, stride of the first block.
GROUPS = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
NORM = {"epsilon": 1e-3, "momentum": 0.99}
MIN_IMAGE_SIZE = 32  # five halvings


def build(
    *,
    network: str,
    image_size: int,
    dense_units: int,
    dropout: float,
    drop_connect: float,
    weights: str | None,
    num_classes: int = 1,
) -> keras.Model:
    """An uncompiled network.

    Args:
        network: `lite0`, `lite1` or `lite2`.
        image_size: Side of the square input in pixels, at least 32.
        dense_units: Width of the dense layer before the last; 0 for none.
        dropout: Fraction of the last features that training drops, in [0, 1).
        drop_connect: Probability that training skips the last block with a shortcut, in [0, 1); that of
            earlier blocks rises linearly from 0 (Huang et al., 2016).
        weights: None draws them, `imagenet` takes those of the network's package, anything else is a file
            with the same content.
        num_classes: See `head.classify`.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255, channels red, green, blue.

    Output shape:
        `(batch, 1)`, float32, probability of positive; with several classes `(batch, num_classes)`.

    Raises:
        ValueError: No such network, or the image is too small.
        TrainingError: The weights cannot be had or do not fit.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {sorted(NETWORKS)} for efficientnet_lite, got {network!r}")
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(f"image_size must be at least {MIN_IMAGE_SIZE} for {network}, got {image_size}")
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    hidden = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(inputs)
    hidden = _convolve(hidden, "stem", STEM_CHANNELS, kernel=3, stride=2)
    for block in _blocks(*NETWORKS[network], drop_connect):
        hidden = _bottleneck(hidden, **block)
    hidden = _convolve(hidden, "head", HEAD_CHANNELS, kernel=1)
    outputs = head.classify(
        hidden, dense_units=dense_units, dropout=dropout, global_pooling=True, num_classes=num_classes
    )
    model = keras.Model(inputs, outputs, name=f"efficientnet_{network}")
    if weights is not None:
        _load(model, efficientnet_lite_weights.read(network, weights))
    return model


def _blocks(width: float, depth: float, drop_connect: float) -> list[dict[str, Any]]:
    """The arguments of `_bottleneck` for every block."""
    blocks = [
        {
            "name": f"group{number}_block{repeat + 1}",
            "kernel": kernel,
            "channels": _scaled(channels, width),
            "expansion": expansion,
            "stride": stride if repeat == 0 else 1,
        }
        for number, (kernel, repeats, channels, expansion, stride) in enumerate(GROUPS, start=1)
        for repeat in range(repeats if number in (1, len(GROUPS)) else math.ceil(repeats * depth))
    ]
    rates = np.linspace(0, drop_connect, len(blocks))
    return [block | {"drop_connect": float(rate)} for block, rate in zip(blocks, rates, strict=True)]


def _scaled(channels: int, width: float) -> int:
    """Channels times width, as a multiple of 8 that is at most a tenth smaller."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _bottleneck(
    hidden: Any, *, name: str, kernel: int, channels: int, expansion: int, stride: int, drop_connect: float
) -> Any:
    """An inverted residual block (Sandler et al., 2018), with a shortcut where shapes allow."""
    before, width = hidden, int(hidden.shape[-1])
    if expansion > 1:
        hidden = _convolve(hidden, f"{name}_expand", width * expansion, kernel=1)
    hidden = keras.layers.DepthwiseConv2D(
        kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}_depthwise_conv",
    )(hidden)
    hidden = _normalize(hidden, f"{name}_depthwise")
    hidden = _convolve(hidden, f"{name}_project", channels, kernel=1, is_linear=True)
    if stride > 1 or channels != width:
        return hidden
    if drop_connect:
        shape = (None, 1, 1, 1)
        hidden = keras.layers.Dropout(drop_connect, noise_shape=shape, name=f"{name}_drop")(hidden)
    return keras.layers.Add(name=f"{name}_add")([before, hidden])


def _convolve(
    hidden: Any, name: str, channels: int, *, kernel: int, stride: int = 1, is_linear: bool = False
) -> Any:
    hidden = keras.layers.Conv2D(
        channels,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=f"{name}_conv",
    )(hidden)
    return _normalize(hidden, name, is_linear=is_linear)


def _initializer() -> keras.initializers.Initializer:
    """Draws weights as the authors do."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def _normalize(hidden: Any, name: str, *, is_linear: bool = False) -> Any:
    hidden = keras.layers.BatchNormalization(**NORM, name=f"{name}_norm")(hidden)
    return hidden if is_linear else keras.layers.ReLU(6.0, name=f"{name}_relu")(hidden)


def _load(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Set all weights before the head; `arrays` counts the blocks of all groups together."""
    blocks = list(dict.fromkeys(_block_of(layer.name) for layer in model.layers if "_block" in layer.name))
    for layer in model.layers:
        if layer.name.endswith(("_conv", "_norm")):
            layer.set_weights(_weights_of(layer, arrays, _source(layer.name, blocks)))


def _block_of(name: str) -> str:
    return "_".join(name.split("_")[:2])


def _source(name: str, blocks: list[str]) -> str:
    """What the published file calls a layer: `group2_block1_expand_norm` is `_blocks.1._bn0`."""
    if "_block" not in name:
        return {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "head_conv": "_conv_head"}.get(name, "_bn1")
    part, kind = name.split("_")[2:]
    norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[part]
    return f"_blocks.{blocks.index(_block_of(name))}.{f'_{part}_conv' if kind == 'conv' else norm}"


def _weights_of(layer: Any, arrays: dict[str, np.ndarray], source: str) -> list[np.ndarray]:
    if isinstance(layer, keras.layers.BatchNormalization):
        return [arrays[f"{source}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")]
    kernel = arrays[f"{source}.weight"]
    # (out, in, height, width); a depthwise convolution has one input a channel.
    order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [kernel.transpose(order)]
