"""The contract of every network family; parametrised over the table, so that a new family is held to it."""

from typing import get_args

import keras
import numpy as np
import pytest

from melanoma.models.builders import BUILDERS
from melanoma.sections import Model

families = pytest.mark.parametrize("family", sorted(BUILDERS))


def build(family: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    return BUILDERS[family](image_size=32, depth=1, filters=[4, 4], dense_units=8)


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, size=(5, 32, 32, 3), dtype=np.uint8)


def test_the_families_of_the_parameters_are_those_of_the_table():
    assert set(get_args(Model.model_fields["family"].annotation)) == set(BUILDERS)


@families
def test_uint8_pixels_go_in_and_float32_probabilities_come_out(family, images):
    model = build(family)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.inputs[0].dtype == "uint8"
    outputs = model.predict_on_batch(images)
    assert (outputs.shape, outputs.dtype) == ((5, 1), np.float32)
    assert ((outputs >= 0) & (outputs <= 1)).all()


@families
def test_depth_adds_weights(family):
    shallow, deep = (
        BUILDERS[family](image_size=32, depth=depth, filters=[4, 4], dense_units=8) for depth in (1, 2)
    )
    assert len(shallow.weights) < len(deep.weights)


@families
def test_every_weight_takes_part_in_the_answer(family, images):
    model = build(family)
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    before = [weight.copy() for weight in model.get_weights()]
    model.train_on_batch(images, np.array([0, 1, 0, 1, 1], np.float32))
    changed = [(old != new).any() for old, new in zip(before, model.get_weights(), strict=True)]
    assert all(changed)


@families
def test_a_saved_network_answers_alike_when_loaded(family, images, tmp_path):
    model = build(family)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))
