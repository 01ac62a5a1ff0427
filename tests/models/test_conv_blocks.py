import keras
import numpy as np
import pytest

from melanoma.models import conv_blocks

FILTERS = [32, 32, 64, 64, 64]
SIDES = [148, 74, 72, 36, 34, 17, 15, 7, 5, 2]  # after each convolution and each pooling of 150 pixels


def build(depth: int, *, image_size: int = 150, filters: list[int] = FILTERS) -> keras.Model:
    return conv_blocks.build(image_size=image_size, depth=depth, filters=filters, dense_units=64)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_sides_shrink_as_in_the_paper(depth):
    model = build(depth)
    blocks = [layer for layer in model.layers if layer.name.startswith(("conv", "pool"))]
    assert [layer.output.shape[1] for layer in blocks] == SIDES[: 2 * depth]
    assert [layer.output.shape[2] for layer in blocks] == SIDES[: 2 * depth]
    assert [layer.output.shape[3] for layer in blocks[::2]] == FILTERS[:depth]
    assert model.get_layer("flatten").output.shape == (None, SIDES[2 * depth - 1] ** 2 * FILTERS[depth - 1])
    assert model.output_shape == (None, 1)


def test_the_parameters_of_three_blocks_counted_by_hand():
    model = build(3)
    counted = {
        "conv_1": 3 * 3 * 3 * 32 + 32,
        "conv_2": 3 * 3 * 32 * 32 + 32,
        "conv_3": 3 * 3 * 32 * 64 + 64,
        "dense": 17 * 17 * 64 * 64 + 64,
        "probability": 64 + 1,
    }
    assert {name: model.get_layer(name).count_params() for name in counted} == counted
    assert model.count_params() == sum(counted.values()) == 1_212_513


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


def test_pixels_are_uint8_and_scaled_inside():
    model = build(1, image_size=32)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.inputs[0].dtype == "uint8"
    scaled = keras.Model(model.inputs, model.get_layer("scale").output)
    pixels = np.tile(np.array([0, 51, 255], np.uint8), (1, 32, 32, 1))
    np.testing.assert_allclose(np.asarray(scaled(pixels))[0, 0, 0], [0, 51 / 255, 1], atol=1e-7)


def test_outputs_are_float32_probabilities():
    images = np.random.default_rng(1).integers(0, 256, size=(7, 32, 32, 3), dtype=np.uint8)
    outputs = np.asarray(build(2, image_size=32)(images))
    assert outputs.shape == (7, 1)
    assert outputs.dtype == np.float32
    assert ((outputs > 0) & (outputs < 1)).all()


@pytest.mark.parametrize("depth", [-1, 0, 6])
def test_a_depth_without_filters_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth must lie in 1\.\.5 .*, got {depth}"):
        build(depth)


def test_fewer_filters_allow_fewer_blocks():
    assert build(2, filters=[8, 16]).get_layer("conv_2").filters == 16
    with pytest.raises(ValueError, match=r"depth must lie in 1\.\.2"):
        build(3, filters=[8, 16])


def test_a_picture_too_small_for_the_depth_is_refused():
    # 32 -> 30 -> 15 -> 13 -> 6 -> 4 -> 2, and a 3 x 3 convolution of 2 pixels is empty
    assert build(3, image_size=32).get_layer("pool_3").output.shape[1] == 2
    with pytest.raises(ValueError, match="output size would be zero or negative"):
        build(4, image_size=32)


def test_the_network_is_handed_out_uncompiled():
    assert not build(1, image_size=32).compiled
