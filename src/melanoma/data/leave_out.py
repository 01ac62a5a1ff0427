"""Leave one source out: networks that never saw an image of one clinic or archive collection.

A source is a dataset of the cohort, or a collection within one. Who leaves one out leaves out every image of
every group that touches it: a lesion that two collections show would otherwise be learnt from after all.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.data.packed import Packed, Part
from melanoma.schema import BENIGN, MALIGNANT, TEST

DATASET, COLLECTION = "dataset", "collection"


@dataclass(frozen=True)
class Source:
    """Images that come from one place.

    Attributes:
        name: Of the dataset or the collection.
        kind: `dataset` or `collection`.
        is_in: Shape `(num_images_of_the_cohort,)`, bool.
    """

    name: str
    kind: str
    is_in: np.ndarray

    @property
    def key(self) -> str:
        """Kind and name: a collection may be called like a dataset."""
        return f"{self.kind} {self.name}"


def find(index: pd.DataFrame, collections: pd.Series, *, min_images: int) -> list[Source]:
    """The sources of a cohort, the datasets first.

    Args:
        index: Of the cohort, column `dataset`.
        collections: The `source_collection` of each of its images, in their order; null where none is named.
        min_images: Fewer make no source. What makes up the whole cohort is none either, and a collection
            that is all of a dataset stands there once, as the dataset.
    """
    found: list[Source] = []
    for kind, names in ((DATASET, index["dataset"]), (COLLECTION, collections)):
        for name in sorted(names.dropna().unique()):
            is_in = names.eq(name).fillna(False).to_numpy(bool)
            is_new = not any(np.array_equal(is_in, source.is_in) for source in found)
            if is_new and min_images <= is_in.sum() < len(index):
                found.append(Source(str(name), kind, is_in))
    return found


def learnt_without(data: Packed, source: Source, split: str) -> Part:
    """The images of one side of which no group touches `source`."""
    touched = data.index["group_id"].isin(data.index.loc[source.is_in, "group_id"])
    rows = np.flatnonzero((data.index["split"] == split) & ~touched)
    return data.at(rows)


def images_of(data: Packed, source: Source) -> Part:
    """All images of `source`, of every side."""
    return data.at(np.flatnonzero(source.is_in))


def is_tested(data: Packed, source: Source) -> np.ndarray:
    """Which of `images_of` lie in the test side: no network of this cohort learnt from them."""
    return (data.index.loc[source.is_in, "split"] == TEST).to_numpy(bool)


def why_not(data: Packed, source: Source, splits: tuple[str, ...]) -> str | None:
    """Why nothing can be said about `source`; None when something can."""
    if len(set(data.index.loc[source.is_in, "target"])) < 2:
        only = "benign" if data.index.loc[source.is_in, "target"].iloc[0] == BENIGN else "malignant"
        return f"all its images are {only}"
    for split in splits:
        left = learnt_without(data, source, split).targets
        if set(left) != {BENIGN, MALIGNANT}:
            return f"without it the {split} side has {len(left)} images of one class or none"
    return None
