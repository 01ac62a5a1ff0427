"""What `promote` needs of the model that holds the alias: its scores on images it never trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, schema, tracking
from melanoma.data import crops, packed
from melanoma.errors import TrackingError
from melanoma.evaluation.gate import Contest
from melanoma.registry import versions
from melanoma.serving.network import Network
from melanoma.serving.settings import Settings


def prepare_contest(
    data: packed.Packed,
    predictions: pd.DataFrame,
    selected: str,
    *,
    references: pd.DataFrame,
    slices: list[dict[str, Any]],
    num_bins: int,
    champion: versions.Version | None,
    assigned: pd.DataFrame,
    folder: Path,
) -> Contest:
    """Both models' scores on the challenger's test images that the champion has not learned from.

    Args:
        data: The challenger's cohort.
        predictions: Of all models and splits, columns `schema.PREDICTION_COLUMNS`.
        selected: The challenger's name in `predictions`.
        references: Column `colour` by `image_id`.
        slices: Of the challenger, see `gate.Contest`.
        num_bins: Likewise.
        champion: The version that holds the alias, if any.
        assigned: Groups of all images that were ever accepted, columns `schema.ASSIGNED_COLUMNS`.
        folder: Where to put what is downloaded.

    Raises:
        TrackingError: The champion's files are gone or changed, or it takes images of another size or crop.
    """
    is_test = (data.index["split"] == schema.TEST).to_numpy()
    if champion is not None:
        champion_files = versions.require_untouched(champion, folder)
        seen = _learned_from(champion, folder)["image_id"]
        # Also through images that are no longer in the cohort: withheld, quarantined, switched off.
        groups = assigned.loc[assigned["image_id"].isin(seen), "group_id"]
        is_known = data.index["image_id"].isin(seen) | data.index["group_id"].isin(groups)
        is_test = is_test & ~is_known.to_numpy()
    rows = data.index[is_test]
    of_model = predictions[predictions["model"] == selected].set_index("image_id")
    of_colour = references.set_index("image_id")["colour"]
    return Contest(
        target=rows["target"].to_numpy(),
        group_ids=rows["group_id"].to_numpy(),
        challenger=of_model.loc[rows["image_id"], "probability"].to_numpy(),
        champion=None if champion is None else _score(champion, data, is_test, champion_files),
        colour=of_colour.loc[rows["image_id"]].to_numpy(),
        slices=slices,
        num_bins=num_bins,
        crop=crops.kind_of(data.crop),
    )


def _learned_from(champion: versions.Version, folder: Path) -> pd.DataFrame:
    """The images that the champion was trained on or chosen by."""
    index = tracking.download_run_file(champion.tags["run_id"], f"data/{packed.INDEX}", folder)
    rows = files.read_parquet(index)
    return rows[rows["split"] != schema.TEST]


def _score(
    champion: versions.Version, data: packed.Packed, is_test: np.ndarray, champion_files: Path
) -> np.ndarray:
    """Probabilities with the champion's own calibration."""
    images = data.images[is_test]
    artifacts = champion_files / "artifacts"
    network = Network(artifacts / "model.onnx")
    if network.image_size != images.shape[1]:
        raise TrackingError(
            f"The champion, {champion.name} version {champion.version}, takes images of "
            f"{network.image_size} px, this cohort is packed at {images.shape[1]} px, so they cannot "
            "be compared. Set pack.image_size back, or remove the alias staging to start anew."
        )
    settings = Settings.read(artifacts / "settings.json")
    if settings.crop != data.crop:
        raise TrackingError(
            f"The champion, {champion.name} version {champion.version}, was made for pictures cut by "
            f"{crops.kind_of(settings.crop)}, this cohort is packed with pack.crop "
            f"{crops.kind_of(data.crop)} or by another margin or U-Net, so they cannot be compared. Set pack "
            "and segment back, or remove the alias staging to start anew."
        )
    point = settings.operating_point
    return point.calibration.apply(network.score(images))
