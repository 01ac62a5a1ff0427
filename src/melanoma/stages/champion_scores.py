"""Part of the stage `promote`: score champion and anchor on test images that they have not learned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, schema, tracking
from melanoma.data import crops, packed
from melanoma.errors import DataError, TrackingError, first_offenders
from melanoma.evaluation.calibration_measures import FitError
from melanoma.evaluation.contest import Contest, Served
from melanoma.fingerprint import digest_of_code, sha256_of_file, travelling_code
from melanoma.registry import versions
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.serving import folder as folders
from melanoma.serving.network import Network
from melanoma.serving.records import unrecorded
from melanoma.serving.settings import Settings
from melanoma.stages.candidate import Candidate

SAME_CODE = "this code, which is the same as the {role}'s"
OWN_CODE = "its own code in a separate process"
WAY_OUT = (
    "Nothing was moved. If that version cannot be restored, remove the alias staging: the next version is "
    "then judged without a champion and becomes the anchor."
)


@dataclass(frozen=True)
class _Rival:
    """A version with which the challenger is compared.

    Attributes:
        role: `champion` or `anchor`.
        version: The version.
        files: Folder of its files, verified.
        settings: Its settings, with the operating point at which it is served.
    """

    role: str
    version: versions.Version
    files: Path
    settings: Settings

    @classmethod
    def open(cls, role: str, version: versions.Version, folder: Path) -> "_Rival":
        """Download and verify the files of a version."""
        found = versions.require_untouched(version, folder)
        return cls(role, version, found, Settings.read(found / "artifacts" / "settings.json"))

    def __str__(self) -> str:
        return f"The {self.role}, {self.version.name} version {self.version.version},"


def prepare_contest(
    candidate: Candidate, rivals: Mapping[str, versions.Version], folder: Path, *, attempt: int = 1
) -> tuple[Contest, dict[str, Any]]:
    """Collect the scores of all models on the challenger's test images that no rival has learned from.

    Args:
        candidate: The challenger.
        rivals: Versions to compare it with, by role: `champion`, and `anchor` if that is another one.
        folder: Folder for downloads.
        attempt: See `Contest`.

    Returns:
        The contest, and how each rival was scored: `<role>_scored_by`, and in `refused_by_<role>` the ids of
        images that it refuses and that are excluded for all models.

    Raises:
        TrackingError: The files of a rival are gone or changed, or it cannot be run.
        DataError: An image file is gone or changed.
    """
    rows = candidate.data.index[candidate.data.index["split"] == schema.TEST]
    opened = []
    for role, version in rivals.items():
        try:
            opened.append(_Rival.open(role, version, folder))
            rows = _without_known(rows, version, candidate.assigned, folder)
        except TrackingError as error:
            raise TrackingError(
                f"The {role} cannot be compared with the challenger: {error} {WAY_OUT}"
            ) from error
    notes: dict[str, Any] = {}
    scores: dict[str, pd.Series] = {}
    for rival in opened:
        scores[rival.role], found = _score(rival, candidate, rows)
        notes |= found
    for scored in scores.values():
        rows = rows[rows["image_id"].isin(scored.index)]
    ids = rows["image_id"]
    served = {
        rival.role: Served(scores[rival.role].loc[ids].to_numpy(), rival.settings.operating_point)
        for rival in opened
    }
    references = candidate.references.set_index("image_id").loc[ids]
    contest = Contest(
        target=rows["target"].to_numpy(),
        group_ids=rows["group_id"].to_numpy(),
        challenger=_as_served(candidate, ids),
        champion=served.get("champion"),
        anchor=served.get("anchor"),
        references={name: references[name].to_numpy(dtype=float) for name in schema.REFERENCE_NAMES},
        attempt=attempt,
        slices=candidate.slices,
        num_bins=candidate.num_bins,
        draws=candidate.draws,
        crop=crops.kind_of(candidate.data.crop),
    )
    return contest, notes


def _as_served(candidate: Candidate, image_ids: pd.Series) -> Served:
    """The challenger with the operating point that was logged with it, which also calibrates its scores."""
    point = OperatingPoint.from_dict(candidate.entry["operating_point"])
    of_model = candidate.predictions[candidate.predictions["model"] == candidate.model]
    calibrated = of_model.assign(probability=point.calibration.apply(of_model["score"].to_numpy()))
    calibrating = calibrated[calibrated["split"] == schema.VALIDATION]
    return Served(
        calibrated.set_index("image_id").loc[image_ids, "probability"].to_numpy(),
        point,
        FitError.of(
            *(calibrating[name].to_numpy() for name in ("target", "probability", "group_id")),
            method=point.calibration.method,
        ),
    )


def _without_known(
    rows: pd.DataFrame, rival: versions.Version, assigned: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """Rows of groups that were neither in the rival's training nor in its validation split."""
    index = tracking.download_run_file(rival.tags["run_id"], f"data/{packed.INDEX}", folder)
    learned = files.read_parquet(index)
    seen = learned.loc[learned["split"] != schema.TEST, "image_id"]
    # Images that left the cohort (withheld, quarantined, inactive dataset) count as well.
    groups = assigned.loc[assigned["image_id"].isin(seen), "group_id"]
    return rows[~(rows["image_id"].isin(seen) | rows["group_id"].isin(groups))]


def _score(rival: _Rival, candidate: Candidate, rows: pd.DataFrame) -> tuple[pd.Series, dict[str, Any]]:
    """Calibrated probabilities of a rival by image_id, and how they were computed."""
    settings, path = rival.settings, rival.files / "artifacts" / "model.onnx"
    network = Network(path, num_views=settings.num_views)
    data = candidate.data
    is_same_code = digest_of_code(travelling_code(rival.files)) == digest_of_code()
    if is_same_code and settings.crop == data.crop and data.has_size(network.image_size):
        positions = np.flatnonzero(data.index["image_id"].isin(rows["image_id"]))
        score = network.score(data.of_size(network.image_size).images[positions])
        ids = data.index["image_id"].iloc[positions]
        scores = pd.Series(settings.operating_point.calibration.apply(score), index=ids)
        refused: list[str] = []
    else:
        answers = _score_files(rival, candidate.accepted, rows)
        refused = list(answers.index[answers["probability"].isna()])
        scores = answers["probability"].dropna().astype(float)
    scored_by = SAME_CODE.format(role=rival.role) if is_same_code else OWN_CODE
    return scores, {f"{rival.role}_scored_by": scored_by, f"refused_by_{rival.role}": refused}


def _score_files(rival: _Rival, accepted: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Answers of a rival to the image files, as on a server; one row per image_id."""
    sources = accepted.set_index("image_id").loc[rows["image_id"], ["path", "sha256"]]
    changed = [
        path
        for path, sha256 in sources.itertuples(index=False)
        if not Path(path).is_file() or sha256_of_file(Path(path)) != sha256
    ]
    if changed:
        raise DataError(
            f"{len(changed)} test images are missing or have changed since validation: "
            f"{first_offenders(changed)}. The {rival.role} needs these image files. Run `dvc checkout`, then "
            "`dvc repro`."
        )
    try:
        with unrecorded():
            model = folders.load_model(str(rival.files))
    except TrackingError as error:
        raise TrackingError(f"{rival} cannot be compared with the challenger: {error} {WAY_OUT}") from error
    names = [Path(path) for path in sources["path"]]
    answers = pd.DataFrame([row for batch in folders.score_files(model, Path(), names) for row in batch])
    id_of = {str(Path(path)): image_id for image_id, path in sources["path"].items()}
    return answers.set_index(answers["file"].map(id_of))
