from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from melanoma.errors import TrackingError
from melanoma.schema import CLASSES
from melanoma.serving.network import Network
from tests.serving.brightness import write_class_network, write_network


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
    num_others = len(CLASSES) - 1
    assert network.tells_classes
    assert network.classes == CLASSES
    assert softmax.shape == (150, len(CLASSES))
    assert softmax.dtype == np.float64
    np.testing.assert_allclose(softmax[:, 0], expected, atol=1e-6)
    each = (1 - expected)[:, None] / num_others
    np.testing.assert_allclose(softmax[:, 1:], np.tile(each, num_others), atol=1e-6)
    np.testing.assert_array_equal(network.score(images, batch_size=7), softmax[:, 0])
    assert network.score_classes(images[:0]).shape == (0, len(CLASSES))


def test_a_network_of_two_answers_has_no_classes(network, images):
    assert not network.tells_classes
    with pytest.raises(TrackingError, match=r"trained with model\.target: positive"):
        network.score_classes(images)


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:1], ()])
def test_a_network_whose_classes_have_other_names_than_outputs_is_refused(tmp_path, classes):
    path = write_class_network(tmp_path / "other.onnx", num_classes=len(CLASSES) + 1, classes=classes)
    with pytest.raises(TrackingError, match=r"other\.onnx has the outputs .* Train the network again"):
        Network(path)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_names_of_the_classes_are_those_of_the_file(images, tmp_path, num_classes):
    names = [f"class {number}" for number in range(num_classes)]
    network = Network(write_class_network(tmp_path / "a.onnx", num_classes=num_classes, classes=names))
    assert network.classes == tuple(names)
    assert network.score_classes(images).shape == (150, num_classes)


# ---- features and earlier files ----------------------------------------------------------------


def test_features_are_those_of_keras_averaged_over_the_picture(network, network_folder, images):
    import keras

    model = keras.models.load_model(network_folder / "model.keras")
    picture = keras.Model(model.input, model.get_layer("pool_1").output).predict_on_batch(images)
    found = network.features(images, batch_size=7)
    np.testing.assert_allclose(found, picture.mean((1, 2)), rtol=0, atol=1e-5)
    assert found.dtype == np.float64
    assert network.features(images[:0]).shape == (0, 4)


@pytest.mark.parametrize("num_views", [1, 8])
def test_one_pass_gives_score_and_features(network_folder, images, num_views):
    network = Network(network_folder / "model.onnx", num_views=num_views)
    answer = network.answer(images, with_features=True)
    np.testing.assert_array_equal(answer.score, network.score(images))
    assert answer.features is not None
    np.testing.assert_allclose(answer.features, network.features(images), rtol=0, atol=1e-5)
    assert answer.classes is None
    assert network.answer(images).features is None
    assert len(network.answer(images[:0], with_features=True).score) == 0


def test_a_file_without_names_and_features_still_scores(images, tmp_path):
    model = onnx.load(write_network(tmp_path / "earlier.onnx"))
    model.graph.output[0].name = model.graph.node[-1].output[0] = "Identity:0"
    onnx.save(model, tmp_path / "earlier.onnx")
    network = Network(tmp_path / "earlier.onnx")
    np.testing.assert_allclose(network.score(images), images.mean((1, 2, 3)) / 255, atol=1e-6)
    with pytest.raises(TrackingError, match=r"earlier\.onnx has no output features: an earlier version"):
        network.features(images)
    with pytest.raises(TrackingError, match="has no output features"):
        network.answer(images, with_features=True)


# ---- views -------------------------------------------------------------------------------------


def logit(scores):
    return np.log(scores) - np.log1p(-np.asarray(scores))


def orientations(images):
    """All 8, made in another way than the code does: by transposing and mirroring."""
    upright = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    return upright + [np.swapaxes(one, 1, 2) for one in upright]


@pytest.fixture(scope="module")
def of_views(network_folder):
    return {num_views: Network(network_folder / "model.onnx", num_views=num_views) for num_views in (1, 4, 8)}


def test_the_score_of_8_views_is_the_sigmoid_of_the_mean_logit(of_views, images):
    alone = [of_views[1].score(turned) for turned in orientations(images)]
    expected = 1 / (1 + np.exp(-np.mean([logit(scores) for scores in alone], axis=0)))
    found = of_views[8].score(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(found - alone[0]).max() > 1e-4


def test_8_views_do_not_see_rotations_and_mirrors_and_4_do_not_see_rotations(of_views, images):
    expected = {num_views: network.score(images) for num_views, network in of_views.items()}
    for turned in orientations(images):
        np.testing.assert_allclose(of_views[8].score(turned), expected[8], rtol=0, atol=1e-7)
    for quarter in range(4):
        turned = np.rot90(images, quarter, axes=(1, 2))
        np.testing.assert_allclose(of_views[4].score(turned), expected[4], rtol=0, atol=1e-7)
    assert np.abs(of_views[4].score(images[:, :, ::-1]) - expected[4]).max() > 1e-4
    assert np.abs(of_views[1].score(images[:, ::-1, ::-1]) - expected[1]).max() > 1e-4


@pytest.mark.parametrize("num_views", [1, 4, 8])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_no_batch_has_more_views_than_asked_for(of_views, images, num_views, batch_size, monkeypatch):
    network, sizes = of_views[num_views], []
    expected = network.score(images[:5])
    run = network._session.run

    def counted(names, inputs):
        sizes.append(len(next(iter(inputs.values()))))
        return run(names, inputs)

    monkeypatch.setattr(network, "_session", SimpleNamespace(run=counted))
    calls = []
    found = network.score(images[:5], batch_size=batch_size, before_each=lambda: calls.append(1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert sum(sizes) == 5 * num_views
    assert max(sizes) <= batch_size
    assert len(calls) == len(sizes)


@pytest.mark.parametrize("num_views", [4, 8])
def test_classes_of_several_views_are_the_softmax_of_their_mean_logits(images, tmp_path, num_views):
    path = write_class_network(tmp_path / "classes.onnx")  # it sees no orientation
    one, several = Network(path), Network(path, num_views=num_views)
    np.testing.assert_allclose(several.score_classes(images), one.score_classes(images), atol=1e-6)
    np.testing.assert_allclose(several.score(images), one.score(images), atol=1e-6)
    assert several.score_classes(images[:0]).shape == (0, len(CLASSES))


@pytest.mark.parametrize("num_views", [0, 2, 16, None])
def test_another_number_of_views_is_refused(network_folder, num_views):
    with pytest.raises(ValueError, match=rf"num_views must be one of \(1, 4, 8\), got {num_views}"):
        Network(network_folder / "model.onnx", num_views=num_views)
