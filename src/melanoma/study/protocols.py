"""Two protocols: how the images of a cohort are turned into training, validation and test sets.

`leak_free` is the platform's own protocol: the splits that `assign` gave, groups kept together, the test set
unchanged.

`paper` is the protocol of the published system, as far as the paper describes it: classes are balanced by
augmentation over the whole dataset, which is then split at random, so that the test set is balanced too. The
total stays the same: the published test sets of 530, 40 and 570 images are a fifth of 2,650, 200 and 2,850.
Therefore the larger class loses images and the smaller one is filled up with warped copies. A copy may end up
in another split than its original. This is the leak that the study measures, and the only place that makes
it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.config.training import Augment
from melanoma.data.augment import augment_image, draw_uniform, draw_warps
from melanoma.data.packed import Packed, Part
from melanoma.schema import NEGATIVE, POSITIVE, TEST, TRAIN, VALIDATION

PAPER = "paper"  # the other protocol is `schema.LEAK_FREE`
ROW_COLUMNS = ("picture_id", "image_id", "group_id", "target", "split", "is_copy")


@dataclass(frozen=True)
class SplitImages:
    """Images and their splits under a protocol.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB.
        rows: Row i describes image i, columns `ROW_COLUMNS`. A warped copy has the `image_id` of its
            original; `picture_id` is unique: the image_id, for copies followed by `#` and a number.
    """

    images: np.ndarray
    rows: pd.DataFrame

    def part(self, split: str) -> Part:
        """The images of one split."""
        at = np.flatnonzero(self.rows["split"] == split)
        return Part(
            self.images,
            at,
            self.rows["target"].to_numpy(np.float32)[at],
            image_ids=self.rows["picture_id"].to_numpy()[at],
        )

    def rows_of(self, split: str) -> pd.DataFrame:
        """The rows of one split, with `has_relative`: another image of its group is in another split."""
        is_mine = self.rows["split"] == split
        elsewhere = self.rows.loc[~is_mine, "group_id"]
        return self.rows[is_mine].assign(has_relative=self.rows.loc[is_mine, "group_id"].isin(elsewhere))


def leak_free(data: Packed) -> SplitImages:
    """The cohort with the platform's splits."""
    rows = data.index.assign(picture_id=data.index["image_id"], is_copy=False)
    return SplitImages(data.images, rows[list(ROW_COLUMNS)])


def paper(data: Packed, *, amounts: Augment, fractions: dict[str, float], seed: int) -> SplitImages:
    """The cohort balanced as a whole, then split at random; leaks by design, for the study only.

    Args:
        data: The cohort; its own splits are ignored.
        amounts: Amounts of augmentation of the copies.
        fractions: Fraction of images by split, with sum 1. Each class is split alike, which balances the test
            set too.
        seed: Random seed.
    """
    balanced = balance(leak_free(data), amounts=amounts, seed=seed)
    generator = np.random.default_rng([seed, 1])
    split = np.empty(len(balanced.rows), dtype=object)
    for target in (NEGATIVE, POSITIVE):
        at = generator.permutation(np.flatnonzero(balanced.rows["target"] == target))
        num_test, num_validation = (round(fractions[name] * len(at)) for name in (TEST, VALIDATION))
        split[at] = TRAIN
        split[at[:num_test]] = TEST
        split[at[num_test : num_test + num_validation]] = VALIDATION
    return SplitImages(balanced.images, balanced.rows.assign(split=split))


def balance(original: SplitImages, *, amounts: Augment, seed: int) -> SplitImages:
    """As many images as before, half of them positive (an odd one is negative); splits are kept.

    The larger class loses images at random. All images of the smaller class are copied equally often, plus or
    minus one, and every copy is warped.

    Args:
        original: Images of both classes; images of a single class are returned unchanged.
        amounts: Amounts of augmentation of the copies.
        seed: Random seed.
    """
    generator = np.random.default_rng([seed, 0])
    target = original.rows["target"].to_numpy()
    if len(np.unique(target)) < 2:
        return original
    num_malignant = len(target) // 2
    kept, copied = [], []
    for value, wanted in ((NEGATIVE, len(target) - num_malignant), (POSITIVE, num_malignant)):
        mine = generator.permutation(np.flatnonzero(target == value))
        kept.append(mine[:wanted])
        copied.append(np.resize(mine, max(0, wanted - len(mine))))
    originals, sources = np.sort(np.concatenate(kept)), np.sort(np.concatenate(copied))
    copies = _warp(original.images, sources, amounts, generator)
    copied_rows = original.rows.iloc[sources]
    number = copied_rows.groupby("picture_id").cumcount() + 1
    copied_rows = copied_rows.assign(
        picture_id=copied_rows["picture_id"] + "#" + number.astype(str), is_copy=True
    )
    rows = pd.concat([original.rows.iloc[originals], copied_rows], ignore_index=True)
    return SplitImages(np.concatenate([original.images[originals], copies]), rows)


def _warp(
    images: np.ndarray, sources: np.ndarray, amounts: Augment, generator: np.random.Generator
) -> np.ndarray:
    """Warped copies of the images at `sources`, shape `(len(sources), size, size, 3)`."""
    warps = draw_warps(draw_uniform(generator, len(sources)), amounts, size=images.shape[1])
    copies = np.empty((len(sources), *images.shape[1:]), np.uint8)
    for at, (source, warp) in enumerate(zip(sources, warps, strict=True)):
        copies[at] = augment_image(images[source], warp)
    return copies


def describe(split_images: SplitImages) -> dict[str, dict[str, int]]:
    """By split: `num_images`, `num_malignant`, `num_copies`, `num_groups` and `num_with_relative`.

    The last counts images of which another image of the same group is in another split.
    """
    rows_of = {split: split_images.rows_of(split) for split in (TRAIN, VALIDATION, TEST)}
    return {
        split: {
            "num_images": len(rows),
            "num_malignant": int(rows["target"].sum()),
            "num_copies": int(rows["is_copy"].sum()),
            "num_groups": int(rows["group_id"].nunique()),
            "num_with_relative": int(rows["has_relative"].sum()),
        }
        for split, rows in rows_of.items()
    }
