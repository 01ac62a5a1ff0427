"""Several views and networks: one function, from evaluation to the server."""

import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma import config, files, tracking
from melanoma.errors import ConfigError
from melanoma.serving import client
from melanoma.serving.export import example_image, log_served_model
from melanoma.serving.network import Network
from melanoma.serving.settings import Settings
from tests.imports import ROOT
from tests.serving.conftest import EXPERIMENT, LIMITS, POINT, serving


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """`model.onnx` of two networks."""
    import keras

    from melanoma.models import conv_blocks
    from melanoma.training.saving import save_model

    networks = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        networks.append(
            conv_blocks.build(
                image_size=32,
                depth=2,
                filters=[4, 8],
                dense_units=16,
                dropout=0.0,
                batch_norm=False,
                global_pooling=False,
                residual=False,
            )
        )
    folder = tmp_path_factory.mktemp("ensemble")
    save_model(networks, folder)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def of_views(store, ensemble):
    """URIs of the served ensemble by number of views."""
    with tracking.open_run(experiment=EXPERIMENT, name="views", tags={}) as run:
        pass
    return {
        num_views: log_served_model(
            run.run_id,
            network=ensemble,
            operating_point=POINT,
            limits=LIMITS,
            is_synthetic=True,
            positive_means="melanoma",
            example=example_image(64),
            num_views=num_views,
        )
        for num_views in (1, 8)
    }


@pytest.fixture(scope="module")
def encoded(images):
    """PNG files of ten images by image_id."""
    by_id = {}
    for number, image in enumerate(images[:10]):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        by_id[str(number)] = stream.getvalue()
    return by_id


def expected_probability(ensemble, images, num_views):
    return POINT.calibration.apply(Network(ensemble, num_views=num_views).score(images[:10]))


@pytest.mark.parametrize("num_views", [1, 8])
def test_the_served_model_answers_as_evaluation_scores(of_views, ensemble, images, encoded, num_views):
    served = mlflow.pyfunc.load_model(of_views[num_views])
    answer = served.predict(pd.DataFrame({"image": pd.Series(list(encoded.values()), dtype=object)}))
    expected = expected_probability(ensemble, images, num_views)
    np.testing.assert_array_equal(answer["probability"], expected)
    other = expected_probability(ensemble, images, 9 - num_views)
    assert np.abs(expected - other).max() > 1e-4


@pytest.mark.slow
def test_a_real_server_answers_as_evaluation_scores(of_views, ensemble, images, encoded, tmp_path):
    with serving(of_views[8], tmp_path) as url:
        answers = client.score_images(url, encoded)
        turned = {name: turn(one) for name, one in encoded.items()}
        same = client.score_images(url, turned)
    expected = expected_probability(ensemble, images, 8)
    np.testing.assert_allclose([row["probability"] for row in answers], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose([row["probability"] for row in same], expected, rtol=0, atol=1e-6)


def turn(png: bytes) -> bytes:
    stream = io.BytesIO()
    Image.open(io.BytesIO(png)).transpose(Image.Transpose.TRANSVERSE).save(stream, "PNG")
    return stream.getvalue()


def test_an_explanation_is_of_the_first_view(of_views, encoded):
    frame = pd.DataFrame({"image": pd.Series([encoded["0"]], dtype=object)})
    maps = [
        mlflow.pyfunc.load_model(uri).predict(frame, params={"explain": True})["saliency"][0]
        for uri in of_views.values()
    ]
    assert maps[0] == maps[1]


def test_the_number_of_views_is_stored_and_older_models_have_one(of_views, tmp_path):
    folder = mlflow.artifacts.download_artifacts(of_views[8], dst_path=str(tmp_path))
    content = files.read_json(Path(folder) / "artifacts" / "settings.json")
    assert content["num_views"] == 8
    del content["num_views"]
    (tmp_path / "older.json").write_text(json.dumps(content))
    assert Settings.read(tmp_path / "older.json").num_views == 1


@pytest.mark.parametrize("num_views", [1, 4, 8])
def test_a_network_has_other_views_without_loading_again(ensemble, images, num_views):
    first = Network(ensemble)
    other = first.with_views(num_views)
    np.testing.assert_array_equal(
        other.score(images[:5]), Network(ensemble, num_views=num_views).score(images[:5])
    )
    assert first.num_views == 1
    with pytest.raises(ValueError, match="num_views must be one of"):
        first.with_views(3)


# ---- params.yaml -------------------------------------------------------------------------------


@pytest.mark.parametrize("num_views", [0, 2, 16, "four", None])
def test_another_number_of_views_in_the_parameters_is_refused(tmp_path, num_views):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "\n  num_views: 1\n" in text.partition("\nserve:")[2]
    head, key, tail = text.partition("\nserve:")
    changed = tail.replace("\n  num_views: 1\n", f"\n  num_views: {json.dumps(num_views)}\n", 1)
    (tmp_path / "params.yaml").write_text(head + key + changed, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"serve\.num_views.*1, 4 or 8"):
        config.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("num_views", [4, 8])
def test_four_and_eight_views_are_legal(params, num_views):
    content = params.serve.model_dump() | {"num_views": num_views}
    serve = type(params.serve).model_validate(content)
    assert serve.num_views == num_views
    assert "num_views" not in serve.limits


def test_the_committed_parameters_score_an_image_16_times_at_most(params):
    assert params.train.num_networks * params.serve.num_views <= 16
