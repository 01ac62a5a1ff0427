"""Reads `data/raw/<dataset>/` as records in the common schema, with one reader per dataset.

A raw folder holds `images/`, optionally `masks/`, and `metadata.csv`, whose columns `image_file` and
`mask_file` name the files. Every row has its image and every image its row.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from melanoma.data.sources import ham10000, isic, isic_challenge, ph2, sample
from melanoma.data.targets import targets
from melanoma.errors import DataError, first_offenders
from melanoma.files import require
from melanoma.schema import conform_records

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "clinic": isic.read_records,
    "ham10000": ham10000.read_records,
    "isic": isic.read_records,
    "isic_challenge": isic_challenge.read_records,
    "ph2": ph2.read_records,
    "sample": sample.read_records,
}


def read_records(
    dataset: str,
    raw_dir: Path,
    *,
    licence: str | None,
    attribution: str | None,
    positive: Collection[str],
    malignant_without_diagnosis: str,
) -> pd.DataFrame:
    """Records of `dataset` in the common schema, ordered by image_id.

    Args:
        dataset: A name of `READERS`.
        raw_dir: Raw folder of the dataset; paths in the records start with it as given.
        licence: Licence of rows that name none; `None` leaves it blank.
        attribution: Attribution of rows that name none; `None` leaves it blank.
        positive: Classes that count as positive, see `targets.targets`.
        malignant_without_diagnosis: Rule for rows that only say malignant, see `targets.targets`.

    Raises:
        DataError: The dataset is unknown, its folder is missing, a row has no file, a file has no row, a
            row does not fit the schema, or the reader gives neither `diagnosis` nor `malignancy`.
    """
    if dataset not in READERS:
        raise DataError(f"There is no reader for dataset {dataset!r}; expected one of {sorted(READERS)}.")
    require(raw_dir)
    rows = READERS[dataset](raw_dir)
    _require_matching_files(rows["image_file"], raw_dir / "images", raw_dir)
    masks = rows["mask_file"].dropna()
    if len(masks):
        _require_existing(masks, raw_dir / "masks", raw_dir)
    path = (raw_dir / "images").as_posix() + "/" + rows["image_file"].astype("string")
    mask_path = (raw_dir / "masks").as_posix() + "/" + rows["mask_file"].astype("string")
    rows = rows.assign(dataset=dataset, path=path, mask_path=mask_path)
    rows["target"] = _targets(rows, positive, malignant_without_diagnosis)
    for column, default in (("licence", licence), ("attribution", attribution)):
        if default is not None:
            rows[column] = rows[column].fillna(default) if column in rows else default
    return conform_records(rows)


def _targets(rows: pd.DataFrame, positive: Collection[str], rule: str) -> pd.Series:
    said = [name for name in ("diagnosis", "malignancy") if name in rows]
    if not said:
        raise DataError("Records lack diagnosis and malignancy; the reader must return one of them or both.")
    said_of = rows.reindex(columns=["diagnosis", "malignancy"])
    return targets(said_of, positive=positive, malignant_without_diagnosis=rule)


def _require_matching_files(named: pd.Series, folder: Path, raw_dir: Path) -> None:
    if named.isna().any():
        raise DataError(
            f"{raw_dir}/metadata.csv: {int(named.isna().sum())} rows have a blank image_file. "
            "Fetch the dataset again."
        )
    _require_existing(named, folder, raw_dir)
    there = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    nameless = sorted(there - set(named))
    if nameless:
        raise DataError(
            f"{folder}: {len(nameless)} files have no row in {raw_dir}/metadata.csv: "
            f"{first_offenders(nameless)}. Remove them or add their rows, then fetch again."
        )


def _require_existing(named: pd.Series, folder: Path, raw_dir: Path) -> None:
    there = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    missing = sorted(set(named) - there)
    if missing:
        raise DataError(
            f"{raw_dir}/metadata.csv: {len(missing)} rows name files that are not in {folder}: "
            f"{first_offenders(missing)}. Fetch the dataset again."
        )
