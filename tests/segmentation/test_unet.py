import numpy as np
import pytest

from melanoma.segmentation import unet


def test_the_mask_is_as_large_as_the_picture_and_holds_probabilities():
    model = unet.build(image_size=32, depth=2, filters=2)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.inputs[0].dtype == "uint8"
    lesion = model(np.random.default_rng(1).integers(0, 256, size=(2, 32, 32, 3), dtype=np.uint8))
    assert lesion.shape == (2, 32, 32, 1)
    assert 0 <= float(lesion.numpy().min()) <= float(lesion.numpy().max()) <= 1


def test_channels_double_with_each_halving():
    model = unet.build(image_size=32, depth=2, filters=3)
    channels = {
        name: model.get_layer(name).filters for name in ("down_0a", "down_1b", "bottoma", "up_1a", "up_0b")
    }
    assert channels == {"down_0a": 3, "down_1b": 6, "bottoma": 12, "up_1a": 6, "up_0b": 3}


def test_a_picture_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="image_size must be a multiple of 8 to be halved 3 times, got 36"):
        unet.build(image_size=36, depth=3, filters=2)
    assert unet.build(image_size=36, depth=2, filters=2).output_shape == (None, 36, 36, 1)
