import keras
import numpy as np
import pytest

from melanoma.data.augment import augment_image
from melanoma.data.packed import Part
from melanoma.training.batches import read_augmented
from melanoma.training.epochs import Epoch, Sampling
from melanoma.training.resident import ResidentImages, ResidentModel, instructions
from tests.data.pictures import textured

SIZE = 33  # odd, so that a centre is a pixel
COLOURS = {
    "brightness_fraction": 0.2,
    "contrast_fraction": 0.2,
    "saturation_fraction": 0.3,
    "hue_degrees": 20.0,
    "channel_fraction": 0.1,
    "aspect_fraction": 0.15,
}
STILL = np.array([[1.0, 0, 0], [0, 1, 0]])


@pytest.fixture(scope="module")
def part():
    """Six smooth pictures and two of noise, where a wrong place shows most."""
    smooth = [textured(seed, side=SIZE) for seed in range(6)]
    noise = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    images = np.concatenate([smooth, noise])
    targets = np.tile([0, 1], 4).astype(np.float32)
    return Part(images, np.arange(8), targets, image_ids=np.arange(8).astype(str))


@pytest.fixture(scope="module")
def layer(part):
    return ResidentImages(part.images)


def on_device(layer: ResidentImages, images: Epoch) -> np.ndarray:
    return keras.ops.convert_to_numpy(layer(*instructions(images)))


@pytest.mark.parametrize("amounts", [{}, COLOURS, {"zoom_fraction": 0.9, "horizontal_shift_fraction": 1.0}])
def test_the_device_makes_the_same_pictures_as_the_host(layer, part, params, amounts):
    sampling = Sampling(part.targets, SIZE, True, params.augment.paper.model_copy(update=amounts), seed=3)
    for number in range(4):
        epoch = sampling.draw(number)
        expected = read_augmented(part, epoch).astype(np.float64)
        difference = np.abs(on_device(layer, epoch) - expected)
        # In grey levels. Warps agree but for what lies halfway between two; OpenCV multiplies colours with
        # 10 bits, and so rounds every tenth value to the next level.
        assert difference.max() <= (2 if epoch.colours is not None else 1)
        assert difference.mean() < (0.1 if epoch.colours is not None else 0.001)


def of_one(warp: np.ndarray, position: int = 0) -> Epoch:
    return Epoch(np.array([position]), warp[None], None, np.array([0]))


def test_without_a_warp_the_picture_is_itself(layer, part):
    for position in range(len(part)):
        np.testing.assert_array_equal(on_device(layer, of_one(STILL, position))[0], part.images[position])


def test_a_quarter_turn_and_a_mirroring_are_exact(layer, part):
    last = SIZE - 1
    turn = np.array([[0.0, -1, last], [1, 0, 0]])  # (x, y) goes to (last - y, x): clockwise
    mirror = np.array([[-1.0, 0, last], [0, 1, 0]])
    np.testing.assert_array_equal(on_device(layer, of_one(turn))[0], np.rot90(part.images[0], -1))
    np.testing.assert_array_equal(on_device(layer, of_one(mirror))[0], np.fliplr(part.images[0]))


@pytest.mark.parametrize("shift", [3, 20, 40, 70, -100])
def test_what_is_shifted_in_is_reflected_however_far(layer, part, shift):
    moved = np.array([[1.0, 0, shift], [0, 1, 0]])
    padded = np.pad(part.images[0], ((0, 0), (128, 128), (0, 0)), mode="reflect")
    expected = padded[:, 128 - shift : 128 - shift + SIZE]
    np.testing.assert_array_equal(on_device(layer, of_one(moved))[0], expected)
    np.testing.assert_array_equal(augment_image(part.images[0], moved), expected)


def test_colours_are_clipped_before_they_become_bytes(layer, part):
    colours = np.array([[[9.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0]]])
    brighter = Epoch(np.array([0]), STILL[None], colours, np.array([0]))
    (pixels,) = on_device(layer, brighter)
    np.testing.assert_array_equal(pixels[..., 0], np.minimum(9 * part.images[0, ..., 0].astype(int), 255))
    assert not pixels[..., 1].any()
    np.testing.assert_array_equal(pixels[..., 2], part.images[0, ..., 2])


def test_instructions_undo_the_warps(params, part):
    epoch = Sampling(part.targets, SIZE, True, params.augment.paper, seed=3).draw(0)
    positions, places, *colours = instructions(epoch)
    assert positions.dtype == np.int32
    assert not colours
    for warp, place in zip(epoch.warps, places, strict=True):
        back_and_forth = np.vstack([warp, [0, 0, 1]]) @ np.vstack([place, [0, 0, 1]])
        np.testing.assert_allclose(back_and_forth, np.eye(3), atol=1e-4)


# ---- in a training -----------------------------------------------------------------------------


@pytest.fixture
def network():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))


def train_step(model: ResidentModel, part: Part, params) -> None:
    model.compile("adam", "binary_crossentropy")
    epoch = Sampling(part.targets, SIZE, True, params.augment.paper, seed=3).draw(0)
    model.train_on_batch(instructions(epoch), part.targets[epoch.positions])


def test_the_networks_own_weights_are_trained_and_the_images_are_not(network, part, params):
    before = [weight.copy() for weight in network.get_weights()]
    model = ResidentModel(network, part.images)
    train_step(model, part, params)
    assert all((one != other).any() for one, other in zip(before, network.get_weights(), strict=True))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.resident.images), part.images)


def test_the_images_are_neither_saved_with_the_network_nor_known_to_the_optimizer(network, part, params):
    model = ResidentModel(network, part.images)
    train_step(model, part, params)
    assert len(network.variables) == 2  # kernel and bias
    assert not any("uint8" in str(variable.dtype) for variable in model.optimizer.variables)
    assert [variable.path for variable in model.non_trainable_variables] == [model.resident.images.path]


def test_the_array_is_given_to_the_compiled_step_and_not_built_into_it(network, part, params):
    model = ResidentModel(network, part.images)
    train_step(model, part, params)
    model.resident.images.assign(np.zeros_like(part.images))
    black = model.train_on_batch(instructions(of_one(STILL)), np.ones(1, np.float32))
    bias = network.get_weights()[1].item()  # after the step, by 0.001 at most
    assert black == pytest.approx(np.log1p(np.exp(-bias)), abs=0.01)


def test_half_precision_of_the_network_does_not_reach_the_images(part, params):
    def means() -> np.ndarray:
        pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 255, dtype="float32")(pixels)
        network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(dtype="float32")(scaled))
        model = ResidentModel(network, part.images)
        epoch = Sampling(part.targets, SIZE, True, params.augment.paper, seed=3).draw(0)
        return keras.ops.convert_to_numpy(model(instructions(epoch)))

    before, expected = keras.config.dtype_policy(), means()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        np.testing.assert_array_equal(means(), expected)
    finally:
        keras.config.set_dtype_policy(before)
