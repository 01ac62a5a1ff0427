"""Leave one source out: networks that never saw an image of one clinic or archive collection.

A source is a dataset of the cohort, or a collection within one. Who leaves one out leaves out every image of
every group that touches it: a lesion that two collections show would otherwise be learnt from after all.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.data.packed import Packed, Part
from melanoma.schema import BENIGN, MALIGNANT, align

DATASET, COLLECTION = "dataset", "collection"


@dataclass(frozen=True)
class Source:
    """Images that come from one place.

    Attributes:
        name: Of the dataset or the collection.
        kind: `dataset` or `collection`.
        image_ids: The source's images in the cohort.
    """

    name: str
    kind: str
    image_ids: frozenset[str]

    @property
    def key(self) -> str:
        """Kind and name: a collection may be called like a dataset."""
        return f"{self.kind} {self.name}"

    def holds(self, image_ids: pd.Series | np.ndarray) -> np.ndarray:
        """Which of some images are of this source, bool, in their order."""
        return pd.Index(image_ids).isin(self.image_ids)


def find(index: pd.DataFrame, collections: pd.Series, *, min_images: int) -> list[Source]:
    """The sources of a cohort, the datasets first.

    Args:
        index: Index of the cohort, columns `image_id` and `dataset`.
        collections: The `source_collection` of each of its images, by image_id; null where none is named.
        min_images: Fewer make no source. What makes up the whole cohort is none either, and a collection
            that is all of a dataset stands there once, as the dataset.
    """
    found: list[Source] = []
    named = align(collections, index["image_id"], what="The source collections")
    for kind, names in ((DATASET, index["dataset"]), (COLLECTION, named)):
        for name in sorted(names.dropna().unique()):
            is_in = names.eq(name).fillna(False).to_numpy(bool)
            image_ids = frozenset(index["image_id"].to_numpy()[is_in])
            is_new = all(image_ids != source.image_ids for source in found)
            if is_new and min_images <= len(image_ids) < len(index):
                found.append(Source(str(name), kind, image_ids))
    return found


def learnt_without(data: Packed, source: Source, split: str) -> Part:
    """The images of one side of which no group touches `source`."""
    touched = data.index["group_id"].isin(_rows(data, source)["group_id"])
    rows = np.flatnonzero((data.index["split"] == split) & ~touched)
    return data.at(rows)


def images_of(data: Packed, source: Source) -> Part:
    """All images of `source`, of every side."""
    return data.at(np.flatnonzero(source.holds(data.index["image_id"])))


def _rows(data: Packed, source: Source) -> pd.DataFrame:
    return data.index[source.holds(data.index["image_id"])]


def why_not(data: Packed, source: Source, splits: tuple[str, ...]) -> str | None:
    """Why nothing can be said about `source`; None when something can."""
    target = _rows(data, source)["target"]
    if len(set(target)) < 2:
        only = "benign" if target.iloc[0] == BENIGN else "malignant"
        return f"all its images are {only}"
    for split in splits:
        left = learnt_without(data, source, split).targets
        if set(left) != {BENIGN, MALIGNANT}:
            return f"without it the {split} side has {len(left)} images of one class or none"
    return None
