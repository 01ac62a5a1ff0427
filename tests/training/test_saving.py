"""Saved networks; that all families come back as they were is part of the contract in tests/models."""

import importlib.util
import sys

import keras
import numpy as np
import onnxruntime
import pytest

from melanoma.errors import TrainingError
from melanoma.models import conv_blocks
from melanoma.training import saving
from melanoma.training.saving import save_model


def build() -> keras.Model:
    keras.utils.set_random_seed(1)
    return conv_blocks.build(
        image_size=24,
        depth=1,
        filters=[4],
        dense_units=8,
        dropout=0.1,
        batch_norm=True,
        global_pooling=False,
        residual=False,
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
        save_model(model, tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    expected = model.predict_on_batch(images)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in loaded.layers[1:]} == {"float32"}
    saved = loaded.predict_on_batch(images)
    np.testing.assert_allclose(saved, expected, atol=1e-3)

    exported = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (image,), (probability,) = exported.get_inputs(), exported.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [24, 24, 3])
    assert (probability.type, probability.shape[1:]) == ("tensor(float)", [1])
    np.testing.assert_allclose(exported.run(None, {"image": images})[0], saved, atol=1e-5)
    assert (saved != expected).any()  # else nothing had been computed in 16 bits


def test_the_state_of_training_is_left_behind_and_the_network_stays_as_it_was(images, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_export", lambda model, path: None)
    monkeypatch.setattr(saving, "_export_in_child", lambda source, path: None)
    model = build()
    model.compile("adam", "binary_crossentropy")
    model.train_on_batch(images, np.array([0, 1, 0, 1, 1], np.float32))
    before = model.get_weights()
    save_model(model, tmp_path / "new" / "folder")
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
        save_model(build(), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.glob("model.*")} == {
        "model.keras": "of before",
        "model.onnx": "of before",
    }


def test_the_export_without_tensorflow_says_what_to_install(other_backend, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"needs TensorFlow, also with the backend jax\. Install"):
        save_model(build(), tmp_path)
    assert list(tmp_path.iterdir()) == []
