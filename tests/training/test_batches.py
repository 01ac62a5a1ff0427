import threading
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from melanoma.data.augment import augment_image
from melanoma.data.packed import Part
from melanoma.models.builders import build_model
from melanoma.training.batches import Batches, read_augmented, read_features
from melanoma.training.batches import prepare as prepare_batches
from melanoma.training.epochs import Epoch, Sampling
from melanoma.training.recipe import Recipe
from melanoma.training.resident import ResidentModel

TARGETS = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], np.float32)  # three positive, nine negative
STILL = {
    "rotation_degrees": 0.0,
    "horizontal_shift_fraction": 0.0,
    "vertical_shift_fraction": 0.0,
    "zoom_fraction": 0.0,
    "flips": False,
}


@pytest.fixture(scope="module")
def part():
    """Twelve pictures of noise, each of a brightness of its own, in the odd rows of a larger array."""
    noise = np.random.default_rng(1).integers(0, 60, size=(24, 16, 16, 3))
    images = (noise + 15 * (np.arange(24) // 2)[:, None, None, None]).astype(np.uint8)
    return Part(images, np.arange(1, 24, 2), TARGETS, image_ids=np.arange(12).astype(str))


@pytest.fixture
def make(params, part):
    """Batches of `part`: `make(batch_size=4, num_threads=1, hue_degrees=10.0)`."""

    def build(*, batch_size=5, num_threads=2, sampling_power=1, seed=3, first_epoch=0, **amounts):
        sampling = Sampling(
            part.targets,
            image_size=16,
            sampling_power=sampling_power,
            amounts=params.augment.paper.model_copy(update=amounts),
            seed=seed,
        )
        read = partial(read_augmented, part)
        return Batches(
            sampling, read, batch_size=batch_size, num_threads=num_threads, first_epoch=first_epoch
        )

    return build


def read_all(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    parts = [batches[number] for number in range(len(batches))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def read_epochs(batches: Batches, number: int) -> list[np.ndarray]:
    """The images of so many epochs."""
    epochs = []
    for _ in range(number):
        epochs.append(read_all(batches)[0])
        batches.on_epoch_end()
    return epochs


def positions_of(pixels: np.ndarray, part: Part) -> list[int]:
    """Which image of `part` each of an epoch without augmentation is."""
    images = part.take(slice(None))
    return [int(np.flatnonzero((images == image).all((1, 2, 3)))[0]) for image in pixels]


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5, 5, 2]), (4, [4, 4, 4]), (12, [12]), (50, [12])])
def test_an_epoch_has_as_many_images_as_there_are_and_a_smaller_last_batch(make, batch_size, sizes):
    batches = make(batch_size=batch_size)
    assert len(batches) == len(sizes)
    assert [len(batches[number][0]) for number in range(len(batches))] == sizes
    assert [len(batches[number][1]) for number in range(len(batches))] == sizes


def test_a_batch_holds_uint8_images_and_float_targets(make):
    pixels, targets = make()[0]
    assert pixels.shape == (5, 16, 16, 3)
    assert pixels.dtype == np.uint8
    assert targets.shape == (5,)
    assert targets.dtype == np.float32


def test_an_epoch_holds_each_class_equally_often(make):
    _, targets = read_all(make())
    assert targets.sum() == 6


def test_without_balance_every_image_comes_once(make, part):
    pixels, _ = read_all(make(sampling_power=0, **STILL))
    assert sorted(positions_of(pixels, part)) == list(range(12))


def test_every_image_keeps_its_own_target(make, part):
    pixels, targets = read_all(make(**STILL))
    assert targets.tolist() == TARGETS[positions_of(pixels, part)].tolist()


@pytest.mark.parametrize("amounts", [{}, {"brightness_fraction": 0.2, "hue_degrees": 20.0}])
def test_images_are_those_of_the_part_changed_as_the_epoch_says(make, part, params, amounts):
    batches = make(**amounts)
    sampling = Sampling(TARGETS, 16, True, params.augment.paper.model_copy(update=amounts), seed=3)
    epoch = sampling.draw(0)
    colours = [None] * 12 if epoch.colours is None else epoch.colours
    expected = [
        augment_image(part.images[part.rows[position]], warp, colour)
        for position, warp, colour in zip(epoch.positions, epoch.warps, colours, strict=True)
    ]
    np.testing.assert_array_equal(read_all(batches)[0], expected)


def test_the_same_seed_gives_the_same_epochs(make):
    for one, other in zip(read_epochs(make(), 3), read_epochs(make(), 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_another_epoch(make):
    assert (read_all(make(seed=3))[0] != read_all(make(seed=4))[0]).any()


def test_another_epoch_draws_and_warps_anew(make):
    first, second = read_epochs(make(), 2)
    assert (first != second).any((1, 2, 3)).all()


def test_a_run_that_begins_later_sees_what_the_whole_run_saw(make):
    whole, resumed = read_epochs(make(), 5), read_epochs(make(first_epoch=3), 2)
    np.testing.assert_array_equal(whole[3:], resumed)


def test_a_batch_is_the_same_in_whatever_order_batches_are_asked_for(make):
    forward, backward = make(), make()
    expected = [forward[number] for number in range(3)]
    for number in (2, 0, 1, 0, 2):
        np.testing.assert_array_equal(backward[number][0], expected[number][0])
        np.testing.assert_array_equal(backward[number][1], expected[number][1])


@pytest.mark.parametrize("num_threads", [1, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_neither_threads_nor_the_batch_size_change_an_image(make, num_threads, batch_size):
    batches = make(num_threads=num_threads, batch_size=batch_size)
    for one, other in zip(read_epochs(batches, 2), read_epochs(make(), 2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_drawing_leaves_the_images_as_they_were(make, part):
    before = part.images.copy()
    read_all(make())
    np.testing.assert_array_equal(part.images, before)


# ---- beside the training step ------------------------------------------------------------------


class Reader:
    """Notes which images were read and waits until it is let go on."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.go_on = threading.Event()

    def __call__(self, images: Epoch) -> np.ndarray:
        self.go_on.wait(timeout=30)
        self.positions += images.positions.tolist()
        return images.positions


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader.go_on.set()  # or its threads would wait


def batches_of_one(reader, params, *, num_threads: int) -> Batches:
    sampling = Sampling(TARGETS, 16, False, params.augment.paper, seed=3)
    return Batches(sampling, reader, batch_size=1, num_threads=num_threads)


def test_the_next_batches_are_begun_while_one_is_used_but_not_all_of_them(reader, params):
    reader.go_on.set()
    batches = batches_of_one(reader, params, num_threads=1)
    batches[0]
    batches._pool.shutdown()  # when all that was begun is done
    assert len(reader.positions) == 3  # the one, and two ahead


def test_each_batch_of_an_epoch_is_made_once(reader, params):
    reader.go_on.set()
    batches = batches_of_one(reader, params, num_threads=2)
    for number in range(12):
        batches[number]
    batches._pool.shutdown()
    assert sorted(reader.positions) == list(range(12))


def test_batches_begun_in_an_epoch_are_never_given_in_the_next(reader, params):
    reader.go_on.set()
    batches, alone = (batches_of_one(reader, params, num_threads=2) for _ in range(2))
    batches[0]
    batches.on_epoch_end()
    alone.on_epoch_end()
    assert [batches[number][0][0] for number in range(12)] == alone._epoch.positions.tolist()


def test_what_goes_wrong_in_a_thread_is_raised_where_the_batch_is_asked_for(params):
    def read(images: Epoch) -> np.ndarray:
        raise OSError("disk gone")

    batches = batches_of_one(read, params, num_threads=2)
    with pytest.raises(OSError, match="disk gone"):
        batches[0]


def fit_epochs(batches: Batches, *, first_epoch: int, num_epochs: int) -> list[float]:
    """What `fit` saw of each epoch: a network that changes nothing has the mean of its inputs as its loss."""
    inputs = keras.Input((), dtype="float32")
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile("sgd", loss=lambda _, seen: seen)
    history = model.fit(batches, initial_epoch=first_epoch, epochs=num_epochs, shuffle=False, verbose=0)
    return [round(loss, 4) for loss in history.history["loss"]]


def read_shears(images: Epoch) -> np.ndarray:
    return images.warps[:, 0, 0].astype(np.float32)


def test_fit_sees_the_same_epochs_when_it_is_resumed(params):
    def batches(first_epoch: int) -> Batches:
        sampling = Sampling(TARGETS, 16, True, params.augment.paper, seed=3)
        return Batches(sampling, read_shears, batch_size=5, num_threads=2, first_epoch=first_epoch)

    whole = fit_epochs(batches(0), first_epoch=0, num_epochs=4)
    assert len(set(whole)) == 4
    assert fit_epochs(batches(2), first_epoch=2, num_epochs=4) == whole[2:]


def test_features_are_those_of_the_view_whose_turn_it_is():
    views = np.arange(6, dtype=np.float16).reshape(2, 3, 1)  # view 0 has 0, 1, 2; view 1 has 3, 4, 5
    none = np.zeros((4, 2, 3))
    images = Epoch(np.array([2, 0, 2, 1]), none, None, rounds=np.array([4, 4, 5, 4]))
    read = read_features(views, images)
    assert read.ravel().tolist() == [2, 0, 5, 1]
    assert read.dtype == np.float32


# ---- on the host or on a device ------------------------------------------------------------------


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
    return network, *prepare_batches(network, part, recipe, seed=seed, first_epoch=first_epoch)


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
    monkeypatch.setattr("melanoma.training.batches.num_cores", lambda: 5)
    few = change(recipe, input="host", num_loader_threads=num_loader_threads)
    assert prepare(few, bright_or_dark.train)[2]._pool._max_workers == expected
