"""Tables of the ISIC challenges, as people have them: ground truth, optionally with its metadata, and images.

Of 2018 and 2019 the ground truth has one column for each diagnosis, of which exactly one is 1, and a second
table describes lesions and patients. The table of 2020 (`train.csv`) has a row of everything for each image.
All become one table of words in the raw folder. The images are CC BY-NC 4.0.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from melanoma.data.sources import translation
from melanoma.data.sources.raw_folder import RAW_COLUMNS, RawDataset, read_metadata
from melanoma.data.sources.source_files import describe_unused, join_images
from melanoma.data.sources.source_tables import read_table
from melanoma.errors import DataError, first_offenders
from melanoma.schema import (
    ACTINIC_OR_SQUAMOUS,
    BASAL_CELL_CARCINOMA,
    BENIGN_KERATOSIS,
    DERMATOFIBROMA,
    DERMOSCOPIC,
    MELANOMA,
    NEVUS,
    VASCULAR_LESION,
    require_columns,
)

# Diagnosis by column of the ground truth, in lower case. `unk`, unknown, names none.
DIAGNOSIS_OF_COLUMN = {
    "mel": MELANOMA,
    "nv": NEVUS,
    "bcc": BASAL_CELL_CARCINOMA,
    "ak": "actinic keratosis",
    "akiec": ACTINIC_OR_SQUAMOUS,
    "bkl": BENIGN_KERATOSIS,
    "df": DERMATOFIBROMA,
    "vasc": VASCULAR_LESION,
    "scc": "squamous cell carcinoma",
    "unk": pd.NA,
}
WEIGHTS = ("score_weight", "validation_weight")  # of the test set of 2019; not used
FACTS_OF_2020 = (
    *("image_name", "patient_id", "lesion_id", "sex", "age_approx", "anatom_site_general_challenge"),
    *("diagnosis", "benign_malignant", "target"),
)
ROW = "row in the metadata"  # column that is not kept
LABEL_OF_TARGET = {"1": "malignant", "0": "benign"}  # of 2020
METADATA = (*("image", "lesion_id", "age_approx", "sex", "anatom_site_general", "diagnosis_confirm_type"),)
RULES = {
    "diagnosis": translation.DIAGNOSIS,
    "benign_malignant": translation.LABEL,
    "lesion_id": translation.TEXT,
    "patient_id": translation.TEXT,
    "age_approx": translation.AGE_YEARS,
    "sex": translation.SEX,
    "anatom_site_general": translation.SITE,
    "challenge": translation.TEXT,
}


def open_source(
    ground_truth: Path, metadata: Path | None, images: Sequence[Path], *, is_partial: bool
) -> RawDataset:
    """Open what `data/raw/isic_challenge/` is to hold.

    Args:
        ground_truth: One-hot table of 2018 or 2019, or the table of 2020.
        metadata: Table of 2018 (lesion groupings) or 2019 with the same images; optional.
        images: Folders of `<image>.jpg`; images without a row are left out and counted.
        is_partial: Leave out rows that have no image.

    Raises:
        DataError: A table has missing or unknown columns, a row has no or two diagnoses, the two tables have
            different images, a cell cannot be translated, or a row has no image.
    """
    known = (*FACTS_OF_2020, "image", *DIAGNOSIS_OF_COLUMN, *WEIGHTS)
    source = read_table(ground_truth, known)
    _require_known(source.rows, known, ground_truth)
    if "image_name" in source.rows:
        table = _rows_of_2020(source.rows, ground_truth, metadata)
    else:
        table = _rows_of_one_hot(source.rows, ground_truth)
        if metadata is not None:
            facts = _rows_of_metadata(metadata, source.rows["image"], ground_truth)
            table = table.join(facts, on="image_id")
    dataset, unused = join_images(table, images, source=ground_truth, is_partial=is_partial)
    _require_readable(dataset.metadata, ground_truth, metadata)
    kept = dataset.metadata.drop(columns=ROW, errors="ignore")
    remarks = filter(None, [source.remark, describe_unused(**unused)])
    return replace(dataset, metadata=kept, remarks="; ".join(remarks))


def _require_readable(table: pd.DataFrame, ground_truth: Path, metadata: Path | None) -> None:
    """Refuse cells that cannot be translated, with their rows in the table that they are from."""
    rows = table if metadata is None else table.set_axis(table[ROW].astype("Int64"))
    translation.require_readable(translation.translate(rows, RULES)[1], metadata or ground_truth)


def _require_known(table: pd.DataFrame, known: Sequence[str], source: Path) -> None:
    if unknown := [name for name in table.columns if name not in known]:
        raise DataError(
            f"{source} has {len(unknown)} unknown columns: {first_offenders(unknown)}. Expected those of an "
            f"ISIC challenge: {', '.join(known)}. Remove them, or use `fetch isic` for other tables."
        )


def _rows_of_one_hot(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    classes = [name for name in DIAGNOSIS_OF_COLUMN if name in table]
    if "image" not in table or len(classes) < 2:
        raise DataError(
            f"{source} lacks the columns of an ISIC challenge: expected image and several of "
            f"{', '.join(DIAGNOSIS_OF_COLUMN).upper()} (2018, 2019), or image_name and target (2020); "
            f"it has {sorted(table.columns)}."
        )
    cells = pd.DataFrame({name: pd.to_numeric(table[name], errors="coerce") for name in classes})
    is_odd = ~cells.isin([0, 1]).all(axis=1)
    num_positive = (cells == 1).sum(axis=1)
    faults = [
        (is_odd, "have a cell other than 0 and 1"),
        (~is_odd & (num_positive == 0), "have no positive column"),
        (~is_odd & (num_positive > 1), "have several positive columns"),
    ]
    said = [
        f"{int(rows.sum())} rows {words} ({_places(table.loc[rows, 'image'])})"
        for rows, words in faults
        if rows.any()
    ]
    if said:
        raise DataError(f"{source}: {'; '.join(said)}. Each image needs 1 in one column and 0 in the others.")
    word = cells.idxmax(axis=1).map(DIAGNOSIS_OF_COLUMN).astype("string")
    year = "2018" if "akiec" in table else "2019"
    return pd.DataFrame(
        {"image_id": table["image"], "diagnosis": word, "challenge": f"ISIC {year} challenge"}
    )


def _places(image_ids: pd.Series) -> str:
    return first_offenders(f"row {row}: {image_id}" for row, image_id in image_ids.items())


def _rows_of_metadata(metadata: Path, image_ids: pd.Series, ground_truth: Path) -> pd.DataFrame:
    """The facts of the images and their row in the table, indexed by image id."""
    table = read_table(metadata, METADATA).rows
    _require_known(table, METADATA, metadata)
    require_columns(table, ("image",), metadata)
    if table["image"].duplicated().any():
        twice = first_offenders(table.loc[table["image"].duplicated(), "image"].unique())
        raise DataError(f"{metadata}: images must be unique; these occur more than once: {twice}.")
    ids, described = set(image_ids.dropna()), set(table["image"].dropna())
    for which, alone, other in (
        (metadata, described - ids, ground_truth),
        (ground_truth, ids - described, metadata),
    ):
        if alone:
            raise DataError(
                f"{which} has {len(alone)} images that are not in {other}: {first_offenders(sorted(alone))}. "
                "Give the two tables of the same year and part."
            )
    return table.assign(**{ROW: table.index}).set_index("image")


def _rows_of_2020(table: pd.DataFrame, source: Path, metadata: Path | None) -> pd.DataFrame:
    if metadata is not None:
        raise DataError(f"{source} is a table of 2020, which has no second one; leave out --metadata.")
    if "benign_malignant" not in table:
        require_columns(table, ("target",), source)
    if one_hot := [name for name in DIAGNOSIS_OF_COLUMN if name in table]:
        raise DataError(f"{source} has columns of 2020 and of other years ({first_offenders(one_hot)}).")
    if "target" in table:
        table = table.drop(columns="target").assign(benign_malignant=_labels_of_2020(table, source))
    names = {"image_name": "image_id", "anatom_site_general_challenge": "anatom_site_general"}
    return table.rename(columns=names).assign(challenge="ISIC 2020 challenge")


def _labels_of_2020(table: pd.DataFrame, source: Path) -> pd.Series:
    """`benign` or `malignant` of each row from its target; `benign_malignant` says the same or is blank."""
    labels = table["target"].str.removesuffix(".0").map(LABEL_OF_TARGET).astype("string")
    given = table.get("benign_malignant", labels).str.lower().fillna(labels)
    for is_bad, problem in (
        (labels.isna(), "target is neither 0 nor 1"),
        (labels.ne(given), "target and benign_malignant contradict each other"),
    ):
        if is_bad.any():
            raise DataError(
                f"{source}: in {int(is_bad.sum())} rows {problem}: "
                f"{_places(table.loc[is_bad, 'image_name'])}. Expected 1 for malignant and 0 for benign."
            )
    return labels


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `data/raw/isic_challenge/metadata.csv` in the common vocabulary; see `readers.read_records`.

    Raises:
        DataError: A cell cannot be translated.
    """
    table, bad = translation.translate(read_metadata(raw_dir, RULES), RULES)
    translation.require_readable(bad, raw_dir / "metadata.csv")
    table = table.reindex(columns=[*RAW_COLUMNS, *RULES])
    is_of_2020 = table["challenge"].str.contains("2020").fillna(False).astype(bool)
    return table.rename(
        columns={
            "age_approx": "age_years",
            "anatom_site_general": "anatom_site",
            "challenge": "source_collection",
        }
    ).assign(
        malignancy=translation.malignancy(table["benign_malignant"]).where(is_of_2020),
        image_type=DERMOSCOPIC,
        is_synthetic=False,
    )
