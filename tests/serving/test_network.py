from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from melanoma.errors import TrackingError
from melanoma.schema import CLASSES
from melanoma.serving.network import Network
from tests.serving.brightness import write_class_network


@pytest.fixture(scope="module")
def network(network_folder):
    return Network(network_folder / "model.onnx")


def test_scores_equal_those_of_keras(network, network_folder, images):
    import keras

    model = keras.models.load_model(network_folder / "model.keras")
    scores = network.score(images, batch_size=64)
    expected = model.predict_on_batch(images).ravel()
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert scores.std() > 0.03  # equal answers to unequal pictures would agree with anything


def test_scores_are_one_float64_probability_an_image(network, images):
    scores = network.score(images, batch_size=64)
    assert (scores.shape, scores.dtype) == ((150,), np.float64)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("batch_size", [1, 7, 149, 150, 1000])
def test_the_batch_size_does_not_matter(network, images, batch_size):
    np.testing.assert_allclose(
        network.score(images, batch_size=batch_size),
        network.score(images, batch_size=64),
        rtol=0,
        atol=1e-6,
    )


def test_scores_stand_in_the_order_of_the_images(network, images):
    forward = network.score(images, batch_size=64)
    np.testing.assert_allclose(network.score(images[::-1], batch_size=64), forward[::-1], rtol=0, atol=1e-6)


def test_no_images_give_no_scores(network, images):
    scores = network.score(images[:0], batch_size=64)
    assert (scores.shape, scores.dtype) == ((0,), np.float64)


def test_threads_get_the_answers_of_one(network, images):
    alone = [network.score(images[number : number + 10], batch_size=4) for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda number: network.score(images[number : number + 10], batch_size=4), range(50))
        )
    np.testing.assert_array_equal(together, alone)


def test_the_image_size_is_read_from_the_network(network):
    assert network.image_size == 32


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(TrackingError, match=r"absent\.onnx cannot be loaded as an ONNX network"):
        Network(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"no network", b"\x00" * 1000])
def test_a_file_that_is_no_network_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(TrackingError, match=r"broken\.onnx cannot be loaded as an ONNX network"):
        Network(path)


def test_a_truncated_network_is_refused(network_folder, tmp_path):
    path = tmp_path / "truncated.onnx"
    path.write_bytes((network_folder / "model.onnx").read_bytes()[:-500])
    with pytest.raises(TrackingError):
        Network(path)


# ---- several classes ---------------------------------------------------------------------------


def test_a_network_of_classes_gives_the_score_and_all_probabilities(images, tmp_path):
    network = Network(write_class_network(tmp_path / "classes.onnx"))
    expected = images.mean((1, 2, 3)) / 255
    softmax = network.score_classes(images, batch_size=7)
    assert network.tells_classes
    assert softmax.shape == (150, len(CLASSES))
    assert softmax.dtype == np.float64
    np.testing.assert_allclose(softmax[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(softmax[:, 1:], np.tile((1 - expected)[:, None] / 3, 3), atol=1e-6)
    np.testing.assert_array_equal(network.score(images, batch_size=7), softmax[:, 0])
    assert network.score_classes(images[:0]).shape == (0, 4)


def test_a_network_of_two_answers_has_no_classes(network, images):
    assert not network.tells_classes
    with pytest.raises(TrackingError, match=r"trained with model\.target: positive"):
        network.score_classes(images)


def test_a_network_of_other_classes_is_refused(tmp_path):
    path = write_class_network(tmp_path / "five.onnx", num_classes=5)
    with pytest.raises(
        TrackingError,
        match=r"five\.onnx has the outputs .*'melanoma'.* Train the network",
    ):
        Network(path)
