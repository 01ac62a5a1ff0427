"""Saved networks; that all families come back as they were is part of the contract in tests/models."""

import importlib.util
import json
import sys

import keras
import numpy as np
import onnxruntime
import pytest

from melanoma.errors import TrainingError
from melanoma.models import conv_blocks
from melanoma.segmentation import unet
from melanoma.training import onnx_export
from melanoma.training.saving import save_model, save_segmenter


def build(*, seed: int = 1, size: int = 24, num_classes: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return conv_blocks.build(
        image_size=size,
        depth=1,
        filters=[4],
        dense_units=8,
        dropout=0.1,
        batch_norm=True,
        global_pooling=False,
        residual=False,
        num_classes=num_classes,
    )


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(5, 24, 24, 3), dtype=np.uint8)


def test_a_network_trained_in_16_bits_is_saved_in_32(images, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build()
        model.compile("adam", "binary_crossentropy")
        model.train_on_batch(images, np.array([0, 1, 0, 1, 1], np.float32))
        save_model([model], tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    expected = model.predict_on_batch(images)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in loaded.layers[1:]} == {"float32"}
    saved = loaded.predict_on_batch(images)
    np.testing.assert_allclose(saved, expected, atol=1e-3)

    exported = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (image,), (probability, features) = exported.get_inputs(), exported.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [24, 24, 3])
    assert (probability.name, probability.type, probability.shape[1:]) == ("score", "tensor(float)", [1])
    assert (features.name, features.type, features.shape[1:]) == ("features", "tensor(float)", [4])
    np.testing.assert_allclose(exported.run(None, {"image": images})[0], saved, atol=1e-5)
    assert (saved != expected).any()  # else nothing had been computed in 16 bits


def test_layers_inside_a_nested_model_are_saved_in_32_bits_too(images, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        image = keras.Input((24, 24, 3), dtype="uint8")
        inner = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)], name="stem")
        pooled = keras.layers.GlobalAveragePooling2D(name="flatten")(inner(image))
        score = keras.layers.Dense(1, activation="sigmoid", dtype="float32")(pooled)
        save_model([keras.Model(image, score)], tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in loaded.get_layer("stem").layers} == {"float32"}
    exported = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    saved = exported.run(None, {"image": images})[0]
    np.testing.assert_allclose(saved, loaded.predict_on_batch(images), atol=1e-5)


def test_the_state_of_training_is_left_behind_and_the_network_stays_as_it_was(images, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "write", lambda *args, **kwargs: None)
    model = build()
    model.compile("adam", "binary_crossentropy")
    model.train_on_batch(images, np.array([0, 1, 0, 1, 1], np.float32))
    before = model.get_weights()
    save_model([model], tmp_path / "new" / "folder")
    assert not keras.models.load_model(tmp_path / "new" / "folder" / "model.keras").compiled
    assert model.compiled
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def other_backend(monkeypatch):
    """As if Keras ran on a backend without an exporter of its own."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")


def test_a_failed_export_leaves_the_files_of_before(other_backend, tmp_path, monkeypatch):
    for name in ("model.keras", "model.onnx"):
        (tmp_path / name).write_text("of before")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ImportError: half an installation' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(TrainingError, match=r"could not export .* ImportError: half an installation\. Check"):
        save_model([build()], tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.glob("model.*")} == {
        "model.keras": "of before",
        "model.onnx": "of before",
    }


def test_the_export_without_tensorflow_says_what_to_install(other_backend, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"needs TensorFlow, also with the backend jax\. Install"):
        save_model([build()], tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- several networks --------------------------------------------------------------------------


def outputs_of(folder, images):
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": images}), strict=True))


@pytest.mark.parametrize("num_networks", [2, 3])
def test_an_ensemble_is_the_sigmoid_of_the_mean_logit(images, tmp_path, num_networks):
    networks = [build(seed=seed) for seed in range(num_networks)]
    scores = np.array([network.predict_on_batch(images) for network in networks], np.float64)
    expected = 1 / (1 + np.exp(-np.log(scores / (1 - scores)).mean(0)))
    save_model(networks, tmp_path)
    found = outputs_of(tmp_path, images)
    assert list(found) == ["score", "features"]
    np.testing.assert_allclose(found["score"], expected, rtol=0, atol=1e-6)
    combined = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(combined.predict_on_batch(images), expected, rtol=0, atol=1e-6)
    assert np.ptp(scores, axis=0).max() > 0.01  # else any of them would agree


def test_the_features_of_an_ensemble_are_those_of_its_first_network(images, tmp_path):
    first, second = build(seed=1), build(seed=2)
    save_model([first], tmp_path / "first")
    save_model([first, second], tmp_path / "both")
    expected = keras.Model(first.input, first.get_layer("pool_1").output).predict_on_batch(images)
    for folder in (tmp_path / "first", tmp_path / "both"):
        found = outputs_of(folder, images)["features"]
        np.testing.assert_allclose(found, expected.mean((1, 2)), rtol=0, atol=1e-5)


def test_an_ensemble_of_classes_is_the_softmax_of_the_mean_logits(images, tmp_path):
    classes, positive = ("melanoma", "nevus", "carcinoma"), ("melanoma", "carcinoma")
    networks = [build(seed=seed, num_classes=3) for seed in (1, 2)]
    softmax = np.array([network.predict_on_batch(images) for network in networks], np.float64)
    weights = np.sqrt(softmax.prod(0))
    expected = weights / weights.sum(1, keepdims=True)
    save_model(networks, tmp_path, classes=classes, positive=positive)
    found = outputs_of(tmp_path, images)
    assert list(found) == ["score", "diagnosis", "features"]
    np.testing.assert_allclose(found["diagnosis"], expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["score"][:, 0], expected[:, [0, 2]].sum(1), rtol=0, atol=1e-6)
    named = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert named == {"classes": json.dumps(classes), "positive": json.dumps(positive)}


@pytest.mark.parametrize(
    "networks", [[], [{}, {"size": 28}], [{}, {"num_classes": 3}]], ids=["none", "sizes", "outputs"]
)
def test_networks_that_do_not_fit_together_are_refused(tmp_path, networks):
    with pytest.raises(TrainingError, match=r"one image size and one number of outputs; got .* Train them"):
        save_model([build(**options) for options in networks], tmp_path, classes=("melanoma", "a", "b"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [("melanoma", "nevus"), ("nevus", "other", "carcinoma")])
def test_classes_that_the_networks_do_not_have_are_refused(tmp_path, classes):
    with pytest.raises(TrainingError, match=r"3 outputs; expected one for each of .* \['melanoma'\]"):
        save_model([build(num_classes=3)], tmp_path, classes=classes)
    assert list(tmp_path.iterdir()) == []


def test_a_segmenter_gives_its_picture(tmp_path, images):
    model = unet.build(image_size=24, depth=1, filters=2)
    save_segmenter(model, tmp_path)
    found = outputs_of(tmp_path, images)
    assert list(found) == ["lesion"]
    np.testing.assert_allclose(found["lesion"], model.predict_on_batch(images), atol=1e-5)
