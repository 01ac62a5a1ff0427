"""Write a Keras model as ONNX, with names of its outputs and metadata.

Keras exports ONNX through TensorFlow (its exporter for JAX is an extra library), so on JAX a child process
exports; run as a script, this module is that child.
"""

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from melanoma.errors import TrainingError
from melanoma.training import half_weights

_log = logging.getLogger(__name__)


def write(
    model: keras.Model,
    path: Path,
    *,
    outputs: Sequence[str],
    metadata: Mapping[str, Any],
    images: np.ndarray | None = None,
) -> None:
    """Write a model to an ONNX file.

    Args:
        model: Model with one input, `image`, and float32 weights.
        path: Output file.
        outputs: Names of the model's outputs, in their order.
        metadata: JSON values by name, stored in the file.
        images: Images `(n, size, size, 3)`, uint8. Weights are stored as float16 if the probabilities of all
            of them stay within `half_weights.TOLERANCE`; without images they are stored as float32.

    Raises:
        TrainingError: The export failed, or needs TensorFlow, which is not installed.
    """
    if keras.backend.backend() == "tensorflow":
        _export(model, path)
    else:
        _export_in_child(model, path)
    exported = onnx.load(path)
    _rename_outputs(exported.graph, outputs)
    onnx.helper.set_model_props(exported, {name: json.dumps(value) for name, value in metadata.items()})
    onnx.save(exported if images is None else _halved(exported, images), path)


def _halved(exported: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """The network with float16 weights if its answers hold, else as it is; the choice is logged."""
    half = half_weights.with_half_weights(exported)
    change = half_weights.largest_change(exported, half, images)
    if change <= half_weights.TOLERANCE:  # not so if it is nan
        return half
    _log.warning(
        "The weights of the exported network stay in 32 bits: in 16 bits a probability changes by %.2g, more "
        "than %g.",
        change,
        half_weights.TOLERANCE,
    )
    return exported


def _rename_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Name the outputs, in their order."""
    new_names = {old.name: new for old, new in zip(graph.output, names, strict=True)}
    for node in graph.node:
        for tensors in (node.input, node.output):
            for at, tensor in enumerate(tensors):
                tensors[at] = new_names.get(tensor, tensor)
    for output, name in zip(graph.output, names, strict=True):
        output.name = name


def _export(model: keras.Model, path: Path) -> None:
    model(np.zeros((1, *model.input_shape[1:]), np.uint8))  # the export needs one call
    model.export(path, format="onnx", verbose=False)


def _export_in_child(model: keras.Model, path: Path) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise TrainingError(
            "The network cannot be exported to ONNX: this needs TensorFlow, also with the backend "
            f"{keras.backend.backend()}. Install tensorflow and tf2onnx."
        )
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        source = Path(folder) / "model.keras"
        model.save(source)
        done = subprocess.run(
            [sys.executable, "-m", "melanoma.training.onnx_export", str(source), str(path)],
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
    from melanoma.models import builders  # noqa: F401  # registers the layers of all families

    _export(keras.models.load_model(sys.argv[1]), Path(sys.argv[2]))
