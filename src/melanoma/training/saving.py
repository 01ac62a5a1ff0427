"""Write a fitted network to files: `.keras` for further training, ONNX for serving.

Both hold only the network, in float32 and without training state, and load on every backend. Keras exports
ONNX through TensorFlow (its exporter for JAX is an extra library), so on JAX a child process exports; run as
a script, this module is that child.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

from melanoma import files
from melanoma.errors import TrainingError
from melanoma.schema import CLASSES, MELANOMA


def save_model(model: keras.Model, folder: Path) -> None:
    """Write `model.keras` and `model.onnx` (input `image` uint8, output probabilities float32) to `folder`.

    A network of several classes gets two outputs: the probability of melanoma, `(batch, 1)`, as from a
    network with one output, then the probabilities of all classes.

    A network trained in mixed precision is written with its float32 weights and then computes in float32; its
    answers differ from those in training by the rounding to 16 bits.

    Raises:
        TrainingError: The ONNX export failed, or needs TensorFlow, which is not installed.
    """
    plain = _with_melanoma_first(_in_float32(model))
    with (
        files.atomic_file(folder / "model.keras") as network,
        files.atomic_file(folder / "model.onnx") as exported,  # both or none
    ):
        plain.save(network)
        if keras.backend.backend() == "tensorflow":
            _export(plain, exported)
        else:
            _export_in_child(network, exported)


def _in_float32(model: keras.Model) -> keras.Model:
    """A copy that computes in float32; not compiled."""
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] != "InputLayer" and "dtype" in layer["config"]:
            layer["config"]["dtype"] = "float32"
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())  # these are float32 in mixed precision too
    return copy


def _with_melanoma_first(model: keras.Model) -> keras.Model:
    if model.output_shape[-1] == 1:
        return model
    position = CLASSES.index(MELANOMA)
    melanoma = model.output[:, position : position + 1]
    return keras.Model(model.input, [melanoma, model.output], name=model.name)


def _export(model: keras.Model, path: Path) -> None:
    model(np.zeros((1, *model.input_shape[1:]), np.uint8))  # the export needs one call
    model.export(path, format="onnx", verbose=False)


def _export_in_child(source: Path, path: Path) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise TrainingError(
            "The network cannot be exported to ONNX: this needs TensorFlow, also with the backend "
            f"{keras.backend.backend()}. Install tensorflow and tf2onnx."
        )
    done = subprocess.run(
        [sys.executable, "-m", "melanoma.training.saving", str(source), str(path)],
        # The parent may hold all of the GPU's memory, and one pass through the network needs no GPU.
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TrainingError(
            f"TensorFlow could not export the network to ONNX: {reason}. Check that the installed versions "
            "are those of requirements.lock, or train with KERAS_BACKEND=tensorflow."
        )


if __name__ == "__main__":
    _export(keras.models.load_model(sys.argv[1]), Path(sys.argv[2]))
