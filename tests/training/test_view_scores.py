import keras
import numpy as np
import pytest

from melanoma.data.packed import Part
from melanoma.training import scores, view_scores


@pytest.fixture
def part():
    generator = np.random.default_rng(3)
    images = generator.integers(0, 256, size=(19, 8, 8, 3), dtype=np.uint8)
    targets = (np.arange(19) % 3 == 0).astype(np.float32)
    ids = np.arange(19).astype(str)
    return Part(images, np.arange(19)[::-1], targets, image_ids=ids, positive_classes=(0, 2))


def network(num_outputs: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    activation = "sigmoid" if num_outputs == 1 else "softmax"
    return keras.Model(image, keras.layers.Dense(num_outputs, activation=activation)(flat))


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_one_view_is_scored_as_ever_and_others_as_the_mean_logit(part, num_outputs):
    model = network(num_outputs)
    found = view_scores.measure(model, part)
    assert list(found) == ["1", "4", "8"]
    plain = scores.predict(model, part)
    assert found["1"]["auc_roc"] == scores.auc_roc(part.targets, plain)
    turned = [np.rot90(part.take(slice(None)), quarter, axes=(1, 2)) for quarter in range(4)]
    logits = np.log([model.predict_on_batch(images) for images in turned]).astype(np.float64)
    if num_outputs == 1:
        logits = logits - np.log1p(-np.exp(logits))
        expected = logits.mean(0)[:, 0]
    else:
        weights = np.exp(logits.mean(0))
        expected = weights[:, [0, 2]].sum(1) / weights.sum(1)
    assert found["4"] == {
        "auc_roc": pytest.approx(scores.auc_roc(part.targets, expected)),
        "specificity_at_95_sensitivity": pytest.approx(
            scores.specificity_at_95_sensitivity(part.targets, expected)
        ),
    }


def test_turned_images_have_the_same_scores_with_8_views(part):
    model = network(1)
    turned = Part(
        np.ascontiguousarray(part.images[:, ::-1]), part.rows, part.targets, image_ids=part.image_ids
    )
    found, same = view_scores.measure(model, part), view_scores.measure(model, turned)
    assert found["8"] == same["8"]
    assert found["1"] != same["1"]
