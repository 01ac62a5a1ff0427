"""Weights of an ONNX file in 16 bits: answers hold, or the file keeps 32 bits."""

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from melanoma.data.images import load_square
from melanoma.models import conv_blocks
from melanoma.training import half_weights
from melanoma.training.saving import save_model


def build(*, size: int = 24) -> keras.Model:
    keras.utils.set_random_seed(1)
    return conv_blocks.build(
        image_size=size,
        depth=1,
        filters=[8],
        dense_units=64,
        dropout=0.0,
        batch_norm=False,
        global_pooling=False,
        residual=False,
    )


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(7, 24, 24, 3), dtype=np.uint8)


def types_of(path: Path) -> dict[int, int]:
    """Number of stored values by type."""
    counts: dict[int, int] = {}
    for tensor in onnx.load(path).graph.initializer:
        counts[tensor.data_type] = counts.get(tensor.data_type, 0) + int(np.prod(tensor.dims, dtype=int))
    return counts


def score(path: Path, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(["score"], {"image": images})[0]


def test_large_arrays_are_stored_in_16_bits_and_answers_hold(images, tmp_path):
    model = build()
    save_model([model], tmp_path / "full")
    save_model([model], tmp_path / "half", images=images)
    full, half = tmp_path / "full" / "model.onnx", tmp_path / "half" / "model.onnx"
    size = 11 * 11 * 8 * 64  # of the dense layer; all other arrays are small
    assert types_of(half)[onnx.TensorProto.FLOAT16] == size
    assert onnx.TensorProto.FLOAT16 not in types_of(full)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    other = np.random.default_rng(2).integers(0, 256, size=(20, 24, 24, 3), dtype=np.uint8)
    np.testing.assert_allclose(score(half, other), score(full, other), rtol=0, atol=1e-3)
    assert (score(half, other) != score(full, other)).any()  # else nothing had been rounded
    onnx.checker.check_model(onnx.load(half), full_check=True)


def test_weights_stay_in_32_bits_where_answers_would_change(images, tmp_path, caplog):
    model = build()
    dense = model.get_layer("probability")
    kernel, bias = dense.get_weights()
    # The logit of the first image is 0, the difference of large numbers: the rounding before it decides.
    features = keras.Model(model.input, dense.input).predict_on_batch(images)
    dense.set_weights([kernel * 1e5, bias - features[0] @ kernel * 1e5])
    save_model([model], tmp_path, images=images)
    assert onnx.TensorProto.FLOAT16 not in types_of(tmp_path / "model.onnx")
    assert "weights of the exported network stay in 32 bits: in 16 bits a probability" in caplog.text


def test_arrays_that_16_bits_cannot_hold_stay_as_they_are(images, tmp_path):
    model = build()
    dense = model.get_layer("dense")
    kernel, bias = dense.get_weights()
    kernel[0, 0] = 1e6  # the largest float16 is 65,504
    dense.set_weights([kernel, bias])
    save_model([model], tmp_path, images=images)
    assert onnx.TensorProto.FLOAT16 not in types_of(tmp_path / "model.onnx")


def test_the_largest_change_is_that_of_any_image(images, tmp_path):
    save_model([build()], tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    assert half_weights.largest_change(model, model, images) == 0
    half = half_weights.with_half_weights(model)
    onnx.save(half, tmp_path / "half.onnx")
    changes = np.abs(score(tmp_path / "half.onnx", images) - score(tmp_path / "model.onnx", images))
    assert half_weights.largest_change(model, half, images) == pytest.approx(changes.max(), abs=1e-7)


@pytest.mark.real_data
def test_answers_about_real_images_hold(real_data, tmp_path):
    paths = sorted((real_data / "ham10000").rglob("*.jpg"))[:40]
    images = np.stack([load_square(path.read_bytes(), 64) for path in paths])
    model = build(size=64)
    save_model([model], tmp_path / "full")
    save_model([model], tmp_path / "half", images=images[:8])
    full, half = (score(tmp_path / name / "model.onnx", images) for name in ("full", "half"))
    assert onnx.TensorProto.FLOAT16 in types_of(tmp_path / "half" / "model.onnx")
    np.testing.assert_allclose(half, full, rtol=0, atol=1e-3)
