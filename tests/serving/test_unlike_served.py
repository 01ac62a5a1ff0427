"""The served model refers images that are unlike the training images, and says why."""

import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

from melanoma import config, tracking
from melanoma.data.images import load_square
from melanoma.errors import TrackingError
from melanoma.evaluation import unlike
from melanoma.serving.export import UNLIKE_FILE, example_image, log_served_model
from melanoma.serving.network import Network
from melanoma.serving.scorer import MelanomaScorer
from tests.data.pictures import encode
from tests.data.zoo import skin
from tests.serving.conftest import EXPERIMENT, LIMITS, POINT

ROOT = Path(__file__).resolve().parents[2]
NUM_TRAINING, NUM_VALIDATION = 120, 60


@pytest.fixture(scope="module")
def network(network_folder):
    return Network(network_folder / "model.onnx")


@pytest.fixture(scope="module")
def fitted(network):
    """Drawn skin as training and validation images."""
    params = config.load(ROOT / "params.yaml")
    size = network.image_size
    squares = np.stack([load_square(of_skin(seed), size) for seed in range(NUM_TRAINING + NUM_VALIDATION)])
    features = network.features(squares)
    bounds = unlike.image_bounds(params.checks, params.inspect, size=size, sharpness_ratio=1.0)
    return unlike.fit(features[:NUM_TRAINING], features[NUM_TRAINING:], referred_fraction=0.01, bounds=bounds)


@pytest.fixture(scope="module")
def logged(store, network_folder, fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("unlike") / "tuned.npz"
    fitted.save(path)
    with tracking.open_run(experiment=EXPERIMENT, name="trained", tags={}) as run:
        pass
    return log_served_model(
        run.run_id,
        network=network_folder / "model.onnx",
        operating_point=POINT,
        limits=LIMITS,
        is_synthetic=True,
        positive_means="melanoma",
        example=example_image(64),
        unlike=path,
    )


@pytest.fixture(scope="module")
def served(logged):
    return mlflow.pyfunc.load_model(logged)


def of_skin(seed: int) -> bytes:
    return encode(skin(seed, height=96, width=128), "PNG")


def ask(served, *encoded: bytes, **params: object) -> pd.DataFrame:
    return served.predict(pd.DataFrame({"image": list(encoded)}), params=params or None)


def photograph(name: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(load_sample_image(name)).save(stream, "PNG")
    return stream.getvalue()


def test_the_answer_is_that_of_evaluation(served, network, fitted):
    encoded = [of_skin(900), photograph("china.jpg"), photograph("flower.jpg")]
    squares = np.stack([load_square(one, network.image_size) for one in encoded])
    expected = fitted.reasons(squares, network.features(squares))
    answer = ask(served, *encoded)
    assert answer["reason"].tolist() == expected
    plain = POINT.decide(answer["probability"].to_numpy())
    wanted = ["refer" if reason else decision for reason, decision in zip(expected, plain, strict=True)]
    assert answer["decision"].tolist() == wanted


def test_a_photograph_is_referred_with_its_probability_and_a_picture_of_skin_is_not(served):
    answer = ask(served, photograph("china.jpg"), of_skin(901))
    assert answer["decision"][0] == "refer"
    assert answer["reason"][0].startswith("unlike the training images (distance ")
    assert 0 <= answer["probability"][0] <= 1
    assert answer["reason"][1] is None


def test_a_threshold_of_the_caller_does_not_decide_a_photograph(served):
    answer = ask(served, photograph("china.jpg"), of_skin(901), threshold=0.0)
    assert answer["decision"].tolist() == ["refer", "positive"]


def test_a_blurred_picture_is_referred_for_that(served):
    blurred = Image.fromarray(skin(902, height=96, width=128)).filter(ImageFilter.GaussianBlur(30))
    answer = ask(served, encode(np.asarray(blurred), "PNG"))
    assert answer["decision"][0] == "refer"
    assert answer["reason"][0].startswith("blurred (sharpness ")


def test_a_changed_description_of_the_training_images_is_refused(logged, tmp_path):
    local = Path(tracking.download(logged, tmp_path))
    context = mlflow.pyfunc.PythonModelContext(
        {
            "network": str(local / "artifacts" / "model.onnx"),
            "settings": str(local / "artifacts" / "settings.json"),
            "unlike": str(local / "artifacts" / UNLIKE_FILE),
        },
        None,
    )
    MelanomaScorer().load_context(context)
    with (local / "artifacts" / UNLIKE_FILE).open("ab") as stream:
        stream.write(b"0")
    with pytest.raises(TrackingError, match="description of the training images of this model was changed"):
        MelanomaScorer().load_context(context)
