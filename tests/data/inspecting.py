"""Facts of images as one table, for tests."""

from pathlib import Path

import pandas as pd

from melanoma.config.data import Execution, Inspect
from melanoma.data.checks.facts import FACT_DTYPES, inspect_groups


def inspect_images(
    records: pd.DataFrame, *, root: Path, settings: Inspect, execution: Execution, description: str
) -> pd.DataFrame:
    """Facts of every image of `records`, in their order; see `inspect_groups`."""
    groups = inspect_groups(
        [records],
        root=root,
        settings=settings,
        num_images=len(records),
        execution=execution,
        description=description,
    )
    empty = pd.DataFrame(columns=list(FACT_DTYPES)).astype(FACT_DTYPES)
    return pd.concat([empty, *groups], ignore_index=True)
