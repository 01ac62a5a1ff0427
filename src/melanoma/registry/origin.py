"""Origin of a registered version, read from its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from melanoma import files, lineage, tracking
from melanoma.errors import TrackingError
from melanoma.registry import versions

SCHEME = "models:/"
IMAGES, ENVIRONMENT = "images.csv", "environment.txt"  # logged by the stage evaluate


@dataclass(frozen=True)
class Origin:
    """Origin of a version.

    Attributes:
        version: The version.
        tags: Tags of its training run.
        params: Parameters of its training run.
        images: Columns `image_id`, `split`, `group_id`, `target`, `dataset`, `licence`, `attribution`,
            `sha256`.
        environment: Lines `name==version`, Python first.
        best_trial: Number of the best trial; None if the run of the search does not record it.
    """

    version: versions.Version
    tags: Mapping[str, str]
    params: Mapping[str, str]
    images: pd.DataFrame = field(repr=False)
    environment: list[str] = field(repr=False)
    best_trial: str | None

    @property
    def data_hashes(self) -> dict[str, str]:
        """DVC's hash of each data path at training."""
        return lineage.recorded_hashes(self.tags)


def find(uri: str) -> versions.Version:
    """The version of `models:/<name>@<alias>` or `models:/<name>/<number>`.

    Raises:
        TrackingError: The address is not valid, or there is no such version.
    """
    name, is_alias, alias = uri.removeprefix(SCHEME).partition("@")
    if uri.startswith(SCHEME) and is_alias:
        version = versions.find_version(name, alias)
        if version is None:
            raise TrackingError(f"No version of {name} has the alias {alias}.")
        return version
    name, _, number = uri.removeprefix(SCHEME).rpartition("/")
    if not uri.startswith(SCHEME) or not name or not number.isdecimal():
        raise TrackingError(
            f"{uri!r} is not the URI of a model version. Expected models:/<name>@<alias> or "
            "models:/<name>/<number>, for instance models:/melanoma-ph2@staging."
        )
    return versions.get_version(name, int(number))


def trace(version: versions.Version, folder: Path) -> Origin:
    """Read the origin of a version.

    Args:
        version: The version.
        folder: Folder for downloads.

    Raises:
        TrackingError: A run or one of its artifacts is gone.
    """
    run_id = version.tags.get("run_id")
    if run_id is None:
        raise TrackingError(
            f"{version.name} version {version.version} has no tag run_id, so it was not registered by the "
            "stage promote."
        )
    run = tracking.read_run(run_id)
    images = files.read_csv(
        _download_from_run(version, f"data/{IMAGES}", folder), dtype={"image_id": "string"}
    )
    listed = _download_from_run(version, ENVIRONMENT, folder).read_text(encoding="utf-8")
    study = run.data.tags.get("tuning_run_id")
    best = tracking.read_run(study).data.tags.get("best.trial") if study else None
    return Origin(version, run.data.tags, run.data.params, images, listed.split(), best)


def _download_from_run(version: versions.Version, name: str, folder: Path) -> Path:
    try:
        return tracking.download_run_file(version.tags["run_id"], name, folder)
    except TrackingError as error:
        raise TrackingError(
            f"{version.name} version {version.version} cannot be traced: its run has no {name} ({error}). "
            "If an earlier version of the code did not log it, run `dvc repro` for a new version. If it was "
            "removed from the artifact store, restore it."
        ) from error
