"""Command `predict`: score a folder of images with a registered model, through the code that is served."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from melanoma import tracking
from melanoma.serving import folder


def score_folder(images: Path, uri: str) -> pd.DataFrame:
    """One row per file, columns `folder.COLUMNS`; an unusable file has its reason in column `problem`.

    Args:
        images: Folder of images.
        uri: MLflow URI of the model.

    Raises:
        DataError: There is no such folder, or it is empty.
        TrackingError: The model cannot be loaded.
    """
    names = folder.list_files(images)
    tracking.client()  # points MLflow to the configured store
    model = folder.load_model(uri)
    rows = []
    with tqdm(total=len(names), desc="predict", unit="image", disable=None) as bar:
        for batch in folder.score_files(model, images, names):
            rows += batch
            bar.update(len(batch))
    return pd.DataFrame(rows, columns=list(folder.COLUMNS))
