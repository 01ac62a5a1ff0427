import pytest

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.fingerprint import BYTECODE, FILES_TAG
from melanoma.registry import versions
from tests.registry.shelf import NAME


def test_a_version_is_found_by_its_number(shelf):
    number = shelf.register()
    assert int(versions.get_version(NAME, number).version) == number


def test_an_unknown_number_is_refused_with_those_that_there_are(shelf):
    for _ in range(11):
        shelf.register()
    tracking.client().delete_model_version(NAME, "4")
    for number in (-1, 0, 4, 12):
        with pytest.raises(
            TrackingError, match=rf"no version {number}; it has \[1, 2, 3, 5, 6, 7, 8, 9, 10, 11\]"
        ):
            versions.get_version(NAME, number)


def test_an_unknown_model_is_refused(shelf):
    with pytest.raises(
        TrackingError, match="melanoma-none has no version 1; there is no such registered model"
    ):
        versions.get_version("melanoma-none", 1)


@pytest.mark.parametrize("name", ["", "melanoma/ph2", "melanoma:ph2"])
def test_what_cannot_name_a_model_is_refused(shelf, name):
    with pytest.raises(TrackingError, match=f"'{name}' is not a valid name of a registered model"):
        versions.get_version(name, 1)


def test_a_registered_model_without_a_description_gets_one_and_keeps_it(shelf):
    shelf.register(model_digest="m")
    for about in ("What it answers.", "Another text."):
        version = versions.register(NAME, "runs:/r/model", tags={versions.DIGEST_TAG: "m"}, about=about)
        assert int(version.version) == 1  # the same model is registered once
    assert tracking.client().get_registered_model(NAME).description == "What it answers."


def test_files_that_are_as_registered_are_given(shelf, tmp_path):
    version = versions.get_version(NAME, shelf.register())
    files = versions.require_untouched(version, tmp_path / "there")
    assert (files / "artifacts" / "model.onnx").read_text() == f"network of {version.tags['run_id']}"


@pytest.mark.parametrize("file", ["model.onnx", "settings.json"])
def test_a_changed_file_is_refused_by_its_name(shelf, tmp_path, file):
    number = shelf.register()
    shelf.artifact(number, file).write_text("changed")
    with pytest.raises(
        TrackingError, match=f"{NAME} version {number} cannot be trusted: {file} has the sha256"
    ):
        versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")


@pytest.mark.parametrize("file", ["model.onnx", "settings.json"])
def test_a_file_that_is_gone_is_refused_by_its_name(shelf, tmp_path, file):
    number = shelf.register()
    shelf.artifact(number, file).unlink()
    with pytest.raises(TrackingError, match=f"{file} has the sha256 no such file"):
        versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")


@pytest.mark.parametrize("tag", [versions.NETWORK_TAG, versions.SETTINGS_TAG])
def test_a_version_without_one_of_the_digests_is_refused(shelf, tmp_path, tag):
    number = shelf.register(**{tag: None})
    with pytest.raises(TrackingError, match=f"version {number} has no digests of its files"):
        versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")


def test_code_that_was_changed_in_the_artifact_store_is_refused(shelf, tmp_path):
    number = shelf.register()
    (shelf.model(number) / "code" / "melanoma" / "schema.py").write_text("CLASSES = ('benign',)")
    with pytest.raises(
        TrackingError, match=rf"{NAME} version {number} cannot be trusted: .* \(tag {FILES_TAG}"
    ):
        versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")


def test_a_file_that_was_added_in_the_artifact_store_is_refused(shelf, tmp_path):
    number = shelf.register()
    (shelf.model(number) / "code" / "sitecustomize.py").write_text("")
    with pytest.raises(TrackingError, match="changed, added or removed"):
        versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")


def test_bytecode_in_the_artifact_store_is_left_behind(shelf, tmp_path):
    number = shelf.register()
    bytecode = shelf.model(number) / "code" / "melanoma" / BYTECODE
    bytecode.mkdir()
    (bytecode / "schema.cpython-311.pyc").write_bytes(b"other code")
    files = versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")
    assert (files / "code" / "melanoma" / "schema.py").exists()
    assert list(files.rglob("*.pyc")) == []


def test_a_version_that_has_no_digest_of_all_files_is_compared_by_network_and_settings(shelf, tmp_path):
    number = shelf.register(**{FILES_TAG: None})
    versions.require_untouched(versions.get_version(NAME, number), tmp_path / "there")
    shelf.artifact(number, "model.onnx").write_text("changed")
    with pytest.raises(TrackingError, match=r"model.onnx has the sha256"):
        versions.require_untouched(versions.get_version(NAME, number), tmp_path / "again")
