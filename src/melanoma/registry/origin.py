"""Where a registered version comes from, as its runs tell it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from melanoma import files, tracking
from melanoma.errors import TrackingError
from melanoma.registry import versions

SCHEME = "models:/"
IMAGES, ENVIRONMENT = "images.csv", "environment.txt"  # laid into the run by the stage evaluate
DATA_TAG = "dvc."


@dataclass(frozen=True)
class Origin:
    """What a version was made from.

    Attributes:
        version: The version.
        tags: Of the run that trained it.
        params: Of that run.
        images: Columns `image_id`, `split`, `group_id`, `target`, `dataset`, `licence`, `attribution`,
            `sha256`.
        environment: Lines `name==version`, Python first.
        best_trial: Number of the study's best trial, where the study's run knows it.
    """

    version: versions.Version
    tags: Mapping[str, str]
    params: Mapping[str, str]
    images: pd.DataFrame = field(repr=False)
    environment: list[str] = field(repr=False)
    best_trial: str | None

    @property
    def data_hashes(self) -> dict[str, str]:
        """DVC's hash of each path of data, as it was at training."""
        return {
            key.removeprefix(DATA_TAG): value for key, value in self.tags.items() if key.startswith(DATA_TAG)
        }


def find(uri: str) -> versions.Version:
    """The version of `models:/<name>@<alias>` or `models:/<name>/<number>`.

    Raises:
        TrackingError: It is no such address, or there is no such version.
    """
    name, is_alias, alias = uri.removeprefix(SCHEME).partition("@")
    if uri.startswith(SCHEME) and is_alias:
        version = versions.find_version(name, alias)
        if version is None:
            raise TrackingError(f"No version of {name} holds the alias {alias}.")
        return version
    name, _, number = uri.removeprefix(SCHEME).rpartition("/")
    if not uri.startswith(SCHEME) or not name or not number.isdecimal():
        raise TrackingError(
            f"{uri!r} is no address of a version. Expected models:/<name>@<alias> or "
            "models:/<name>/<number>, "
            "for instance models:/melanoma-ph2@staging."
        )
    return versions.get_version(name, int(number))


def trace(version: versions.Version, folder: Path) -> Origin:
    """What the runs behind a version tell.

    Args:
        version: See `find`.
        folder: Where to put what is downloaded.

    Raises:
        TrackingError: A run or what lies in it is gone.
    """
    run_id = version.tags.get("run_id")
    if run_id is None:
        raise TrackingError(
            f"{version.name} version {version.version} has no tag run_id: promote did not make it."
        )
    run = tracking.read_run(run_id)
    images = files.read_csv(_of_run(version, f"data/{IMAGES}", folder), dtype={"image_id": "string"})
    listed = _of_run(version, ENVIRONMENT, folder).read_text(encoding="utf-8")
    study = run.data.tags.get("tuning_run_id")
    best = tracking.read_run(study).data.tags.get("best.trial") if study else None
    return Origin(version, run.data.tags, run.data.params, images, listed.split(), best)


def _of_run(version: versions.Version, name: str, folder: Path) -> Path:
    try:
        return tracking.download_run_file(version.tags["run_id"], name, folder)
    except TrackingError as error:
        raise TrackingError(
            f"{version.name} version {version.version} cannot be traced: its run holds no {name}. Either the "
            "version was made before the stage evaluate laid it there: run `dvc repro` for one that can. Or "
            f"it has left the artifact store: restore it. ({error})"
        ) from error
