"""Write fitted networks to files: `.keras` for further training, ONNX for serving.

Both hold only the networks, in float32 and without training state, and load on every backend.

The mean of the logits of several networks is computed inside one ONNX file, not by one session per network.
One file has one digest, so that what was evaluated is what is served, and an ensemble needs no code of its
own in evaluation and server. One session has one memory arena, which two networks share because they run one
after the other, and one pool of threads: two sessions would hold two of each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from melanoma import files
from melanoma.errors import TrainingError
from melanoma.models import head
from melanoma.schema import CLASSES, MELANOMA
from melanoma.training import onnx_export

SCORE, DIAGNOSIS, FEATURES = "score", "diagnosis", "features"  # outputs of model.onnx


def save_model(
    networks: Sequence[keras.Model],
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    positive: Sequence[str] = (MELANOMA,),
    images: np.ndarray | None = None,
) -> None:
    """Write `model.keras` and `model.onnx` of one network, or of the mean of several.

    The probabilities of several networks are the sigmoid, or the softmax, of the mean of their logits.
    `model.keras` is the only network, or all of them with this mean. `model.onnx` takes `image`,
    `(n, size, size, 3)`, uint8, and gives, in float32,

    * `score`, `(n, 1)`: the probability that the lesion is positive;
    * `diagnosis`, `(n, num_classes)`, from networks of several classes only: the probability of each;
    * `features`, `(n, num_features)`: what the head of the first network takes, averaged over the picture.

    A network trained in mixed precision is written with its float32 weights and then computes in float32; its
    answers differ from those in training by the rounding to 16 bits.

    Args:
        networks: At least one network of `models.builders`, all of one image size and number of outputs.
        folder: Output folder.
        classes: Names of the outputs of networks of several classes; stored in `model.onnx`.
        positive: Those of `classes` whose probabilities add to the score.
        images: Images `(n, size, size, 3)`, uint8, for instance of the training set. `model.onnx` stores
            weights as float16, half as large, if no probability of these images changes by more than 0.001;
            it computes in float32 in any case. Without images, weights stay float32.

    Raises:
        TrainingError: The networks do not fit together or do not have these classes, or the ONNX export
            failed, or needs TensorFlow, which is not installed.
    """
    num_outputs = _require_alike(networks, classes, positive)
    plain = [_in_float32(network) for network in networks]
    image, probabilities, features = _join(plain)
    combined = keras.Model(image, probabilities, name="mean")
    outputs = {SCORE: probabilities, FEATURES: features}
    metadata = {}
    if num_outputs > 1:
        at = [list(classes).index(name) for name in positive]
        score = keras.ops.sum(keras.ops.take(probabilities, at, axis=-1), axis=-1, keepdims=True)
        outputs = {SCORE: score, DIAGNOSIS: probabilities, FEATURES: features}
        metadata = {"classes": list(classes), "positive": list(positive)}
    exported = keras.Model(image, list(outputs.values()))
    with (
        files.atomic_file(folder / "model.keras") as network_file,
        files.atomic_file(folder / "model.onnx") as onnx_file,  # both or none
    ):
        (plain[0] if len(plain) == 1 else combined).save(network_file)
        onnx_export.write(exported, onnx_file, outputs=list(outputs), metadata=metadata, images=images)


def save_segmenter(model: keras.Model, folder: Path) -> None:
    """Write `model.keras` and `model.onnx` (input `image`, output `lesion`) of a U-Net.

    Raises:
        TrainingError: See `save_model`.
    """
    plain = _in_float32(model)
    with (
        files.atomic_file(folder / "model.keras") as network_file,
        files.atomic_file(folder / "model.onnx") as onnx_file,
    ):
        plain.save(network_file)
        onnx_export.write(plain, onnx_file, outputs=["lesion"], metadata={})


def _require_alike(networks: Sequence[keras.Model], classes: Sequence[str], positive: Sequence[str]) -> int:
    """The number of outputs, which all networks share."""
    shapes = sorted({(network.input_shape[1], network.output_shape[-1]) for network in networks})
    if len(shapes) != 1:
        raise TrainingError(
            f"An ensemble needs networks of one image size and one number of outputs; got {len(networks)} "
            f"networks with (size, outputs) {shapes}. Train them with the same hyperparameters."
        )
    ((_, num_outputs),) = shapes
    if num_outputs > 1 and (len(classes) != num_outputs or not set(positive) <= set(classes)):
        raise TrainingError(
            f"The networks have {num_outputs} outputs; expected one for each of {list(classes)}, among them "
            f"{list(positive)}."
        )
    return int(num_outputs)


def _in_float32(model: keras.Model) -> keras.Model:
    """A copy that computes in float32; not compiled."""
    config = model.get_config()
    _compute_in_float32(config["layers"])
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())  # these are float32 in mixed precision too
    return copy


def _compute_in_float32(layers: list[dict[str, Any]]) -> None:
    """Change the configurations of layers, also of those inside a nested model."""
    for layer in layers:
        if layer["class_name"] != "InputLayer" and "dtype" in layer["config"]:
            layer["config"]["dtype"] = "float32"
        _compute_in_float32(layer["config"].get("layers", []))


def _join(networks: Sequence[keras.Model]) -> tuple[Any, Any, Any]:
    """The input, the probabilities of all networks together, and the features of the first."""
    image = keras.Input(networks[0].input_shape[1:], dtype="uint8", name="image")
    bodies = [_without_activation(network, f"network_{at}") for at, network in enumerate(networks, start=1)]
    logits, features = zip(*(body(image) for body in bodies), strict=True)
    average = keras.layers.Average(name="mean_logit", dtype="float32")
    mean = logits[0] if len(logits) == 1 else average(list(logits))
    function = networks[0].layers[-1].activation
    activate = keras.layers.Activation(function, name="probability", dtype="float32")
    return image, activate(mean), features[0]


def _without_activation(network: keras.Model, name: str) -> keras.Model:
    """A network from images to logits and pooled features; shares its layers with `network`, but the last."""
    last = network.layers[-1]
    linear = type(last).from_config(last.get_config() | {"activation": "linear", "name": "logit"})
    logits = linear(last.input)
    linear.set_weights(last.get_weights())
    return keras.Model(network.inputs, [logits, head.pooled_features(network)], name=name)
