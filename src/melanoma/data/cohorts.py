"""A cohort's splits, from the accepted images of all active datasets."""

from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.config import Split
from melanoma.data import duplicates, splits
from melanoma.data.facts import require_facts
from melanoma.errors import DataError, first_offenders
from melanoma.files import read_parquet


def read_tables(folder: Path, datasets: list[str]) -> pd.DataFrame:
    """The tables `<dataset>.parquet` of `folder`, one below the other.

    Raises:
        DataError: A table is missing, or two datasets use one image_id.
    """
    table = pd.concat([read_parquet(folder / f"{name}.parquet") for name in datasets])
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(
            f"{len(twice)} image ids occur in several of the datasets {datasets}: "
            f"{first_offenders(twice)}. Ids must be unique across datasets; rename them in one."
        )
    return table.reset_index(drop=True)


def split_cohort(
    cohort: str,
    *,
    records: pd.DataFrame,
    facts: pd.DataFrame,
    datasets: list[str],
    settings: Split,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Group and split all images together, then take the cohort's part.

    Args:
        cohort: Its name, for messages.
        records: Accepted images of all active datasets.
        facts: Facts of these and perhaps more images.
        datasets: The cohort's members.
        settings: `params.yaml: split`.

    Returns:
        Columns `schema.SPLIT_COLUMNS`, and the report.

    Raises:
        DataError: An image without facts; copies with unlike labels; an empty cohort, one class, or
            too few groups.
    """
    require_facts(records, facts)
    accepted_facts = facts[facts["image_id"].isin(set(records["image_id"]))]
    copies = duplicates.find_duplicates(
        accepted_facts.reset_index(drop=True),
        max_distance=settings.near_duplicate_max_distance,
        min_correlation=settings.near_duplicate_min_correlation,
    )
    duplicates.require_like_labels(copies, records)
    relations = duplicates.relate(records, copies)
    grouped = records.assign(group_id=duplicates.group_ids(records["image_id"], relations))
    assigned = splits.assign_splits(
        grouped,
        seed=settings.seed,
        fractions={
            "train": settings.train_fraction,
            "validation": settings.validation_fraction,
            "test": settings.test_fraction,
        },
    )
    splits.require_disjoint_groups(assigned)
    rows = splits.take_cohort(assigned, cohort=cohort, datasets=datasets)
    is_synthetic = records.loc[records["dataset"].isin(datasets), "is_synthetic"]
    report = {"cohort": cohort, "is_synthetic": bool(is_synthetic.any())}
    return rows, report | splits.summarize(rows, relations)
