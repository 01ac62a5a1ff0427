"""Which classes of diagnosis a network tells apart: those of the training split.

A class with fewer than `MIN_GROUPS` training groups is learnt as `other`, which is counted. A class is merged
only into its own side: a positive class, however rare, never becomes a negative one, because the probability
of positive is the sum over the positive classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from melanoma.errors import DataError, first_offenders
from melanoma.schema import CLASSES, OTHER, TRAIN

MIN_GROUPS = 5  # with fewer, most folds of the training groups would lack the class on one side
NOT_TOLD = -1  # position of an image whose class no network learns


def present(index: pd.DataFrame, positive: Sequence[str]) -> tuple[str, ...]:
    """The classes that a network tells apart, in the order of `schema.CLASSES`.

    Args:
        index: Columns `split`, `group_id` and `diagnosis_class`.
        positive: The positive classes.

    Raises:
        DataError: The index names a class that is not in `schema.CLASSES`.
    """
    _require_known(index["diagnosis_class"])
    train = index[index["split"] == TRAIN]
    num_groups = train.groupby("diagnosis_class")["group_id"].nunique()
    rare = {name for name in num_groups.index if _is_rare(name, num_groups[name], positive)}
    kept = set(num_groups.index) - rare | ({OTHER} if rare else set())
    return tuple(name for name in CLASSES if name in kept)


def positions(index: pd.DataFrame, names: Sequence[str], positive: Sequence[str]) -> np.ndarray:
    """Where the class of each image stands in `names`, shape `(num_images,)`, int64.

    An image of another class counts as `other` if `names` has it and both are on one side; else the position
    is `NOT_TOLD`.

    Args:
        index: Column `diagnosis_class`.
        names: Result of `present`.
        positive: The positive classes.
    """
    found = pd.Index(names).get_indexer(pd.Index(index["diagnosis_class"]))
    if OTHER in names:
        joins = [_joins_other(name, positive) for name in index["diagnosis_class"]]
        found = np.where((found < 0) & np.array(joins, dtype=bool), list(names).index(OTHER), found)
    return np.asarray(found, dtype=np.int64)


def learnt_as_other(index: pd.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Number of training images of each class that has no output of its own."""
    train = index.loc[index["split"] == TRAIN, "diagnosis_class"]
    counts = train[~train.isin(list(names))].value_counts()
    return {name: int(counts[name]) for name in CLASSES if name in counts}


def _is_rare(name: str, num_groups: int, positive: Sequence[str]) -> bool:
    return name != OTHER and num_groups < MIN_GROUPS and _joins_other(name, positive)


def _joins_other(name: str, positive: Sequence[str]) -> bool:
    return (name in positive) == (OTHER in positive)


def _require_known(classes: pd.Series) -> None:
    unknown = classes[~classes.isin(list(CLASSES))].unique()
    if len(unknown):
        raise DataError(
            f"The packed cohort has unknown classes: {first_offenders(unknown)}. Expected {list(CLASSES)}. "
            "Run `dvc repro --force pack`."
        )
