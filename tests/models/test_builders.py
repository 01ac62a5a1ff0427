"""The contract of every network family; parametrised over the table, so that a new family is held to it."""

import hashlib
from typing import Any, get_args

import keras
import numpy as np
import pytest

from melanoma.config.training import Hyperparameters
from melanoma.models import head, stages
from melanoma.models.builders import BUILDERS, build_model, weights_digest
from melanoma.models.efficientnet_lite_weights import SHA256
from melanoma.serving.network import Network
from melanoma.training.saving import save_model

TARGETS = np.array([0, 1, 0, 1, 1], np.float32)
EVERYTHING = {"batch_norm": True, "residual": True, "global_pooling": True, "dropout": 0.5}
LITE: dict[str, object] = {"family": "efficientnet_lite", "network": "lite0"}
NETWORKS: dict[str, dict[str, Any]] = {
    "conv_blocks": {"family": "conv_blocks"},
    "conv_blocks with everything": {"family": "conv_blocks", **EVERYTHING},
    "vgg16": {"family": "vgg16"},
    "vgg16 with everything": {"family": "vgg16", "dropout": 0.5},
    "efficientnet_lite": {**LITE, "dense_units": 0, "drop_connect": 0.2},
    "applications": {"family": "applications", "network": "MobileNetV3Small", "dense_units": 0},
}
WITH_DEPTH = [name for name, options in NETWORKS.items() if options["family"] in ("conv_blocks", "vgg16")]
networks = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)


@pytest.fixture
def build(params, images):
    """A small network: `build({"family": "vgg16", "depth": 2})`."""

    def build_small(options: dict[str, object], *, num_classes: int = 1) -> keras.Model:
        keras.utils.set_random_seed(1)
        small = {"depth": 1, "filters": 4, "dense_units": 8, "frozen_stages": 0}
        model = build_model(
            params.baseline.model_copy(update=small | options),
            params.model,
            image_size=32,
            num_classes=num_classes,
        )
        if options["family"] == "applications":
            settle(model, images)
        return model

    return build_small


def settle(model: keras.Model, images: np.ndarray) -> None:
    """Give batch normalisation the means of these images: with the first ones MobileNetV3 answers 0.5."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(5, 32, 32, 3), dtype=np.uint8)


def test_the_families_of_the_parameters_are_those_of_the_table():
    assert {options["family"] for options in NETWORKS.values()} == set(BUILDERS)
    assert set(get_args(Hyperparameters.model_fields["family"].annotation)) == set(BUILDERS)


@networks
def test_uint8_pixels_go_in_and_float32_probabilities_come_out(build, options, images):
    model = build(options)
    assert model.input_shape == (None, 32, 32, 3)
    assert (model.inputs[0].dtype, model.inputs[0].name) == ("uint8", "image")
    assert model.output_shape == (None, 1)
    outputs = model.predict_on_batch(images)
    assert (outputs.shape, outputs.dtype) == ((5, 1), np.float32)
    assert ((outputs > 1e-3) & (outputs < 1 - 1e-3)).all()  # further out a loss has next to no gradient
    assert len(np.unique(outputs)) == 5


@networks
def test_several_classes_come_out_as_a_softmax(build, options, images):
    model = build(options, num_classes=3)
    assert model.output_shape == (None, 3)
    outputs = model.predict_on_batch(images)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-6)
    assert stages.of_layers(model) == stages.of_layers(build(options))


@networks
def test_a_saved_network_of_several_classes_gives_the_score_of_positive_too(build, options, images, tmp_path):
    model = build(options, num_classes=3)
    softmax = model.predict_on_batch(images)
    save_model(
        [model], tmp_path, classes=("melanoma", "nevus", "carcinoma"), positive=("melanoma", "carcinoma")
    )
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras").predict_on_batch(images), softmax
    )
    exported = Network(tmp_path / "model.onnx")
    assert exported.tells_classes
    np.testing.assert_allclose(exported.score(images), softmax[:, [0, 2]].sum(1), atol=1e-5)
    np.testing.assert_allclose(exported.score_classes(images), softmax, atol=1e-5)


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_depth_adds_weights_and_is_part_of_the_name(build, name):
    shallow, deep = (build({**NETWORKS[name], "depth": depth}) for depth in (1, 2))
    assert len(shallow.weights) < len(deep.weights)
    assert [model.name for model in (shallow, deep)] == [f"{NETWORKS[name]['family']}_{n}" for n in (1, 2)]
    assert not deep.compiled


def test_backbones_are_named_after_their_network(build):
    assert build(NETWORKS["efficientnet_lite"]).name == "efficientnet_lite0"
    assert build(NETWORKS["applications"]).name == "mobilenetv3small"


@networks
def test_a_network_is_cut_at_its_pooled_features(build, options, images):
    model = build(options)
    body, end = head.cut(model)
    features = body.predict_on_batch(images)
    assert features.ndim == 2
    np.testing.assert_allclose(end.predict_on_batch(features), model.predict_on_batch(images), atol=1e-6)
    again, _ = head.cut(model)
    np.testing.assert_array_equal(again.predict_on_batch(images), features)


@networks
def test_every_weight_before_the_head_belongs_to_a_stage(build, options):
    model = build(options)
    found = stages.of_layers(model)
    assert sorted(set(found.values())) == list(range(1, stages.count(model) + 1))
    assert list(found.values()) == sorted(found.values())  # in the order of the layers
    assert {layer.name for layer in head.cut(model)[0].layers if layer.weights} == set(found)


@networks
def test_the_seed_decides_the_first_weights(build, options):
    first, second = build(options), build(options)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@networks
def test_a_gradient_step_changes_every_weight_and_lowers_the_loss(build, options, images):
    still = {"dropout": 0.0, "drop_connect": 0.0}  # with them, the loss is of another network each time
    model = build({**options, **still})
    model.compile(keras.optimizers.SGD(1e-3), "binary_crossentropy")
    before = model.get_weights()
    losses = [float(model.train_on_batch(images, TARGETS)) for _ in range(6)]
    assert min(losses[1:]) < losses[0]  # batch statistics of five images: a single step may overshoot
    for weight, old in zip(model.weights, before, strict=True):
        assert (weight.numpy() != old).any(), weight.path


@networks
def test_mixed_precision_computes_in_16_bits_and_answers_in_32(build, options, images):
    plain = build(options)
    expected = plain.predict_on_batch(images)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"float16"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    model.set_weights(plain.get_weights())
    outputs = model.predict_on_batch(images)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected, atol=3e-2)  # processors round 16 bits differently


@networks
def test_saved_networks_answer_alike(build, options, images, tmp_path):
    model = build(options)
    expected = model.predict_on_batch(images)
    save_model([model], tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(loaded.predict_on_batch(images), expected)
    exported = Network(tmp_path / "model.onnx")
    assert exported.image_size == 32
    np.testing.assert_allclose(exported.score(images), expected.ravel(), atol=1e-5)


def test_the_digest_of_weights_is_that_of_the_file_that_is_read(params, tmp_path):
    def digest(family: str, network: str | None, weights: str | None) -> str | None:
        drawn = {"family": family, "network": network, "weights": weights}
        return weights_digest(params.backbone.model_copy(update=drawn))

    assert digest("conv_blocks", None, None) is None
    assert digest("efficientnet_lite", "lite1", "imagenet") == SHA256["lite1"]
    assert digest("applications", "ResNet50V2", "imagenet") is None  # Keras checks what it downloads
    (tmp_path / "some.h5").write_bytes(b"a")
    found = [digest(family, "lite0", str(tmp_path / "some.h5")) for family in sorted(BUILDERS)]
    assert set(found) == {hashlib.sha256(b"a").hexdigest()}
