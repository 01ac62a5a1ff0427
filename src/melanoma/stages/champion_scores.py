"""Part of the stage `promote`: score the champion on test images that it has not learned from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, schema, tracking
from melanoma.data import crops, packed
from melanoma.errors import DataError, TrackingError, first_offenders
from melanoma.evaluation.gate import Contest
from melanoma.fingerprint import digest_of_code, sha256_of_file, travelling_code
from melanoma.registry import versions
from melanoma.serving import folder as folders
from melanoma.serving.network import Network
from melanoma.serving.settings import Settings
from melanoma.stages.candidate import Candidate

SAME_CODE = "this code, which is the same as the champion's"
OWN_CODE = "its own code in a separate process"


def prepare_contest(
    candidate: Candidate, champion: versions.Version | None, folder: Path
) -> tuple[Contest, dict[str, Any]]:
    """Collect both models' scores on the challenger's test images that the champion has not learned from.

    Args:
        candidate: The challenger.
        champion: Version that holds the alias; None if there is none.
        folder: Folder for downloads.

    Returns:
        The contest, and how the champion was scored: `champion_scored_by`, and in `refused_by_champion` the
        ids of images that the champion refuses and that are excluded for both models.

    Raises:
        TrackingError: The champion's files are gone or changed, or it cannot be run.
        DataError: An image file is gone or changed.
    """
    rows = candidate.data.index[candidate.data.index["split"] == schema.TEST]
    scores: pd.Series | None = None
    notes: dict[str, Any] = {}
    if champion is not None:
        champion_files = versions.require_untouched(champion, folder)
        rows = _without_known(rows, champion, candidate.assigned, folder)
        scores, notes = _score(champion, champion_files, candidate, rows)
        rows = rows[rows["image_id"].isin(scores.index)]
    ids = rows["image_id"]
    of_model = candidate.predictions[candidate.predictions["model"] == candidate.model]
    contest = Contest(
        target=rows["target"].to_numpy(),
        group_ids=rows["group_id"].to_numpy(),
        challenger=of_model.set_index("image_id").loc[ids, "probability"].to_numpy(),
        champion=None if scores is None else scores.loc[ids].to_numpy(),
        colour=candidate.references.set_index("image_id").loc[ids, "colour"].to_numpy(),
        slices=candidate.slices,
        num_bins=candidate.num_bins,
        draws=candidate.draws,
        crop=crops.kind_of(candidate.data.crop),
    )
    return contest, notes


def _without_known(
    rows: pd.DataFrame, champion: versions.Version, assigned: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """Rows of groups that were neither in the champion's training nor in its validation split."""
    index = tracking.download_run_file(champion.tags["run_id"], f"data/{packed.INDEX}", folder)
    learned = files.read_parquet(index)
    seen = learned.loc[learned["split"] != schema.TEST, "image_id"]
    # Images that left the cohort (withheld, quarantined, inactive dataset) count as well.
    groups = assigned.loc[assigned["image_id"].isin(seen), "group_id"]
    return rows[~(rows["image_id"].isin(seen) | rows["group_id"].isin(groups))]


def _score(
    champion: versions.Version, champion_files: Path, candidate: Candidate, rows: pd.DataFrame
) -> tuple[pd.Series, dict[str, Any]]:
    """Calibrated probabilities of the champion by image_id, and how they were computed."""
    artifacts = champion_files / "artifacts"
    settings, network = Settings.read(artifacts / "settings.json"), Network(artifacts / "model.onnx")
    data = candidate.data
    is_same_code = digest_of_code(travelling_code(champion_files)) == digest_of_code()
    if is_same_code and settings.crop == data.crop and network.image_size == data.images.shape[1]:
        positions = np.flatnonzero(data.index["image_id"].isin(rows["image_id"]))
        score = network.score(data.images[positions])
        ids = data.index["image_id"].iloc[positions]
        scores = pd.Series(settings.operating_point.calibration.apply(score), index=ids)
        return scores, {"champion_scored_by": SAME_CODE, "refused_by_champion": []}
    answers = _score_files(champion, champion_files, candidate.accepted, rows)
    refused = answers.index[answers["probability"].isna()]
    scored_by = SAME_CODE if is_same_code else OWN_CODE
    notes = {"champion_scored_by": scored_by, "refused_by_champion": list(refused)}
    return answers.loc[answers["probability"].notna(), "probability"].astype(float), notes


def _score_files(
    champion: versions.Version, champion_files: Path, accepted: pd.DataFrame, rows: pd.DataFrame
) -> pd.DataFrame:
    """Answers of the champion to the image files, as on a server; one row per image_id."""
    sources = accepted.set_index("image_id").loc[rows["image_id"], ["path", "sha256"]]
    changed = [
        path
        for path, sha256 in sources.itertuples(index=False)
        if not Path(path).is_file() or sha256_of_file(Path(path)) != sha256
    ]
    if changed:
        raise DataError(
            f"{len(changed)} test images are missing or have changed since validation: "
            f"{first_offenders(changed)}. The champion needs these image files. Run `dvc checkout`, then "
            "`dvc repro`."
        )
    try:
        model = folders.load_model(str(champion_files))
    except TrackingError as error:
        raise TrackingError(
            f"The champion, {champion.name} version {champion.version}, cannot be compared with the "
            f"challenger: {error} Nothing was moved. If the champion cannot run any more, remove its alias "
            "staging."
        ) from error
    names = [Path(path) for path in sources["path"]]
    answers = pd.DataFrame([row for batch in folders.score_files(model, Path(), names) for row in batch])
    id_of = {str(Path(path)): image_id for image_id, path in sources["path"].items()}
    return answers.set_index(answers["file"].map(id_of))
