"""A model is compared with the registry when it is loaded."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml

from melanoma import fingerprint, tracking
from melanoma.errors import TrackingError
from melanoma.fingerprint import sha256_of_file
from melanoma.registry import versions
from melanoma.serving.export import example_image
from melanoma.serving.scorer import SETTINGS_DIGEST
from tests.end_to_end import clone
from tests.serving.conftest import SERVE, serving

NAME = "melanoma-verified"


@pytest.fixture(scope="module")
def registered(logged, tmp_path_factory):
    """A version with the digest of its files, as `promote` registers it."""
    files = tracking.download(logged.uri, tmp_path_factory.mktemp("registered"))
    tags = {versions.DIGEST_TAG: "1", fingerprint.FILES_TAG: fingerprint.digest_of_files(files)}
    return versions.register(NAME, logged.uri, tags=tags)


@pytest.fixture
def folder(registered, tmp_path):
    """The version as it is downloaded from the registry, to be tampered with."""
    return tracking.download(f"models:/{NAME}/{registered.version}", tmp_path / "downloaded")


def answer(model: object) -> dict:
    frame = pd.DataFrame({"image": [example_image(64)]})
    return mlflow.pyfunc.load_model(str(model)).predict(frame).iloc[0].to_dict()


def test_a_registered_version_is_verified_and_says_so(registered):
    told = answer(f"models:/{NAME}/{registered.version}")
    assert (told["model_version"], told["verification"]) == (str(registered.version), "verified")


def test_a_downloaded_copy_is_verified_again(folder, registered):
    told = answer(folder)
    assert (told["model_version"], told["verification"]) == (str(registered.version), "verified")


def test_a_second_load_with_bytecode_beside_the_code_is_verified(folder):
    (fingerprint.travelling_code(folder) / fingerprint.BYTECODE).mkdir()
    assert answer(folder)["verification"] == "verified"


def test_changed_settings_are_refused_although_their_digest_was_changed_too(folder):
    settings = folder / "artifacts" / "settings.json"
    content = json.loads(settings.read_text())
    content["operating_point"]["threshold"] = 0.99
    settings.write_text(json.dumps(content))
    model = yaml.safe_load((folder / "MLmodel").read_text())
    model["metadata"][SETTINGS_DIGEST] = sha256_of_file(settings)
    (folder / "MLmodel").write_text(yaml.safe_dump(model))
    with pytest.raises(
        TrackingError, match=(f"files of {NAME} version 1 have changed since it was registered")
    ):
        mlflow.pyfunc.load_model(str(folder))


def test_changed_code_is_refused(folder):
    page = fingerprint.travelling_code(folder) / "schema.py"
    page.write_text(page.read_text().replace("not a medical device", "a cleared medical device"))
    with pytest.raises(TrackingError, match="have changed since it was registered"):
        mlflow.pyfunc.load_model(str(folder))


def test_an_added_module_is_refused(folder):
    (folder / "code" / "sitecustomize.py").write_text("")
    with pytest.raises(TrackingError, match="have changed since it was registered"):
        mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [("model_version", "7"), ("model_version", "3 (cleared medical device)"), ("model_name", "x/y")],
)
def test_a_version_that_the_registry_does_not_know_is_refused(folder, key, value):
    meta = folder / fingerprint.REGISTERED_META
    meta.write_text(yaml.safe_dump(yaml.safe_load(meta.read_text()) | {key: value}))
    with pytest.raises(TrackingError, match=r"which is not in the model registry"):
        mlflow.pyfunc.load_model(str(folder))


def test_without_a_registry_the_version_is_not_claimed_and_the_answer_says_not_verified(
    folder, logged, monkeypatch, tmp_path
):
    (folder / fingerprint.REGISTERED_META).unlink()
    told = answer(folder)
    assert told["model_version"] == logged.run_id
    assert told["verification"] == "not verified: the model was not loaded from a model registry"


@pytest.mark.parametrize("uri", ["sqlite:////tmp/no-such-folder/mlflow.db", "http://127.0.0.1:9"])
def test_a_registry_that_cannot_be_asked_is_told_and_no_version_is_claimed(folder, logged, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # as `make serve` sets it
    told = answer(folder)
    assert told["model_version"] == logged.run_id
    assert told["verification"] == "not verified: the model registry does not answer"
    assert not Path("/tmp/no-such-folder").exists()


def test_the_quoted_address_of_a_folder_with_spaces_is_understood(folder, registered, monkeypatch, tmp_path):
    store = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///"))
    (tmp_path / "my project").mkdir()
    shutil.copy(store, tmp_path / "my project" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/my%20project/mlflow.db")
    told = answer(folder)
    assert (told["model_version"], told["verification"]) == (str(registered.version), "verified")


def test_a_version_without_a_digest_is_told(logged):
    version = versions.register("melanoma-old", logged.uri, tags={versions.DIGEST_TAG: "1"})
    told = answer(f"models:/melanoma-old/{version.version}")
    assert told["model_version"] == str(version.version)
    assert told["verification"] == "not verified: version 1 has no tag files_sha256"


@pytest.mark.slow
def test_the_server_refuses_a_version_whose_code_was_changed_in_the_store_and_serves_it_when_restored(
    logged, registered, tmp_path
):
    import requests

    stored = Path(str(registered.source).removeprefix("file://"))
    if not stored.is_dir():
        stored = Path(
            tracking.client().get_logged_model(logged.uri.removeprefix("models:/")).artifact_location
        )
    module = fingerprint.travelling_code(stored) / "schema.py"
    before = module.read_text()
    uri = f"models:/{NAME}/{registered.version}"
    body = {
        "dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(example_image(64)).decode()]]}
    }
    module.write_text(before.replace("not a medical device", "a cleared medical device"))
    try:
        command = [*SERVE, "-m", uri, "--port", str(clone.free_port())]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    finally:
        module.write_text(before)
        shutil.rmtree(module.parent / fingerprint.BYTECODE, ignore_errors=True)
    assert done.returncode != 0
    assert "have changed since it was registered" in done.stderr
    with serving(uri, tmp_path) as url:
        (told,) = requests.post(f"{url}/invocations", json=body, timeout=60).json()["predictions"]
    assert told["verification"] == "verified"
