"""Leave one source out: networks that were not trained on any image of one clinic or archive collection.

A source is a dataset of the cohort, or a collection within one. Leaving a source out removes every image of
every group that touches it; otherwise a lesion shown by two collections would be trained on after all.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.data.packed import Packed, Part
from melanoma.schema import NEGATIVE, POSITIVE, align

DATASET, COLLECTION = "dataset", "collection"


@dataclass(frozen=True)
class Source:
    """Images that come from one place.

    Attributes:
        name: Name of the dataset or collection.
        kind: `dataset` or `collection`.
        image_ids: The source's images in the cohort.
    """

    name: str
    kind: str
    image_ids: frozenset[str]

    @property
    def key(self) -> str:
        """Kind and name, because a collection may have the name of a dataset."""
        return f"{self.kind} {self.name}"

    def holds(self, image_ids: pd.Series | np.ndarray) -> np.ndarray:
        """Boolean mask of the images that belong to this source."""
        return pd.Index(image_ids).isin(self.image_ids)


def find_sources(
    index: pd.DataFrame,
    collections: pd.Series,
    *,
    min_images: int,
    kinds: Collection[str] = (DATASET, COLLECTION),
) -> list[Source]:
    """The sources of a cohort, datasets first.

    The whole cohort is not a source. A collection that equals a dataset is listed once, as the dataset, if
    both kinds are wanted.

    Args:
        index: Index of the cohort, columns `image_id` and `dataset`.
        collections: The `source_collection` of each image, by image_id; null where unknown.
        min_images: Minimum number of images of a source.
        kinds: The kinds of sources wanted, `dataset` or `collection` or both.
    """
    found: list[Source] = []
    named = align(collections, index["image_id"], what="The source collections")
    for kind, names in ((DATASET, index["dataset"]), (COLLECTION, named)):
        if kind not in kinds:
            continue
        for name in sorted(names.dropna().unique()):
            is_in = names.eq(name).fillna(False).to_numpy(bool)
            image_ids = frozenset(index["image_id"].to_numpy()[is_in])
            is_new = all(image_ids != source.image_ids for source in found)
            if is_new and min_images <= len(image_ids) < len(index):
                found.append(Source(str(name), kind, image_ids))
    return found


def part_without(data: Packed, source: Source | None, splits: Sequence[str]) -> Part:
    """The images of some splits whose groups do not touch `source`, if one is left out."""
    is_in = data.index["split"].isin(splits)
    if source is not None:
        is_in &= ~data.index["group_id"].isin(_rows(data, source)["group_id"])
    return data.at(np.flatnonzero(is_in))


def part_of(data: Packed, source: Source) -> Part:
    """All images of `source`, of every split."""
    return data.at(np.flatnonzero(source.holds(data.index["image_id"])))


def _rows(data: Packed, source: Source) -> pd.DataFrame:
    return data.index[source.holds(data.index["image_id"])]


def reason_unusable(data: Packed, source: Source, splits: tuple[str, ...]) -> str | None:
    """Why nothing can be measured on `source`, or None if it can be left out."""
    target = _rows(data, source)["target"]
    if len(set(target)) < 2:
        only = "negative" if target.iloc[0] == NEGATIVE else "positive"
        return f"all its images are {only}"
    for split in splits:
        left = part_without(data, source, (split,)).targets
        if set(left) != {NEGATIVE, POSITIVE}:
            return f"without it the {split} split has {len(left)} images of fewer than two classes"
    return None
