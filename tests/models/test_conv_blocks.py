from typing import Any

import keras
import numpy as np
import pytest

from melanoma.models import conv_blocks

FILTERS = [32, 32, 64, 64, 64]
SIDES = [148, 74, 72, 36, 34, 17, 15, 7, 5, 2]  # after each convolution and each pooling of 150 pixels
NUM_FLAT = [74 * 74 * 32, 36 * 36 * 32, 17 * 17 * 64, 7 * 7 * 64, 2 * 2 * 64]
NUM_PARAMETERS = {
    "conv_1": 3 * 3 * 3 * 32 + 32,
    "conv_2": 3 * 3 * 32 * 32 + 32,
    "conv_3": 3 * 3 * 32 * 64 + 64,
    "conv_4": 3 * 3 * 64 * 64 + 64,
    "conv_5": 3 * 3 * 64 * 64 + 64,
}
TOTALS = [11_215_873, 2_664_481, 1_212_513, 266_401, 119_009]
depths = pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])


def build(depth: int, **changes: Any) -> keras.Model:
    """The paper's network but for `changes`."""
    chosen: dict[str, Any] = {
        "image_size": 150,
        "filters": FILTERS,
        "dense_units": 64,
        "dropout": 0.0,
        "batch_norm": False,
        "global_pooling": False,
        "residual": False,
    }
    return conv_blocks.build(depth=depth, **chosen | changes)


def names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def cut(model: keras.Model, layer: str) -> keras.Model:
    """The network up to `layer`."""
    return keras.Model(model.inputs[0], model.get_layer(layer).output)


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(7, 32, 32, 3), dtype=np.uint8)


# ---- as published ----------------------------------------------------------------------------


@depths
def test_sides_shrink_as_in_the_paper(depth):
    model = build(depth)
    blocks = [layer for layer in model.layers if layer.name.startswith(("conv", "pool"))]
    assert [layer.output.shape[1] for layer in blocks] == SIDES[: 2 * depth]
    assert [layer.output.shape[2] for layer in blocks] == SIDES[: 2 * depth]
    assert [layer.output.shape[3] for layer in blocks[::2]] == FILTERS[:depth]
    assert model.get_layer("flatten").output.shape == (None, NUM_FLAT[depth - 1])
    assert model.get_layer("dense").output.shape == (None, 64)
    assert model.output_shape == (None, 1)


@depths
def test_parameters_counted_by_hand(depth):
    model = build(depth)
    counted = dict(list(NUM_PARAMETERS.items())[:depth])
    counted |= {"dense": NUM_FLAT[depth - 1] * 64 + 64, "probability": 64 + 1}
    assert {name: model.get_layer(name).count_params() for name in counted} == counted
    assert model.count_params() == sum(counted.values()) == TOTALS[depth - 1]


@depths
def test_layers_and_their_names_are_those_of_networks_saved_earlier(depth):
    blocks = [f"{kind}_{block}" for block in range(1, depth + 1) for kind in ("conv", "pool")]
    assert names(build(depth)) == ["image", "scale", *blocks, "flatten", "dense", "probability"]


def test_layers_are_those_of_the_paper():
    model = build(2)
    assert [type(layer).__name__ for layer in model.layers] == [
        *("InputLayer", "Rescaling"),
        *("Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D"),
        *("Flatten", "Dense", "Dense"),
    ]
    for name in ("conv_1", "conv_2"):
        layer = model.get_layer(name)
        assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3), (1, 1), "valid")
        assert layer.activation is keras.activations.relu
    assert model.get_layer("pool_1").pool_size == (2, 2)
    assert model.get_layer("dense").activation is keras.activations.relu
    assert model.get_layer("probability").activation is keras.activations.sigmoid


def test_pixels_are_scaled_inside():
    pixels = np.tile(np.array([0, 51, 255], np.uint8), (1, 32, 32, 1))
    scaled = cut(build(1, image_size=32), "scale").predict_on_batch(pixels)
    np.testing.assert_allclose(scaled[0, 0, 0], [0, 51 / 255, 1], atol=1e-7)


@pytest.mark.parametrize("depth", [-1, 0, 6])
def test_a_depth_without_filters_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth must be between 1 and 5 .*, got {depth}"):
        build(depth)


def test_fewer_filters_allow_fewer_blocks():
    assert build(2, filters=[8, 16]).get_layer("conv_2").filters == 16
    with pytest.raises(ValueError, match=r"depth must be between 1 and 2"):
        build(3, filters=[8, 16])


def test_a_picture_too_small_for_the_depth_is_refused():
    # 32 -> 30 -> 15 -> 13 -> 6 -> 4 -> 2, and a 3 x 3 convolution of 2 pixels is empty
    assert build(3, image_size=32).get_layer("pool_3").output.shape[1] == 2
    with pytest.raises(ValueError, match="output size would be zero or negative"):
        build(4, image_size=32)


# ---- what the paper does not have ------------------------------------------------------------


def test_normalised_convolutions_have_no_bias_and_their_relu_comes_after():
    model = build(2, batch_norm=True)
    assert names(model)[2:6] == ["conv_1", "norm_1", "relu_1", "pool_1"]
    assert model.get_layer("conv_1").activation is keras.activations.linear
    added = {"norm_1": 4 * 32, "norm_2": 4 * 32}  # a factor, an offset, a mean and a variance each
    assert {name: model.get_layer(name).count_params() for name in added} == added
    assert model.count_params() == TOTALS[1] - 2 * 32 + sum(added.values())


def test_batches_are_normalised_in_training_and_by_running_means_afterwards(images):
    model = cut(build(1, image_size=32, filters=[4], batch_norm=True), "norm_1")
    trained = np.asarray(model(images, training=True))
    np.testing.assert_allclose(trained.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(trained.var((0, 1, 2)), 1, atol=0.2)  # 0.001 is added to the variance
    convolved = cut(model, "conv_1").predict_on_batch(images)
    running_mean = model.get_layer("norm_1").moving_mean
    np.testing.assert_allclose(np.asarray(running_mean), convolved.mean((0, 1, 2)) / 10, rtol=1e-3)


def test_global_pooling_averages_channels_over_the_last_picture(images):
    model = build(3, global_pooling=True)
    assert "flatten" not in names(model)
    assert model.get_layer("global_pool").output.shape == (None, 64)
    assert model.count_params() == TOTALS[2] - 17 * 17 * 64 * 64 + 64 * 64
    small = build(1, image_size=32, global_pooling=True)
    picture, pooled = (cut(small, name).predict_on_batch(images) for name in ("pool_1", "global_pool"))
    np.testing.assert_allclose(pooled, picture.mean((1, 2)), rtol=1e-5)


def test_a_shortcut_leads_around_each_convolution_and_changes_channels_where_they_change():
    model = build(3, residual=True)
    assert [layer.output.shape[1] for layer in model.layers if layer.name.startswith("pool")] == SIDES[1:6:2]
    projected = {"project_1": 3 * 32, "project_3": 32 * 64}  # block 2 has as many channels as block 1
    assert {name: model.get_layer(name).count_params() for name in projected} == projected
    assert "project_2" not in names(model)
    assert model.count_params() == TOTALS[2] + sum(projected.values())


def test_where_the_convolution_gives_nothing_the_shortcut_gives_the_picture_without_its_border(images):
    model = build(1, image_size=32, filters=[3], residual=True)
    convolution = model.get_layer("conv_1")
    convolution.set_weights([np.zeros_like(weight) for weight in convolution.get_weights()])
    np.testing.assert_allclose(
        cut(model, "relu_1").predict_on_batch(images), images[:, 1:-1, 1:-1] / 255, atol=1e-6
    )


def test_the_sum_of_convolution_and_shortcut_goes_through_the_relu(images):
    model = build(1, image_size=32, filters=[3], residual=True)
    convolved = cut(model, "conv_1").predict_on_batch(images)
    expected = np.maximum(convolved + images[:, 1:-1, 1:-1] / 255, 0)
    assert (convolved < 0).any()
    np.testing.assert_allclose(cut(model, "relu_1").predict_on_batch(images), expected, atol=1e-5)


def test_normalisation_comes_before_the_shortcut_is_added():
    model = build(1, batch_norm=True, residual=True)
    assert [tensor.shape[-1] for tensor in model.get_layer("add_1").input] == [32, 32]
    assert names(model).index("norm_1") < names(model).index("add_1") < names(model).index("relu_1")


def test_dropout_comes_before_the_last_layer_and_only_in_training(images):
    model = build(1, image_size=32, dense_units=400, dropout=0.25)
    assert names(model)[-3:] == ["dense", "dropout", "probability"]
    dense, dropped = cut(model, "dense"), cut(model, "dropout")
    before = dense.predict_on_batch(images)
    np.testing.assert_array_equal(dropped.predict_on_batch(images), before)
    is_on = before > 0
    share = (np.asarray(dropped(images, training=True))[is_on] == 0).mean()
    assert is_on.sum() > 1000
    assert 0.15 < share < 0.35
