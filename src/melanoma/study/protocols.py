"""Two ways from the images of a cohort to those that are learnt from and tested with.

`leak_free` is the platform's own: the sides that `assign` gave, groups kept apart, the test as it was found.

`paper` is that of the published system, as far as it tells: classes balanced by augmentation over the whole
set, then split at random, so that the test is balanced too. The total stays what it was: its test sets of
530, 40 and 570 images are a fifth of 2,650, 200 and 2,850. So the larger class loses images and the smaller
one is filled up with warped copies. A copy may then lie on another side than its original: this is the leak
that the study measures, and the only place where it is made.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.config.training import Augment
from melanoma.data.augment import NUM_DRAWS, augment_image, draw_warps
from melanoma.data.packed import Packed, Part
from melanoma.schema import BENIGN, MALIGNANT, TEST, TRAIN, VALIDATION

PAPER = "paper"  # the other protocol is `schema.LEAK_FREE`
ROW_COLUMNS = ("picture_id", "image_id", "group_id", "target", "split", "is_copy")


@dataclass(frozen=True)
class Material:
    """Images with their sides under a protocol.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB.
        rows: Row i describes image i: `picture_id` (each once: the image_id, of a warped copy with `#` and a
            number behind it), `image_id` (of a copy: of its original), `group_id`, `target`, `split`,
            `is_copy`.
    """

    images: np.ndarray
    rows: pd.DataFrame

    def part(self, split: str) -> Part:
        """The images of one side."""
        at = np.flatnonzero(self.rows["split"] == split)
        return Part(
            self.images,
            at,
            self.rows["target"].to_numpy(np.float32)[at],
            image_ids=self.rows["picture_id"].to_numpy()[at],
        )

    def of(self, split: str) -> pd.DataFrame:
        """The rows of one side, with `has_relative`: another image of its group lies on another side."""
        is_mine = self.rows["split"] == split
        elsewhere = self.rows.loc[~is_mine, "group_id"]
        return self.rows[is_mine].assign(has_relative=self.rows.loc[is_mine, "group_id"].isin(elsewhere))


def leak_free(data: Packed) -> Material:
    """The cohort as it was split."""
    rows = data.index.assign(picture_id=data.index["image_id"], is_copy=False)
    return Material(data.images, rows[list(ROW_COLUMNS)])


def paper(data: Packed, *, amounts: Augment, fractions: dict[str, float], seed: int) -> Material:
    """Balanced over the whole set, then split at random: leaks by design, for the study alone.

    Args:
        data: The cohort; its sides are not looked at.
        amounts: Of the warps of copies.
        fractions: Of images, by split; they add to 1. Each class is split alike, so the test is balanced too.
        seed: Of the draws.
    """
    balanced = balance(leak_free(data), amounts=amounts, seed=seed)
    generator = np.random.default_rng([seed, 1])
    split = np.empty(len(balanced.rows), dtype=object)
    for target in (BENIGN, MALIGNANT):
        at = generator.permutation(np.flatnonzero(balanced.rows["target"] == target))
        num_test, num_validation = (round(fractions[name] * len(at)) for name in (TEST, VALIDATION))
        split[at] = TRAIN
        split[at[:num_test]] = TEST
        split[at[num_test : num_test + num_validation]] = VALIDATION
    return Material(balanced.images, balanced.rows.assign(split=split))


def balance(material: Material, *, amounts: Augment, seed: int) -> Material:
    """As many images as before, half of them malignant (an odd one is benign); sides are kept.

    The larger class loses images at random; each image of the smaller one is copied equally often, give or
    take one, and every copy is warped.

    Args:
        material: Of both classes; of one class it is given back as it is.
        amounts: Of the warps.
        seed: Of the draws.
    """
    generator = np.random.default_rng([seed, 0])
    target = material.rows["target"].to_numpy()
    if len(np.unique(target)) < 2:
        return material
    num_malignant = len(target) // 2
    kept, copied = [], []
    for value, wanted in ((BENIGN, len(target) - num_malignant), (MALIGNANT, num_malignant)):
        mine = generator.permutation(np.flatnonzero(target == value))
        kept.append(mine[:wanted])
        copied.append(np.resize(mine, max(0, wanted - len(mine))))
    originals, sources = np.sort(np.concatenate(kept)), np.sort(np.concatenate(copied))
    copies = _warp(material.images, sources, amounts, generator)
    copied_rows = material.rows.iloc[sources]
    number = copied_rows.groupby("picture_id").cumcount() + 1
    copied_rows = copied_rows.assign(
        picture_id=copied_rows["picture_id"] + "#" + number.astype(str), is_copy=True
    )
    rows = pd.concat([material.rows.iloc[originals], copied_rows], ignore_index=True)
    return Material(np.concatenate([material.images[originals], copies]), rows)


def _warp(
    images: np.ndarray, sources: np.ndarray, amounts: Augment, generator: np.random.Generator
) -> np.ndarray:
    """Warped copies `(len(sources), size, size, 3)` of the images at `sources`."""
    warps = draw_warps(generator.random((len(sources), NUM_DRAWS)), amounts, size=images.shape[1])
    copies = np.empty((len(sources), *images.shape[1:]), np.uint8)
    for at, (source, warp) in enumerate(zip(sources, warps, strict=True)):
        copies[at] = augment_image(images[source], warp)
    return copies


def describe(material: Material) -> dict[str, dict[str, int]]:
    """By side: `num_images`, `num_malignant`, `num_copies`, `num_groups` and `num_with_relative`.

    The last are images of which another of the same group lies on another side.
    """
    return {
        split: {
            "num_images": len(rows),
            "num_malignant": int(rows["target"].sum()),
            "num_copies": int(rows["is_copy"].sum()),
            "num_groups": int(rows["group_id"].nunique()),
            "num_with_relative": int(rows["has_relative"].sum()),
        }
        for split, rows in ((split, material.of(split)) for split in (TRAIN, VALIDATION, TEST))
    }
