"""Networks of `keras.applications` by name, with images prepared inside as their weights expect it."""

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from melanoma.errors import TrainingError
from melanoma.models import head

IMAGENET = "imagenet"  # Keras downloads it
# Highest momentum of the running means of batch normalisation; MobileNetV3 has 0.999, which a short training
# never outgrows.
MAX_NORM_MOMENTUM = 0.99


def build(
    *,
    network: str,
    image_size: int,
    dense_units: int,
    dropout: float,
    weights: str | None,
    num_classes: int = 1,
) -> keras.Model:
    """An uncompiled network.

    Args:
        network: Name in `keras.applications`, for instance `EfficientNetV2B0`.
        image_size: Side of the square input in pixels; the smallest depends on the network.
        dense_units: Width of the dense layer before the last; 0 for none.
        dropout: Fraction of the inputs of the last layer that training drops, in [0, 1).
        weights: None draws them, `imagenet` lets Keras download them (once, to its own folder in the home),
            anything else is a file that Keras reads as weights of this network without its top.
        num_classes: See `head.classify`.

    Input shape:
        `(batch, image_size, image_size, 3)`, uint8 in 0..255, channels red, green, blue.

    Output shape:
        `(batch, 1)`, float32, probability of positive; with several classes `(batch, num_classes)`.

    Raises:
        TrainingError: Keras knows no such network, it cannot take images of this size, or the weights cannot
            be had or do not fit.
    """
    make = find(network)
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    body = _build_body(make, prepare(inputs, make), image_size, is_download=weights == IMAGENET)
    if weights is not None and weights != IMAGENET:
        _load(body, Path(weights))
    body = _make_exportable(body)
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, MAX_NORM_MOMENTUM)
    outputs = head.classify(
        body.output, dense_units=dense_units, dropout=dropout, global_pooling=True, num_classes=num_classes
    )
    return keras.Model(body.inputs, outputs, name=network.lower())


def find(network: str) -> Callable[..., keras.Model]:
    """The function of Keras that builds the network of this name.

    Raises:
        TrainingError: There is none.
    """
    names = [name for name in dir(keras.applications) if name[0].isupper()]
    if network not in names:
        near = difflib.get_close_matches(network.lower(), [name.lower() for name in names], n=3, cutoff=0.4)
        similar = [name for name in names if name.lower() in near]
        raise TrainingError(
            f"keras.applications has no network {network!r}. Set network (params.yaml: baseline, backbone) "
            "to "
            f"{' or '.join(similar) or 'one of ' + ', '.join(names)}."
        )
    return getattr(keras.applications, network)


def prepare(inputs: Any, make: Callable[..., keras.Model]) -> Any:
    """Pixels 0..255 as the network expects them.

    `preprocess_input` in the module of the network is a scale and an offset for each channel, for some
    networks with red and blue exchanged. Black, red and white pixels tell which. It changes nothing where the
    network itself prepares images.
    """
    preprocess = sys.modules[make.__module__].preprocess_input
    black, red, white = preprocess(np.array([[[0, 0, 0], [255, 0, 0], [255, 255, 255]]], np.float64))[0]
    if red[0] == black[0]:
        inputs = keras.ops.take(inputs, [2, 1, 0], axis=-1)
    scale = (white - black) / 255
    return keras.layers.Rescaling(scale.tolist(), offset=black.tolist(), name="scale")(inputs)


def _build_body(
    make: Callable[..., keras.Model], pixels: Any, image_size: int, *, is_download: bool
) -> keras.Model:
    try:
        return make(
            include_top=False,
            weights=IMAGENET if is_download else None,
            input_shape=(image_size, image_size, 3),
            input_tensor=pixels,
        )
    except ValueError as error:  # of the sizes; not of the weights, which come later
        raise TrainingError(
            f"{make.__name__} cannot take images of {image_size} pixels: {error} Set image_size to another "
            "value."
        ) from error
    except Exception as error:  # Keras raises just that when a download fails
        raise TrainingError(
            f"Keras could not download the weights of {make.__name__} ({error}). Check the network "
            "connection, or give a weights file in params.yaml: weights of baseline or backbone."
        ) from error


def _load(body: keras.Model, path: Path) -> None:
    fix = "Set weights (params.yaml: baseline, backbone) to another file, imagenet or null."
    if not path.is_file():
        raise TrainingError(f"{path} does not exist. {fix}")
    try:
        body.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{path} has no weights of {body.name} without its top: {str(error).splitlines()[0]} {fix}"
        ) from error


def _make_exportable(body: keras.Model) -> keras.Model:
    """The same network without the three layers that ONNX does not take as Keras writes them.

    The constants of Normalization would become inputs of the exported model. A grouped convolution would
    become a function that only TensorFlow runs; one with a group for each channel is a depthwise one. GELU
    would be written with the complement of the error function, which ONNX lacks.
    """
    if not any(_exportable(layer) is not layer for layer in body.layers):
        return body
    clone = keras.models.clone_model(body, clone_function=_exportable_copy)
    for layer, copy in zip(body.layers, clone.layers, strict=True):
        if isinstance(copy, keras.layers.DepthwiseConv2D) and not isinstance(layer, type(copy)):
            kernel, *bias = layer.get_weights()
            copy.set_weights([kernel.transpose(0, 1, 3, 2), *bias])
        elif copy.weights:
            copy.set_weights(layer.get_weights())
    return clone


def _exportable_copy(layer: keras.Layer) -> keras.Layer:
    found = _exportable(layer)
    return type(layer).from_config(layer.get_config()) if found is layer else found


def _exportable(layer: keras.Layer) -> keras.Layer:
    """The layer itself, or a new one that computes the same."""
    if isinstance(layer, keras.layers.Normalization):
        mean, scale = np.array(layer.input_mean), 1 / np.sqrt(np.array(layer.input_variance))
        return keras.layers.Rescaling(scale.tolist(), offset=(-mean * scale).tolist(), name=layer.name)
    if isinstance(layer, keras.layers.Conv2D) and layer.groups == layer.filters > 1:
        return keras.layers.DepthwiseConv2D(
            layer.kernel_size,
            layer.strides,
            padding=layer.padding,
            use_bias=layer.use_bias,
            depthwise_initializer=layer.kernel_initializer,
            name=layer.name,
        )
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.gelu:
        pixels = keras.Input(layer.input.shape[1:])
        return keras.Model(pixels, 0.5 * pixels * (1 + keras.ops.erf(pixels / 2**0.5)), name=layer.name)
    return layer
