import hashlib
import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.registry import versions
from melanoma.scoring.operating_point import Calibration, OperatingPoint
from melanoma.serving.export import PACKAGES, example_image, log_served_model
from melanoma.serving.network import Network
from melanoma.serving.records import RECORDS, RECORDS_KEY
from tests.serving.conftest import ASKED_AND_GOT, EXPERIMENT, LIMITS, POINT

# Runs without the site module, so that the editable install of this repository is not found, and with
# an importer that refuses what the served model must do without.
ALONE = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras", "tf2onnx", "onnx", "cv2", "dvc", "optuna"}:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

site_packages, model, image = sys.argv[1:]
sys.path.append(site_packages)
sys.meta_path.insert(0, Refuse())
for name in ("melanoma", "keras"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported; the test proves nothing")

import mlflow, pandas
served = mlflow.pyfunc.load_model(model)
answer = served.predict(pandas.DataFrame({"image": [open(image, "rb").read()], "image_id": ["a"]}))
import melanoma
print(json.dumps({"answer": answer.to_dict("records"), "code": melanoma.__file__}))
"""


@pytest.fixture
def model_folder(logged, tmp_path):
    """A copy of the served model, away from its store."""
    return Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path / "model")))


@pytest.fixture
def frame():
    return pd.DataFrame({"image": [example_image(64)], "image_id": ["a"]})


def test_the_example_is_a_square_png_that_the_model_takes(served):
    encoded = example_image(64)
    image = Image.open(io.BytesIO(encoded))
    assert (image.format, image.size, image.mode) == ("PNG", (64, 64), "RGB")
    assert len(served.predict(pd.DataFrame({"image": [encoded]}))) == 1


def test_the_example_is_the_same_each_time():
    assert example_image(50) == example_image(50)


def test_the_model_belongs_to_the_run_that_trained_the_network(logged, store):
    model = store.get_logged_model(logged.uri.removeprefix("models:/"))
    assert model.source_run_id == logged.run_id


def test_logging_leaves_the_run_finished_and_none_active(logged, store):
    assert store.get_run(logged.run_id).info.status == "FINISHED"
    assert mlflow.active_run() is None


def test_the_check_of_the_example_is_no_answer_to_record(store, network_folder, tmp_path, monkeypatch):
    monkeypatch.setenv(RECORDS, str(tmp_path))
    monkeypatch.setenv(RECORDS_KEY, "k" * 32)
    with tracking.open_run(experiment=EXPERIMENT, name="trained", tags={}) as run:
        pass
    uri = log_served_model(
        run.run_id,
        network=network_folder / "model.onnx",
        operating_point=POINT,
        limits=LIMITS,
        is_synthetic=True,
        positive_means="melanoma",
        example=example_image(64),
        asked_and_got=ASKED_AND_GOT,
    )
    assert list(tmp_path.rglob("*.jsonl")) == []
    mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"image": [example_image(64)]}))
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1  # an answer is


def test_required_packages_are_pinned_to_what_is_installed(model_folder):
    lines = (model_folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{package}=={version(package)}" for package in PACKAGES]


def test_no_tensorflow_is_required(model_folder):
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml", "MLmodel"):
        content = (model_folder / name).read_text(encoding="utf-8")
        assert not re.search("tensorflow|keras", content, re.IGNORECASE)


def test_the_network_that_travels_is_the_one_that_was_given(model_folder, network_folder):
    (network,) = model_folder.rglob("*.onnx")
    assert network.read_bytes() == (network_folder / "model.onnx").read_bytes()


def test_no_pickle_travels_with_the_model(model_folder):
    assert [path for path in model_folder.rglob("*") if path.suffix in {".pkl", ".pickle"}] == []


def test_the_signature_takes_binary_images_and_optional_ids(served):
    columns = {column.name: column for column in served.metadata.get_input_schema().inputs}
    assert {name: (column.type.name, column.required) for name, column in columns.items()} == {
        "image": ("binary", True),
        "image_id": ("string", False),
        "group_id": ("string", False),
    }


def test_answers_conform_to_the_signature(served, frame):
    answer = served.predict(frame)
    explained = served.predict(frame, params={"explain": True})
    schema = served.metadata.get_output_schema().input_names()
    names = [name for name in schema if name != "diagnosis"]  # of networks of several classes
    assert explained.columns.tolist() == names
    assert answer.columns.tolist() == [name for name in names if name != "saliency"]
    assert answer["probability"].dtype == answer["threshold"].dtype == np.float64
    assert isinstance(answer["model_version"][0], str)


def test_the_metadata_say_what_was_asked_of_the_operating_point_and_what_it_got(served, logged):
    assert served.metadata.metadata["operating_point"] == ASKED_AND_GOT
    assert mlflow.models.get_model_info(logged.uri).metadata["operating_point"] == ASKED_AND_GOT


def test_the_input_example_is_the_image_that_was_given(served, logged, model_folder):
    example = mlflow.models.Model.load(model_folder).load_input_example(model_folder)
    assert bytes(example["image"][0]) == example_image(64)


def test_a_model_outside_the_registry_names_its_run_as_version(served, logged, frame):
    assert served.predict(frame)["model_version"].tolist() == [logged.run_id]


def test_a_registered_model_names_its_registered_version(logged, store, frame, network_folder):
    name = "melanoma-toy"
    other = log_served_model(
        logged.run_id,
        network=network_folder / "model.onnx",
        operating_point=OperatingPoint(Calibration(), 0.5, 0.5, 0.5),
        limits=LIMITS,
        is_synthetic=False,
        positive_means="melanoma",
        example=example_image(32),
    )
    for number, uri in enumerate([logged.uri, other], start=1):
        versions.register(name, uri, tags={versions.DIGEST_TAG: str(number)})
    for held, threshold in (("2", 0.5), ("1", POINT.threshold)):
        versions.set_alias(name, "staging", held)
        answer = mlflow.pyfunc.load_model(f"models:/{name}@staging").predict(frame)
        assert answer["model_version"].tolist() == [held]
        assert answer["threshold"].tolist() == [threshold]
        assert ("synthetic images" in answer["note"][0]) == (held == "1")


@pytest.mark.parametrize(("name", "what"), [("model.onnx", "network"), ("settings.json", "settings")])
def test_a_file_that_was_changed_is_refused_by_name(model_folder, name, what):
    (path,) = model_folder.rglob(name)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(
        TrackingError,
        match=(
            rf"The {what} of this model was changed or damaged after it "
            rf"was logged"
        ),
    ):
        mlflow.pyfunc.load_model(str(model_folder))


def test_a_copy_that_was_not_changed_loads(model_folder, frame):
    assert len(mlflow.pyfunc.load_model(str(model_folder)).predict(frame)) == 1


def test_the_model_runs_where_neither_tensorflow_nor_this_repository_is(
    model_folder, network_folder, logged, tmp_path, frame
):
    (tmp_path / "image.png").write_bytes(frame["image"][0])
    (tmp_path / "alone.py").write_text(ALONE, encoding="utf-8")
    site_packages = Path(np.__file__).parents[1]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-S", "-I", "alone.py", str(site_packages), str(model_folder), "image.png"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["code"]).is_relative_to(model_folder)

    from melanoma.data.images import load_square

    pixels = load_square(frame["image"][0], 32)[None]
    score = Network(network_folder / "model.onnx").score(pixels, batch_size=64)
    (expected,) = POINT.calibration.apply(score)
    (answer,) = told["answer"]
    assert answer.pop("note").startswith("research software")
    assert answer.pop("verification").startswith(
        "not verified: the model was not loaded from a model registry"
    )
    assert answer == {
        "prediction_id": None,
        "image_id": "a",
        "image_sha256": hashlib.sha256(frame["image"][0]).hexdigest(),
        "probability": expected,
        "decision": str(POINT.decide(expected)),
        "reason": None,
        "positive_means": "melanoma",
        "threshold": POINT.threshold,
        "model_version": logged.run_id,
    }
