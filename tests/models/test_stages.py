from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest

from melanoma.errors import TrainingError
from melanoma.models import efficientnet_lite, head, stages


def build(**changes: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    options: dict[str, Any] = {
        "network": "lite0",
        "image_size": 32,
        "dense_units": 0,
        "dropout": 0.0,
        "drop_connect": 0.0,
    }
    return efficientnet_lite.build(**options | {"weights": None} | changes)


def draw_network() -> keras.Model:
    """Three stages: full size, a half of it (with a side branch that shrinks too), a quarter by pooling."""
    inputs = keras.Input((8, 8, 3))
    first = keras.layers.Conv2D(2, 3, padding="same", name="first")(inputs)
    halved = keras.layers.Conv2D(4, 3, 2, padding="same", name="halved")(first)
    aside = keras.layers.Conv2D(4, 1, 2, name="aside")(first)
    joined = keras.layers.Add(name="joined")([halved, aside])
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True, name="squeezed")(joined)  # 1 x 1, no stride
    excited = keras.layers.Conv2D(4, 1, name="excited")(squeezed)
    scaled = keras.layers.Multiply(name="scaled")([joined, excited])
    norm = keras.layers.BatchNormalization(name="norm")(keras.layers.MaxPooling2D(2)(scaled))
    return keras.Model(
        inputs, head.classify(norm, dense_units=3, dropout=0.1, global_pooling=True), name="drawn"
    )


def test_a_stride_that_makes_the_picture_smaller_begins_a_stage():
    found = stages.of_layers(draw_network())
    assert found == {"first": 1, "halved": 2, "aside": 2, "excited": 2, "norm": 3}
    assert stages.count(draw_network()) == 3


@pytest.mark.parametrize("network", ["lite0", "lite2"])
def test_lite_has_a_stage_for_each_halving(network):
    found = stages.of_layers(build(network=network, image_size=64))
    firsts = {stage: name for name, stage in reversed(found.items())}
    assert firsts == {1: "stem_conv"} | {
        stage: f"group{group}_block1_depthwise_conv" for stage, group in ((2, 2), (3, 3), (4, 4), (5, 6))
    }


@pytest.mark.parametrize("num_frozen", [0, 3, 5])
def test_frozen_stages_keep_weights_and_running_means_and_the_others_do_not(num_frozen):
    model, images = build(), np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), np.uint8)
    stages.freeze(model, num_frozen)
    model.compile(keras.optimizers.SGD(1e-2), "binary_crossentropy")
    found = stages.of_layers(model)
    before = {name: model.get_layer(name).get_weights() for name in found}
    model.train_on_batch(images, np.arange(6) % 2)
    for name, stage in found.items():
        for old, new in zip(before[name], model.get_layer(name).get_weights(), strict=True):
            assert (old == new).all() == (stage <= num_frozen), name
    assert stages.is_frozen(model, num_frozen) == (num_frozen == 5)


def test_frozen_batch_normalisation_uses_its_running_means_in_training():
    model, images = build(), np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), np.uint8)
    stem = keras.Model(model.inputs[0], model.get_layer("stem_relu").output)
    assert np.abs(stem(images, training=True) - stem(images)).max() > 0.1
    stages.freeze(model, 1, is_for_good=False)
    np.testing.assert_array_equal(stem(images, training=True), stem(images))
    counted = Counter(len(layer.trainable_weights) for layer in stem.layers)
    assert counted == {0: 4, 1: 1}  # input, scale, norm, relu; the convolution will be trained later


def test_more_stages_than_there_are_are_refused():
    stages.freeze(draw_network(), 3)
    with pytest.raises(TrainingError, match=r"frozen_stages must be at most 3, .* stages of drawn, got 4"):
        stages.freeze(draw_network(), 4)


def test_learning_rates_fall_from_the_head_to_the_input():
    model = draw_network()
    found = {path.split("/")[0]: rate for path, rate in stages.learning_rates(model, 0.5).items()}
    assert found == {
        "first": (1, 0.125),
        **dict.fromkeys(("halved", "aside", "excited"), (2, 0.25)),
        "norm": (3, 0.5),
        "dense": (4, 1.0),
        "probability": (4, 1.0),
    }
    assert len(stages.learning_rates(model, 0.5)) == len(model.weights)
