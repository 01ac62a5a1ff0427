"""Rates by weight, against the optimizers of Keras and numbers counted by hand."""

from typing import Any

import keras
import numpy as np
import pytest

from melanoma.training import optimizers
from melanoma.training.optimizers import Rate

FULL = Rate(1.0, 0)


def take_steps(optimizer: keras.optimizers.Optimizer, number: int) -> list[np.ndarray]:
    """Two weights, from 1 on, after steps with the gradients 1 and -2."""
    weights = [keras.Variable(np.ones((2, 2)), name=name) for name in ("first", "second")]
    optimizer.build(weights)
    for _ in range(number):
        optimizer.apply([keras.ops.full((2, 2), value) for value in (1.0, -2.0)], weights)
    return [np.array(weight) for weight in weights]


@pytest.mark.parametrize("decay", [None, 0.1])
@pytest.mark.parametrize(("name", "options"), [("Adam", {}), ("SGD", {"momentum": 0.9})])
def test_with_full_rates_steps_are_those_of_keras(name, options, decay):
    expected = take_steps(getattr(keras.optimizers, name)(0.01, weight_decay=decay, **options), 4)
    ours = getattr(optimizers, name)(0.01, rates=[FULL, FULL], weight_decay=decay, **options)
    for one, other in zip(take_steps(ours, 4), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_factor_scales_steps_and_decay_of_its_weight_only():
    first, second = take_steps(optimizers.SGD(0.1, rates=[Rate(0.5, 0), FULL], weight_decay=0.2), 1)
    np.testing.assert_allclose(first, 1 - 0.05 * 0.2 - 0.05, rtol=1e-6)
    np.testing.assert_allclose(second, 1 - 0.1 * 0.2 + 0.1 * 2, rtol=1e-6)


def test_a_factor_of_adam_is_a_learning_rate_of_its_own():
    halved = take_steps(optimizers.Adam(0.01, rates=[Rate(0.5, 0), FULL], weight_decay=None), 3)
    np.testing.assert_allclose(halved[0], take_steps(keras.optimizers.Adam(0.005), 3)[0], rtol=1e-6)
    np.testing.assert_allclose(halved[1], take_steps(keras.optimizers.Adam(0.01), 3)[1], rtol=1e-6)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_a_weight_stays_until_its_first_step(number):
    first, second = take_steps(optimizers.SGD(0.1, rates=[Rate(1.0, 3), FULL], weight_decay=0.2), number)
    assert (first == 1).all() == (number <= 3)
    assert (second == 1).all() == (number == 0)


def test_spared_weights_do_not_decay():
    optimizer: Any = optimizers.SGD(0.1, rates=[FULL, FULL], weight_decay=0.2)
    weights = [keras.Variable(np.ones((2, 2)), name=name) for name in ("first", "second")]
    optimizer.exclude_from_weight_decay(var_list=weights[:1])
    optimizer.build(weights)
    optimizer.apply([keras.ops.zeros((2, 2))] * 2, weights)
    np.testing.assert_allclose([np.array(weight)[0, 0] for weight in weights], [1, 0.98], rtol=1e-6)
