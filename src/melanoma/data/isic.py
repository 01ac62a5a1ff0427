"""ISIC Archive: a metadata CSV as the archive exports it, with a folder of images and one of masks.

Older records name the label in `benign_malignant` and the diagnosis in `diagnosis`; newer ones have a path
of up to five names from `diagnosis_1` (Benign, Malignant, Indeterminate) to the most specific one.
"""

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
LABEL_COLUMNS = ("benign_malignant", "diagnosis_1")
DIAGNOSIS_PATH = ("diagnosis_5", "diagnosis_4", "diagnosis_3", "diagnosis_2", "diagnosis_1")
# Names in the path that are beyond doubt what an older record calls by one word. Nevus sebaceus and
# its like are no melanocytic nevi and have other names.
DIAGNOSIS_OF_NAME = {
    "malignant melanocytic proliferations (melanoma)": "melanoma",
    "melanoma in situ": "melanoma",
    "melanoma invasive": "melanoma",
    "melanoma, nos": "melanoma",
    "nevus": "nevus",
    "nevus, atypical, dysplastic, or clark": "atypical nevus",
    "seborrheic keratosis": "seborrheic keratosis",
}
# Column of the common vocabulary by the name in the metadata CSV.
RECORD_COLUMN_OF = {
    "lesion_id": "lesion_id",
    "patient_id": "patient_id",
    "age_approx": "age_years",
    "sex": "sex",
    "fitzpatrick_skin_type": "skin_type",
    "copyright_license": "licence",
    "attribution": "attribution",
}
# The first of these columns that has a value counts.
RECORD_COLUMN_FROM = {
    "anatom_site": ("anatom_site_general", "anatom_site_1"),
    "source_collection": ("attribution_collection", "collections"),
}
KNOWN_COLUMNS = {"isic_id", "diagnosis", *LABEL_COLUMNS, *RECORD_COLUMN_OF}


def open_source(metadata: Path, images: Path, masks: Path | None, *, is_partial: bool) -> RawDataset:
    """What `data/raw/isic/` is to hold.

    Args:
        metadata: CSV with at least `isic_id` and `benign_malignant` or `diagnosis_1`.
        images: Folder of `<isic_id>.jpg` (or .jpeg, .png, .bmp, .webp).
        masks: Folder of `<isic_id>_segmentation.png`; masks of other images are left out.
        is_partial: Leave out rows that have no image.

    Raises:
        DataError: Missing columns, an unknown label, or rows and files that do not match.
    """
    _require_commas(metadata)
    table = read_csv(metadata, dtype="string")
    require_columns(table, ("isic_id",), metadata)
    _require_label_column(table, metadata)
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


def _require_commas(metadata: Path) -> None:
    """A table with semicolons has one column of a long name; say so instead of what it lacks."""
    if not metadata.is_file():
        return  # reading it says what is wrong
    with metadata.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline()
    names = {name.strip().strip('"') for name in header.split(",")}
    if ";" in header and not names & KNOWN_COLUMNS:
        raise DataError(
            f"{metadata} is separated by semicolons; expected commas, as in the archive's own export. "
            "Save it as CSV with commas."
        )


def _require_label_column(table: pd.DataFrame, source: Path) -> None:
    if not set(LABEL_COLUMNS) & set(table.columns):
        raise DataError(
            f"{source} lacks a column with the label: expected one of {list(LABEL_COLUMNS)}; it has "
            f"{sorted(map(str, table.columns))}."
        )


def _require_known_labels(table: pd.DataFrame, source: Path) -> None:
    known = {*TARGET_OF_LABEL, *UNCLEAR_LABELS}
    for column in [name for name in LABEL_COLUMNS if name in table]:
        labels = table[column].str.lower()
        unknown = table[labels.notna() & ~labels.isin(known)]
        if len(unknown):
            names = (unknown["isic_id"] + "=" + unknown[column]).tolist()
            raise DataError(
                f"{source}: {len(unknown)} rows have an unknown {column}: "
                f"{first_offenders(names)}. Known are {sorted(known)} and blank."
            )


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `data/raw/isic/metadata.csv` in the common vocabulary; see `sources.read_records`."""
    source = raw_dir / "metadata.csv"
    table = read_csv(source, dtype="string")
    require_columns(table, ("image_id", "image_file", "mask_file"), source)
    _require_label_column(table, source)
    known = {old: new for old, new in RECORD_COLUMN_OF.items() if old in table}
    return (
        table[["image_id", "image_file", "mask_file", *known]]
        .rename(columns=known)
        .assign(
            **{name: _first_known(table, columns) for name, columns in RECORD_COLUMN_FROM.items()},
            diagnosis=_diagnosis(table),
            target=_target(table),
            is_synthetic=False,
        )
    )


def _first_known(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """The first value of each row that is not missing; all missing where no column is there."""
    return table.reindex(columns=list(columns)).astype("string").bfill(axis=1).iloc[:, 0]


def _target(table: pd.DataFrame) -> pd.Series:
    """1, 0, or missing: where nothing clear is said, and where the two label columns contradict."""
    labels = (
        table.reindex(columns=list(LABEL_COLUMNS)).astype("string").apply(lambda label: label.str.lower())
    )
    old, new = (labels[name] for name in LABEL_COLUMNS)
    agreed = old.fillna(new).mask((old != new).fillna(False))
    return agreed.map(TARGET_OF_LABEL).astype("Int64")


def _diagnosis(table: pd.DataFrame) -> pd.Series:
    """`diagnosis`, else the word for a name in the path, else its most specific name in small letters."""
    path = table.reindex(columns=list(DIAGNOSIS_PATH)).astype("string").apply(lambda name: name.str.lower())
    words = path.apply(lambda name: name.map(DIAGNOSIS_OF_NAME)).assign(diagnosis=table.get("diagnosis"))
    word = _first_known(words, ("diagnosis", *DIAGNOSIS_PATH))
    return word.fillna(_first_known(path, DIAGNOSIS_PATH))
