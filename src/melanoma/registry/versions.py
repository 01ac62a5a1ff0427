"""Versions of registered models: find, register, verify and download them; record verdicts of the gates."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from melanoma.errors import TrackingError
from melanoma.fingerprint import BYTECODE, CODE_FOLDER, FILES_TAG, digest_of_files, sha256_of_file
from melanoma.tracking import Run, client, download

CHALLENGER = "challenger"
STAGING = "staging"
PRODUCTION = "production"
CLINIC = re.compile(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?")  # name of a clinic
CLINIC_TAG, SOURCE_TAG = "clinic", "recalibrated_from"  # of versions that were recalibrated for a clinic
RECALIBRATION_TAG = "recalibration_run_id"  # `run_id` is the run that trained the network
DIGEST_TAG = "model_digest"
PREVIOUS_TAG = "previous_version"
GATE_TAG, PASSED, REFUSED, ACCEPTED = "gate", "passed", "refused", "accepted"
NETWORK_TAG, SETTINGS_TAG = "network_sha256", "settings_sha256"
FILE_OF_DIGEST = {NETWORK_TAG: "model.onnx", SETTINGS_TAG: "settings.json"}
SEGMENTER_TAG, SEGMENTER_FILE = "segmenter_sha256", "segmenter.onnx"  # only if a U-Net crops the images

MAX_DESCRIPTION = 4800  # characters; MLflow's tables have room for 5000
CUT = "\n\n… see the artifact model_card.md of the run for the complete text."

Version: TypeAlias = ModelVersion  # version of a registered model


def model_name(cohort: str) -> str:
    """Name of the registered model of a cohort."""
    return f"melanoma-{cohort}"


def staging_of(clinic: str) -> str:
    """Alias of the version that was recalibrated for a clinic."""
    return f"{STAGING}-{clinic}"


def is_staging(alias: str) -> bool:
    """Whether an alias is `staging` or that of a clinic."""
    return alias == STAGING or alias.startswith(f"{STAGING}-")


def find_version(name: str, alias: str) -> Version | None:
    """The version of registered model `name` that holds `alias`, or None.

    Raises:
        TrackingError: The registry fails, or refuses the name.
    """
    store = client()
    try:
        return store.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # A name that is not valid has the same code, so the message counts.
        is_free = error.error_code == "INVALID_PARAMETER_VALUE" and f"alias {alias} not found" in str(error)
        if is_free or error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise TrackingError(
            f"The alias {alias} of {name} cannot be looked up in the model registry: {error}"
        ) from error


def register(name: str, model_uri: str, *, tags: Mapping[str, object], about: str = "") -> Version:
    """Register a logged model, or find the version of the same model.

    Args:
        name: Name of the registered model; created if it does not exist.
        model_uri: URI of the logged model.
        tags: Tags of the version; versions of the same model have the same `DIGEST_TAG`.
        about: Description of the registered model, Markdown; an existing one stays.
    """
    store = client()
    known = store.search_registered_models(f"name = '{name}'")
    if not known:
        store.create_registered_model(name, description=about)
    elif not known[0].description:
        store.update_registered_model(name, about)
    same = find_same(name, str(tags[DIGEST_TAG]))
    if same is not None:
        return same
    version = mlflow.register_model(model_uri, name, tags={k: str(v) for k, v in tags.items()})
    return store.get_model_version(name, version.version)


def find_same(name: str, digest: str) -> Version | None:
    """The version of a registered model whose `DIGEST_TAG` is `digest`, or None."""
    found = client().search_model_versions(f"name = '{name}'")
    return next((one for one in found if one.tags.get(DIGEST_TAG) == digest), None)


def require_model(name: str) -> None:
    """Raise a `TrackingError` that lists the registered models if `name` is not among them."""
    known = sorted(model.name for model in client().search_registered_models())
    if name not in known:
        raise TrackingError(f"There is no registered model {name}. Registered models: {known}.")


def get_version(name: str, number: int) -> Version:
    """A version of a registered model.

    Raises:
        TrackingError: There is no such version; lists the existing ones.
    """
    store = client()
    try:
        return store.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise TrackingError(f"{name!r} is not a valid name of a registered model: {error}") from error
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = sorted(int(version.version) for version in store.search_model_versions(f"name = '{name}'"))
        there = f"it has {known}" if known else "there is no such registered model, or it has no versions"
        raise TrackingError(f"{name} has no version {number}; {there}.") from error


def numbered_or_staged(name: str, number: int | None) -> Version:
    """A version by its number, or the one that holds `staging` if that is None.

    Raises:
        TrackingError: There is no such version.
    """
    if number is not None:
        return get_version(name, number)
    version = find_version(name, STAGING)
    if version is None:
        require_model(name)
        raise TrackingError(f"No version of {name} has the alias {STAGING}. Name one with --version.")
    return version


def require_untouched(version: Version, folder: Path) -> Path:
    """Download the files of a version below `folder` and verify that they are those that were registered.

    Versions that were registered before `FILES_TAG` existed are verified by network and settings only.

    Raises:
        TrackingError: The files are gone, or their digests differ from the version's tags.
    """
    if not FILE_OF_DIGEST.keys() <= version.tags.keys():
        raise TrackingError(
            f"{version.name} version {version.version} has no digests of its files, because an earlier "
            "version of the code registered it, so its files cannot be verified. Nothing was moved. If it "
            "has an alias, remove that alias in the MLflow UI, then run `dvc repro` again."
        )
    files = download_version(version, folder)
    _require_digests(version, files)
    return files


def _require_digests(version: Version, files: Path) -> None:
    expected = FILE_OF_DIGEST | ({SEGMENTER_TAG: SEGMENTER_FILE} if SEGMENTER_TAG in version.tags else {})
    for tag, name in expected.items():
        path = files / "artifacts" / name
        found = sha256_of_file(path) if path.exists() else "no such file"
        if version.tags.get(tag) != found:
            raise TrackingError(
                f"{version.name} version {version.version} cannot be trusted: {name} has the sha256 "
                f"{found}, expected {version.tags.get(tag)} (tag {tag}). Nothing was moved. Restore the "
                "artifacts from a backup, or run `dvc repro --force evaluate` and promote again."
            )
    require_same_files(version, files)


def require_same_files(version: Version, files: Path) -> None:
    """Compare the digest of all files of a version, including its code, with its tag.

    Args:
        version: The version; one without the tag passes.
        files: Folder of its files; bytecode is removed from it.

    Raises:
        TrackingError: The digest differs, or there are no files.
    """
    if not any(files.iterdir()):
        raise TrackingError(
            f"The files of {version.name} version {version.version} are missing in the artifact store. "
            "Restore them from a backup, or train again: `dvc repro --force train`."
        )
    for bytecode in (files / CODE_FOLDER).rglob(BYTECODE):
        shutil.rmtree(bytecode)  # part of no digest, and Python would run it
    found = digest_of_files(files)
    expected = version.tags.get(FILES_TAG, found)
    if found != expected:
        raise TrackingError(
            f"{version.name} version {version.version} cannot be trusted: its files have the digest "
            f"{found}, expected {expected} (tag {FILES_TAG}). A file was changed, added or removed, for "
            f"instance in {CODE_FOLDER}/. Nothing was moved. Restore the artifacts from a backup, or run "
            "`dvc repro --force evaluate` and promote again."
        )


def describe(name: str, number: int, text: str) -> None:
    """Set the description of a version, shortened to what MLflow's tables hold."""
    is_long = len(text) > MAX_DESCRIPTION
    shown = text[:MAX_DESCRIPTION] + CUT if is_long else text
    client().update_model_version(name, str(number), description=shown)


def set_alias(name: str, alias: str, version: str) -> None:
    """Let an alias of a registered model point to a version."""
    client().set_registered_model_alias(name, alias, version)


def predecessor(version: Version, champion: Version | None) -> int | None:
    """Number of the version that `version` was first compared with; None if there was none.

    If `version` itself holds the alias, an earlier call promoted it and left the number as a tag.
    """
    if champion is None or champion.version != version.version:
        return int(champion.version) if champion else None
    noted = champion.tags.get(PREVIOUS_TAG, "")
    return int(noted) if noted else None


def note_verdict(version: Version, run: Run, reasons: list[str], *, word: str, previous: int | None) -> None:
    """Tag version and run with the verdict of the gates (`passed`, `refused`, `accepted`) and its reasons."""
    verdict = {GATE_TAG: word, "gate_reasons": "; ".join(reasons)}
    verdict[PREVIOUS_TAG] = "" if previous is None else str(previous)
    for key, value in verdict.items():
        client().set_model_version_tag(version.name, version.version, key, value)
    run.set_tags(verdict)


def download_version(version: Version, folder: Path) -> Path:
    """Download the files of a version into a new folder below `folder`.

    Raises:
        TrackingError: The files are gone from the artifact store.
    """
    return download(f"models:/{version.name}/{version.version}", folder / f"{version.name}-{version.version}")
