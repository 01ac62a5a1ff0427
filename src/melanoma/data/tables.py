"""Reading what earlier stages wrote for several datasets."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma.errors import DataError, first_offenders
from melanoma.files import read_csv, read_parquet_groups
from melanoma.schema import PAIR_COLUMNS, require_columns

ACCEPTED_COLUMNS = (
    "image_id",
    "target",
    "lesion_id",
    "patient_id",
    "path",
    "sha256",
    "is_synthetic",
)
ROWS_AT_ONCE = 100_000


def read_tables(folder: Path, datasets: list[str], columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of the tables `<dataset>.parquet` of `folder`, one below the other, with `dataset`.

    Raises:
        DataError: A table is missing or lacks a column, or two datasets use one image_id.
    """
    tables = [
        rows.assign(dataset=name)
        for name in datasets
        for rows in read_parquet_groups(folder / f"{name}.parquet", columns, size=ROWS_AT_ONCE)
        if len(rows)
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "dataset"])
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(
            f"{len(twice)} image ids occur in several of the datasets {datasets}: "
            f"{first_offenders(twice)}. Ids must be unique across datasets; rename them in one."
        )
    return table


def read_pairs(path: Path) -> pd.DataFrame:
    """Pairs of images with their reasons, columns `schema.PAIR_COLUMNS`.

    Raises:
        DataError: The file is missing, unreadable or lacks a column.
    """
    pairs = read_csv(path, dtype="string", keep_default_na=False)
    require_columns(pairs, PAIR_COLUMNS, path)
    return pairs[list(PAIR_COLUMNS)]
