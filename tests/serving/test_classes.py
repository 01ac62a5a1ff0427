"""A served model that was trained to tell several classes apart."""

import base64
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest

from melanoma import tracking
from melanoma.data.images import load_square
from melanoma.models import conv_blocks
from melanoma.schema import CLASSES, positive_means
from melanoma.serving import client, folder
from melanoma.serving.export import example_image, log_served_model
from melanoma.serving.network import Network
from tests.serving.asgi import ask, front, posted
from tests.serving.brightness import write_class_network
from tests.serving.conftest import EXPERIMENT, LIMITS, POINT, serving


@pytest.fixture(scope="module")
def of_classes(store, tmp_path_factory):
    """`model` as it is served from `uri`, and its `network`."""
    path = write_class_network(tmp_path_factory.mktemp("classes") / "model.onnx")
    with tracking.open_run(experiment=EXPERIMENT, name="classes", tags={}) as run:
        pass
    uri = log_served_model(
        run.run_id,
        network=path,
        operating_point=POINT,
        limits=LIMITS,
        is_synthetic=True,
        positive_means="melanoma",
        example=example_image(64),
    )
    return SimpleNamespace(uri=uri, model=mlflow.pyfunc.load_model(uri), network=Network(path))


def test_the_melanoma_score_is_served_as_ever_and_the_classes_beside_it(of_classes, pictures):
    encoded = [pictures["PNG"], pictures["BMP"]]
    answer = of_classes.model.predict(pd.DataFrame({"image": pd.Series(encoded, dtype=object)}))
    pixels = load_square(pictures["PNG"], 32)
    probability = POINT.calibration.apply(of_classes.network.score(pixels[None]))
    np.testing.assert_array_equal(answer["probability"], np.repeat(probability, 2))
    assert answer["decision"].tolist() == POINT.decide(answer["probability"].to_numpy()).tolist()
    for by_class, found in zip(answer["diagnosis"], answer["probability"], strict=True):
        assert list(by_class) == list(CLASSES)
        assert by_class["melanoma"] == found
        others = [by_class[name] for name in CLASSES[1:]]
        assert others == pytest.approx(
            [(1 - found) / len(others)] * len(others)
        )  # this network knows no better


def test_an_exported_network_of_three_classes_is_positive_by_the_two_that_are(store, pictures, tmp_path):
    import keras

    from melanoma.training.saving import save_model

    names, positive = ("melanoma", "nevus", "basal cell carcinoma"), ("melanoma", "basal cell carcinoma")
    keras.utils.set_random_seed(1)
    network = conv_blocks.build(
        image_size=32,
        depth=1,
        filters=[4],
        dense_units=4,
        dropout=0.0,
        batch_norm=False,
        global_pooling=False,
        residual=False,
        num_classes=3,
    )
    save_model([network], tmp_path, classes=names, positive=positive)
    with tracking.open_run(experiment=EXPERIMENT, name="three classes", tags={}) as run:
        pass
    uri = log_served_model(
        run.run_id,
        network=tmp_path / "model.onnx",
        operating_point=POINT,
        limits=LIMITS,
        is_synthetic=True,
        positive_means=positive_means(positive),
        example=example_image(64),
    )
    answer = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"image": [pictures["PNG"]]}))
    ((melanoma, _, carcinoma),) = network.predict_on_batch(load_square(pictures["PNG"], 32)[None])
    probability = POINT.calibration.apply(np.array([melanoma + carcinoma]))[0]
    assert answer["probability"][0] == pytest.approx(probability, abs=1e-5)
    assert answer["positive_means"][0] == "melanoma or basal cell carcinoma"
    assert answer["diagnosis"][0] == pytest.approx(
        {
            "melanoma": probability * melanoma / (melanoma + carcinoma),
            "nevus": 1 - probability,
            "basal cell carcinoma": probability * carcinoma / (melanoma + carcinoma),
        },
        abs=1e-5,
    )
    (spec,) = [one for one in mlflow.models.get_model_info(uri).signature.outputs if one.name == "diagnosis"]
    assert [one.name for one in spec.type.properties] == sorted(names)


def test_the_server_answers_an_object_a_row(of_classes, pictures):
    scorer = of_classes.model.unwrap_python_model()
    body = {
        "dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(pictures["JPEG"]).decode()]]}
    }
    with front(LIMITS, scorer.answer) as application:
        status, content = ask(application, "POST", "/invocations", posted(body))
    assert status == 200
    (row,) = content["predictions"]
    assert set(row["diagnosis"]) == set(CLASSES)
    assert sum(row["diagnosis"].values()) == pytest.approx(1)
    assert row["diagnosis"]["melanoma"] == row["probability"]


@pytest.mark.slow
def test_the_real_server_answers_the_same(of_classes, pictures, tmp_path):
    with serving(of_classes.uri, tmp_path) as url:
        (answer,) = client.score_images(url, {"a": pictures["JPEG"]})
    alone = of_classes.model.predict(pd.DataFrame({"image": [pictures["JPEG"]]}))
    assert answer["diagnosis"] == pytest.approx(alone["diagnosis"][0])
    assert answer["probability"] == pytest.approx(alone["probability"][0])


def test_a_folder_of_files_gets_the_same_columns_as_ever(of_classes, pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures["PNG"])
    (tmp_path / "b.png").write_bytes(b"no image")
    (rows,) = folder.score_files(of_classes.model, tmp_path, folder.list_files(tmp_path))
    assert [tuple(row) for row in rows] == [folder.COLUMNS, folder.COLUMNS]
    assert rows[0]["probability"] is not None
    assert rows[1]["problem"] is not None
