import sys
import urllib.request
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from melanoma.errors import TrainingError
from melanoma.models import applications, head, stages
from melanoma.serving.network import Network
from melanoma.training.saving import save_model

NUM_FEATURES = {
    "EfficientNetV2B0": 1280,
    "ConvNeXtTiny": 768,
    "MobileNetV3Large": 960,
    "ResNet50V2": 2048,
    "DenseNet121": 1024,
    "Xception": 2048,
}
PREPARED_OUTSIDE = (
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "Xception",
    "VGG16",
    "MobileNetV2",
    "NASNetMobile",
)
PREPARED_INSIDE = ("EfficientNetV2B0", "EfficientNetB0", "ConvNeXtTiny", "MobileNetV3Small")


def build(network: str = "MobileNetV3Small", **changes: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    options: dict[str, Any] = {"image_size": 32, "dense_units": 0, "dropout": 0.0, "weights": None}
    return applications.build(network=network, **options | changes)


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(3, 72, 72, 3), dtype=np.uint8)


@pytest.mark.parametrize("network", NUM_FEATURES)
def test_networks_of_keras_take_pixels_and_have_stages(network, images):
    model = build(network, image_size=72)
    assert stages.count(model) == (4 if network == "ConvNeXtTiny" else 5)
    body, _ = head.cut(model)
    assert body.predict_on_batch(images).shape == (3, NUM_FEATURES[network])
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert max([norm.momentum for norm in norms], default=0) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("network", NUM_FEATURES)
def test_networks_of_keras_are_frozen_trained_saved_and_exported(network, images, tmp_path):
    model = build(network, image_size=72)
    stages.freeze(model, 2)
    frozen = [name for name, stage in stages.of_layers(model).items() if stage <= 2]
    before = {name: model.get_layer(name).get_weights() for name in frozen}
    model.compile(keras.optimizers.SGD(1e-4), "binary_crossentropy")
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1, 1])))
    for name in frozen:
        for old, new in zip(before[name], model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    save_model([model], tmp_path)
    expected = model.predict_on_batch(images).ravel()
    np.testing.assert_allclose(Network(tmp_path / "model.onnx").score(images), expected, atol=1e-5)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(images).ravel(), expected)


@pytest.mark.parametrize("network", [*PREPARED_OUTSIDE, *PREPARED_INSIDE])
def test_pixels_are_prepared_as_keras_does_it_for_each_network(network, images):
    make = applications.find(network)
    inputs = keras.Input((72, 72, 3), dtype="uint8")
    prepared = keras.Model(inputs, applications.prepare(inputs, make)).predict_on_batch(images)
    expected = sys.modules[make.__module__].preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(prepared, expected, atol=1e-4)
    assert (expected == images).all() == (network in PREPARED_INSIDE)


def test_an_unknown_name_is_answered_with_names_that_are_like_it():
    with pytest.raises(TrainingError, match=r"no network 'efficientnetv2-b0'\. .* to .*EfficientNetV2B0"):
        build("efficientnetv2-b0")
    with pytest.raises(TrainingError, match=r"no network ''\. .* one of ConvNeXtBase, .*Xception\."):
        build("")


def test_a_size_that_a_network_cannot_take_is_refused():
    build("Xception", image_size=71)
    with pytest.raises(TrainingError, match=r"Xception cannot take .* 70 pixels: .*71x71.* Set image_size"):
        build("Xception", image_size=70)


@pytest.mark.parametrize("network", ["ConvNeXtTiny", "EfficientNetV2B0"])
def test_a_network_made_exportable_gives_the_features_of_that_of_keras(network, images, tmp_path):
    published = applications.find(network)(include_top=False, weights=None, input_shape=(72, 72, 3))
    if network == "ConvNeXtTiny":  # whose blocks begin with a scale next to 0
        published.set_weights([array + (array.ndim == 1) * 0.1 for array in published.get_weights()])
    published.save_weights(tmp_path / "some.weights.h5")
    body, _ = head.cut(build(network, image_size=72, weights=str(tmp_path / "some.weights.h5")))
    expected = published.predict_on_batch(images.astype(np.float32)).mean((1, 2))
    np.testing.assert_allclose(body.predict_on_batch(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std(0).max() > 1e-5


# ---- weights ---------------------------------------------------------------------------------


def body_of(network: str) -> keras.Model:
    return applications.find(network)(include_top=False, weights=None, input_shape=(32, 32, 3))


def test_a_file_that_keras_wrote_is_loaded(tmp_path):
    body_of("MobileNetV3Small").save_weights(tmp_path / "some.weights.h5")
    body = body_of("MobileNetV3Small")
    body.save_weights(tmp_path / "other.weights.h5")
    loaded, _ = head.cut(build(weights=str(tmp_path / "other.weights.h5")))
    for one, other in zip(loaded.get_weights(), body.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_of_another_network_or_format_is_refused(tmp_path):
    body_of("MobileNetV3Large").save_weights(tmp_path / "large.weights.h5")
    with pytest.raises(TrainingError, match=r"large\.weights\.h5 has no weights of MobileNetV3Small .* Set"):
        build(weights=str(tmp_path / "large.weights.h5"))
    (tmp_path / "none.weights.h5").write_bytes(b"no HDF5")
    with pytest.raises(TrainingError, match=r"none\.weights\.h5 has no weights of MobileNetV3Small"):
        build(weights=str(tmp_path / "none.weights.h5"))
    (tmp_path / "model.pt").write_bytes(b"PK")
    with pytest.raises(TrainingError, match=r"model\.pt has no weights of MobileNetV3Small"):
        build(weights=str(tmp_path / "model.pt"))
    with pytest.raises(TrainingError, match=r"missing\.weights\.h5 does not exist\. Set weights"):
        build(weights=str(tmp_path / "missing.weights.h5"))


def test_without_a_network_imagenet_is_refused_with_the_way_out(monkeypatch, tmp_path):
    get_file = keras.utils.get_file
    monkeypatch.setattr(
        "keras.src.applications.mobilenet_v3.file_utils.get_file", partial(get_file, cache_dir=tmp_path)
    )
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of before
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(TrainingError, match=r"could not download .* MobileNetV3Small .* give a weights file"):
        build(weights="imagenet")
    monkeypatch.setattr(urllib.request, "_opener", None)


def test_what_keras_downloads_is_taken(monkeypatch, tmp_path):
    body = body_of("MobileNetV3Small")
    path = tmp_path / "small.weights.h5"
    body.save_weights(path)
    monkeypatch.setattr("keras.src.applications.mobilenet_v3.file_utils.get_file", lambda *_, **__: str(path))
    loaded, _ = head.cut(build(weights="imagenet"))
    np.testing.assert_array_equal(loaded.get_weights()[0], body.get_weights()[0])
