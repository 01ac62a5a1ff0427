"""Reads tables of earlier stages: one of several datasets, predictions, and pairs of images."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma.errors import DataError, first_offenders
from melanoma.files import read_csv, read_parquet_groups
from melanoma.schema import (
    PAIR_COLUMNS,
    PREDICTION_COLUMNS,
    RECORD_COLUMNS,
    REFERENCE_NAMES,
    SPLIT_COLUMNS,
    TRAIN,
    align,
    require_columns,
)

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
    """Concatenate the tables `<dataset>.parquet` in `folder`, with `columns` and `dataset`.

    Raises:
        DataError: A table is missing or lacks a column, or two datasets use the same image_id.
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
            f"{len(twice)} image ids occur in several of the datasets {datasets}: {first_offenders(twice)}. "
            "Ids must be unique across datasets; rename them in one dataset."
        )
    return table


def describe_images(
    index: pd.DataFrame, *, accepted: Path, facts: Path, datasets: list[str], fact_columns: Sequence[str]
) -> pd.DataFrame:
    """The record and facts of each image, in the order of `index`.

    Args:
        index: Images, column `image_id`.
        accepted: Folder of the tables of accepted records.
        facts: Folder of the tables of facts.
        datasets: Names of the datasets of the cohort.
        fact_columns: Columns of facts, besides `image_id`.

    Raises:
        DataError: A table is missing, or an image is in no table.
    """
    records = read_tables(accepted, datasets, [*RECORD_COLUMNS, "sha256"])
    measured = read_tables(facts, datasets, ["image_id", *fact_columns]).drop(columns="dataset")
    described = records.merge(measured, on="image_id", validate="one_to_one").set_index("image_id")
    unknown = index.loc[~index["image_id"].isin(described.index), "image_id"]
    if len(unknown):
        raise DataError(
            f"{len(unknown)} images of the packed cohort have no accepted record with facts: "
            f"{first_offenders(unknown)}. Run `dvc repro`."
        )
    return described.loc[index["image_id"]].reset_index()


def read_predictions(path: Path, index: pd.DataFrame) -> pd.DataFrame:
    """Read the predictions of all models that stage `evaluate` wrote.

    Args:
        path: CSV with rows in any order.
        index: Index of the packed cohort, columns `schema.SPLIT_COLUMNS`.

    Returns:
        Columns `schema.PREDICTION_COLUMNS`, one model after the other, each in the order of `index`; training
        images are not predicted.

    Raises:
        DataError: A model lacks a validation or test image of the cohort, has another one or one twice, or an
            image has another target, group or split than in the cohort.
    """
    table, measured = read_scores(path, PREDICTION_COLUMNS), index[index["split"] != TRAIN]
    parts = [
        _of_cohort(rows, measured, f"The predictions of {model} in {path}")
        for model, rows in table.groupby("model", sort=False)
    ]
    return pd.concat(parts, ignore_index=True) if parts else table


def read_references(path: Path, index: pd.DataFrame) -> pd.DataFrame:
    """Read the scores of the references that stage `audit` wrote; see `read_predictions`."""
    columns = (*SPLIT_COLUMNS, *REFERENCE_NAMES)
    return _of_cohort(read_scores(path, columns), index, f"The scores of references in {path}")


def read_scores(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read ids and names as text, and blank scores as missing, without comparison with a cohort."""
    numbers = ["target", "score", "probability", *REFERENCE_NAMES]
    text = {name: "string" for name in columns if name not in numbers}
    blanks = {name: [""] for name in numbers}
    table = read_csv(path, dtype=text, keep_default_na=False, na_values=blanks)
    require_columns(table, tuple(columns), path)
    return table[list(columns)]


def _of_cohort(rows: pd.DataFrame, index: pd.DataFrame, what: str) -> pd.DataFrame:
    found = align(rows.set_index("image_id"), index["image_id"], what=what)
    expected = index.set_index("image_id")
    for name in ("target", "group_id", "split"):
        is_other = found[name].astype(str) != expected[name].astype(str)
        if is_other.any():
            raise DataError(
                f"{what} give {int(is_other.sum())} images a {name} that differs from the packed cohort: "
                f"{first_offenders(found.index[is_other])}. They are from another run: run `dvc repro`."
            )
    return found.reset_index()[list(rows.columns)]


def read_pairs(path: Path) -> pd.DataFrame:
    """Read pairs of images with their reasons, columns `schema.PAIR_COLUMNS`.

    Raises:
        DataError: The file is missing, unreadable or lacks a column.
    """
    pairs = read_csv(path, dtype="string", keep_default_na=False)
    require_columns(pairs, PAIR_COLUMNS, path)
    return pairs[list(PAIR_COLUMNS)]


def read_split(path: Path) -> pd.DataFrame:
    """The table of the stage `split`: each image of a cohort with its group and its split."""
    return read_csv(path, dtype={"image_id": "string", "group_id": "string"}, keep_default_na=False)
