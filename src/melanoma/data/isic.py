"""ISIC Archive: a metadata CSV as the archive exports it, with a folder of images and one of masks."""

from pathlib import Path

import pandas as pd

from melanoma.data.raw import RawDataset, index_files, join_files
from melanoma.errors import DataError, first_offenders
from melanoma.files import read_csv
from melanoma.schema import BENIGN, MALIGNANT, require_columns

MASK_SUFFIX = "_segmentation"
TARGET_OF_LABEL = {"malignant": MALIGNANT, "benign": BENIGN}
# Labels of the archive that are neither: such a row stays, without a target, and is quarantined.
UNCLEAR_LABELS = ("indeterminate", "indeterminate/benign", "indeterminate/malignant")
# Column of the common vocabulary by the name in the metadata CSV.
RECORD_COLUMN_OF = {
    "diagnosis": "diagnosis",
    "lesion_id": "lesion_id",
    "patient_id": "patient_id",
    "age_approx": "age_years",
    "sex": "sex",
    "anatom_site_general": "anatom_site",
    "attribution_collection": "source_collection",
    "copyright_license": "licence",
    "attribution": "attribution",
}


def open_source(metadata: Path, images: Path, masks: Path | None, *, is_partial: bool) -> RawDataset:
    """What `data/raw/isic/` is to hold.

    Args:
        metadata: CSV with at least `isic_id` and `benign_malignant`.
        images: Folder of `<isic_id>.jpg` (or .jpeg, .png, .bmp, .webp).
        masks: Folder of `<isic_id>_segmentation.png`; masks of other images are left out.
        is_partial: Leave out rows that have no image.

    Raises:
        DataError: Missing columns, an unknown label, or rows and files that do not match.
    """
    table = read_csv(metadata, dtype="string")
    require_columns(table, ("isic_id", "benign_malignant"), metadata)
    _require_known_labels(table, metadata)
    reserved = [name for name in ("image_id", "image_file", "mask_file") if name in table]
    table = table.drop(columns=reserved).rename(columns={"isic_id": "image_id"})
    found = index_files(masks) if masks else {}
    of_image = {
        stem.removesuffix(MASK_SUFFIX): file for stem, file in found.items() if stem.endswith(MASK_SUFFIX)
    }
    return join_files(
        table, images=index_files(images), masks=of_image, source=metadata, is_partial=is_partial
    )


def _require_known_labels(table: pd.DataFrame, source: Path) -> None:
    known = {*TARGET_OF_LABEL, *UNCLEAR_LABELS}
    labels = table["benign_malignant"].str.lower()
    unknown = table[labels.notna() & ~labels.isin(known)]
    if len(unknown):
        names = (unknown["isic_id"] + "=" + unknown["benign_malignant"]).tolist()
        raise DataError(
            f"{source}: {len(unknown)} rows have an unknown benign_malignant: "
            f"{first_offenders(names)}. Known are {sorted(known)} and blank."
        )


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `data/raw/isic/metadata.csv` in the common vocabulary; see `sources.read_records`."""
    source = raw_dir / "metadata.csv"
    table = read_csv(source, dtype="string")
    require_columns(table, ("image_id", "benign_malignant", "image_file", "mask_file"), source)
    known = {old: new for old, new in RECORD_COLUMN_OF.items() if old in table}
    return (
        table[["image_id", "image_file", "mask_file", *known]]
        .rename(columns=known)
        .assign(
            target=table["benign_malignant"].str.lower().map(TARGET_OF_LABEL).astype("Int64"),
            is_synthetic=False,
        )
    )
