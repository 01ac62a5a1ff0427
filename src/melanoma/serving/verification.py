"""Verify that a loaded model is the version that was registered.

This module travels with the model. A model's folder cannot vouch for itself: whoever can change a file can
change a digest beside it. So the digest of all files is kept as a tag of the registered version.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from melanoma.errors import TrackingError
from melanoma.fingerprint import FILES_TAG, REGISTERED_META, digest_of_files

VERIFIED = "verified"
NOT_VERIFIED = "not verified"
SQLITE = "sqlite:///"
# MLflow waits up to 120 seconds and retries seven times; that is too long for loading a model.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
UNKNOWN_VERSION = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Verification:
    """Verified origin of a loaded model.

    Attributes:
        version: Number of the registered version; None if the registry did not confirm it.
        words: `verified`, or `not verified` with the reason. Part of every answer.
        name: Name of the registered model; None if the registry did not confirm it.
    """

    version: str | None
    words: str
    name: str | None = None


def verify(model: Path) -> Verification:
    """Compare the files of an MLflow model with the registry.

    Args:
        model: Folder of the model, with the file `MLmodel`.

    Raises:
        TrackingError: The registry knows no such version, or the files are not those that were registered.
    """
    name, number = _registered_as(model)
    if name is None or number is None:
        return Verification(None, f"{NOT_VERIFIED}: the model was not loaded from a model registry")
    tags = _tags_of(name, number, model)
    if tags is None:
        return Verification(None, f"{NOT_VERIFIED}: the model registry does not answer")
    if FILES_TAG not in tags:
        reason = f"version {number} has no tag {FILES_TAG}"
        return Verification(number, f"{NOT_VERIFIED}: {reason}", name)
    found = digest_of_files(model)
    if tags[FILES_TAG] != found:
        raise TrackingError(
            f"The files of {name} version {number} have changed since it was registered: expected the "
            f"digest {tags[FILES_TAG]} (tag {FILES_TAG} of the version), found {found} in {model}. Restore "
            "the model from a backup of the artifact store, or log and promote it again."
        )
    return Verification(number, VERIFIED, name)


def _registered_as(model: Path) -> tuple[str | None, str | None]:
    """Name and version that MLflow wrote into the folder; None if the model is not from a registry."""
    meta = model / REGISTERED_META
    if not meta.is_file():
        return None, None
    content = yaml.safe_load(meta.read_text(encoding="utf-8")) or {}
    name, number = content.get("model_name"), content.get("model_version")
    return (None, None) if name is None or number is None else (str(name), str(number))


def _tags_of(name: str, number: str, model: Path) -> dict[str, str] | None:
    """Tags of a registered version; None if the registry does not answer."""
    uri = mlflow.get_registry_uri()
    file = uri.removeprefix(SQLITE)  # MLflow quotes it in its default address
    if uri.startswith(SQLITE) and not any(Path(path).is_file() for path in (file, unquote(file))):
        return None  # asking would create an empty store
    try:
        with _short_patience():
            return dict(MlflowClient().get_model_version(name, number).tags)
    except MlflowException as error:
        if error.error_code not in UNKNOWN_VERSION:
            return None
        raise TrackingError(
            f"{model / REGISTERED_META} says that this model is {name!r} version {number!r}, which is not "
            f"in the model registry {uri}. Load the model by its URI models:/<name>/<version>, or remove "
            f"{REGISTERED_META} to load it without verification."
        ) from error
    except Exception:  # each kind of store raises errors of its own libraries
        return None


@contextmanager
def _short_patience() -> Iterator[None]:
    """Let MLflow give up after seconds, unless the environment sets other limits."""
    added = {key: value for key, value in PATIENCE.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
