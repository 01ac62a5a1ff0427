from dataclasses import replace

import keras
import numpy as np
import pytest

from melanoma.data.packed import Part
from melanoma.models.builders import build_model
from melanoma.training import inputs
from melanoma.training.recipe import Recipe
from melanoma.training.resident import ResidentModel


def change(recipe: Recipe, *, hyperparameters=None, augment=None, **train) -> Recipe:
    return replace(
        recipe,
        hyperparameters=recipe.hyperparameters.model_copy(update=hyperparameters or {}),
        augment=recipe.augment.model_copy(update=augment or {}),
        train=recipe.train.model_copy(update=train),
    )


def prepare(recipe: Recipe, part: Part, *, seed: int = 1, first_epoch: int = 0):
    """The network, the model to fit and its batches."""
    keras.utils.set_random_seed(1)
    network = build_model(recipe.hyperparameters, recipe.model, image_size=part.images.shape[1])
    return network, *inputs.prepare(network, part, recipe, seed=seed, first_epoch=first_epoch)


def fit(recipe: Recipe, part: Part, *, first_epoch: int = 0, num_epochs: int = 2) -> list[np.ndarray]:
    """The weights of a network after some epochs."""
    network, model, batches = prepare(recipe, part, first_epoch=first_epoch)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    model.fit(batches, initial_epoch=first_epoch, epochs=num_epochs, shuffle=False, verbose=0)
    return network.get_weights()


def assert_close(one: list[np.ndarray], other: list[np.ndarray], *, atol: float) -> None:
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, atol=atol)


def test_host_input_fits_the_network_itself(recipe, bright_or_dark):
    network, model, batches = prepare(change(recipe, input="host"), bright_or_dark.train)
    assert model is network
    pixels, targets = batches[0]
    assert pixels.shape == (8, 24, 24, 3)
    assert targets.shape == (8,)


def test_device_input_fits_a_model_around_the_network(recipe, bright_or_dark):
    network, model, batches = prepare(change(recipe, input="device"), bright_or_dark.train)
    assert isinstance(model, ResidentModel)
    assert model.network is network
    positions, warps = batches[0][0]
    assert positions.shape == (8,)
    assert warps.shape == (8, 2, 3)


@pytest.mark.parametrize(
    ("devices", "is_on_device"), [(["cpu:0"], False), (["gpu:0", "gpu:1"], True), (["cpu:0", "gpu:0"], True)]
)
def test_auto_takes_the_device_where_keras_sees_a_gpu(
    recipe, bright_or_dark, monkeypatch, devices, is_on_device
):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda *_: devices)
    _, model, _ = prepare(change(recipe, input="auto"), bright_or_dark.train)
    assert isinstance(model, ResidentModel) is is_on_device


def test_a_device_gets_the_rows_of_its_part_alone(recipe, bright_or_dark):
    whole = bright_or_dark.train
    part = Part(whole.images, whole.rows[3:9], whole.targets[3:9], image_ids=whole.image_ids[3:9])
    _, model, batches = prepare(change(recipe, input="device"), part)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model.resident.images), whole.images[whole.rows[3:9]]
    )
    (positions, _), targets = batches[0]
    assert targets.tolist() == part.targets[positions].tolist()


@pytest.mark.parametrize("augment", [{}, {"brightness_fraction": 0.2, "hue_degrees": 20.0}])
def test_both_ways_train_the_same_network(recipe, bright_or_dark, augment):
    host, device = (
        fit(change(recipe, input=place, augment=augment), bright_or_dark.train)
        for place in ("host", "device")
    )
    assert_close(host, device, atol=1e-3)  # pixels differ by a grey level here and there


@pytest.mark.parametrize("place", ["host", "device"])
def test_a_fit_in_two_pieces_sees_what_a_fit_in_one_sees(recipe, bright_or_dark, place):
    recipe = change(recipe, input=place)
    whole = fit(recipe, bright_or_dark.train, num_epochs=3)
    network, model, batches = prepare(recipe, bright_or_dark.train)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    model.fit(batches, epochs=2, shuffle=False, verbose=0)
    again, model, batches = prepare(recipe, bright_or_dark.train, first_epoch=2)
    again.set_weights(network.get_weights())
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    model.fit(batches, initial_epoch=2, epochs=3, shuffle=False, verbose=0)
    assert_close(whole, again.get_weights(), atol=1e-6)
    assert (np.abs(whole[0] - network.get_weights()[0]) > 1e-6).any()


def warps_of(recipe: Recipe, part: Part) -> np.ndarray:
    _, _, batches = prepare(change(recipe, input="device"), part)
    return np.concatenate([batches[number][0][1] for number in range(len(batches))])


def test_strength_scales_the_amounts_of_augmentation(recipe, bright_or_dark):
    def angles(strength: float) -> np.ndarray:
        weaker = change(recipe, hyperparameters={"augment_strength": strength}, augment={"flips": False})
        warps = warps_of(weaker, bright_or_dark.train)
        return np.rad2deg(np.arctan2(warps[:, 1, 0], warps[:, 0, 0]))

    np.testing.assert_allclose(angles(0.25), angles(1.0) / 4, atol=1e-3)
    np.testing.assert_allclose(angles(0.0), 0, atol=1e-6)
    assert np.abs(angles(1.0)).max() > 90


def test_the_seed_decides_the_batches(recipe, bright_or_dark):
    first, same, other = (
        prepare(change(recipe, input="host"), bright_or_dark.train, seed=seed)[2][0][0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(("num_loader_threads", "expected"), [(3, 3), (0, 5)])
def test_threads_are_those_of_the_parameters_or_one_for_each_core(
    recipe, bright_or_dark, monkeypatch, num_loader_threads, expected
):
    monkeypatch.setattr(inputs, "num_cores", lambda: 5)
    few = change(recipe, input="host", num_loader_threads=num_loader_threads)
    assert prepare(few, bright_or_dark.train)[2]._pool._max_workers == expected
