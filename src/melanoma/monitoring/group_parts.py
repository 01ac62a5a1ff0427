"""Ranks of images, summed by group, and effects when groups are permuted between two sides.

Groups can be exchanged if they have as many rows on one side as on the other; means of large groups vary
less. So rows are left out at random where a side has larger groups. A group on both sides keeps the smaller
of its two numbers of rows on each. Any other group keeps no more rows than the group at the same quantile
of the other side's sizes has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

BLOCK_CELLS = 2_000_000  # arrangements times parts of groups at once: 16 MB

GroupIds = Sequence[Any] | np.ndarray | pd.Series


@dataclass(frozen=True)
class GroupParts:
    """The groups of both sides. A group on both sides has two parts: its reference, followed by its window.

    Attributes:
        is_window: Whether the part is of the window, shape `(num_parts,)`.
        is_in_both: Whether the part's group is on both sides, shape `(num_parts,)`.
        num_left_out: Number of rows that were left out.
        sums: Sum over the part's rows of twice the midrank minus twice the mean midrank, shape
            `(num_parts, num_features)`. These are integers, so equal arrangements have exactly equal effects.
        counts: Number of values, shape `(num_parts, num_features)`.
    """

    is_window: np.ndarray
    is_in_both: np.ndarray
    num_left_out: int
    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(
        cls,
        reference: pd.DataFrame,
        window: pd.DataFrame,
        groups_reference: GroupIds,
        groups_window: GroupIds,
        generator: np.random.Generator,
    ) -> "GroupParts":
        """Rank the rows of both sides together and add the ranks up by part; see `shift.compare`.

        `generator` decides which rows are left out.

        Raises:
            ValueError: Groups are missing, or there are not as many as rows.
        """
        lengths = (len(reference), len(window))
        group_of_row = _group_codes(groups_reference, groups_window, lengths)
        keys, part_of_row = np.unique(2 * group_of_row + np.repeat([0, 1], lengths), return_inverse=True)
        is_window, is_in_both = keys % 2 == 1, np.bincount(keys // 2)[keys // 2] == 2
        is_kept = _as_many_on_both_sides(part_of_row, is_window, is_in_both, generator)
        part_of_row = part_of_row[is_kept]
        sides = (reference, window.reindex(columns=reference.columns))
        values = np.concatenate([side.to_numpy(dtype=float, na_value=np.nan) for side in sides])[is_kept]
        is_given = ~np.isnan(values)
        ranks = 2 * pd.DataFrame(values).rank().to_numpy() - (is_given.sum(axis=0) + 1)
        sums, counts = np.zeros((2, len(keys), values.shape[1]))
        np.add.at(sums, part_of_row, np.where(is_given, ranks, 0))
        np.add.at(counts, part_of_row, is_given)
        return cls(is_window, is_in_both, int((~is_kept).sum()), sums, counts)

    def undefined(self, level: float) -> str:
        """Why no p-value can reach the level; empty if one can."""
        for side, is_on_it in (("reference", ~self.is_window), ("window", self.is_window)):
            if not is_on_it.any():
                return f"the {side} has no rows"
        is_movable = ~self.is_in_both
        num_arrangements = math.comb(int(is_movable.sum()), int((is_movable & self.is_window).sum()))
        num_arrangements *= 2 ** (int(self.is_in_both.sum()) // 2)
        # If both sides have the same number of groups, exchanging them gives the same statistic.
        if num_arrangements < 2 / level:
            return f"too few groups: {num_arrangements} arrangements cannot reach the level {level:.2g}"
        return ""

    def effects(self, is_window: np.ndarray) -> np.ndarray:
        """Effects of arrangements; nan where a side has no values.

        Args:
            is_window: Whether the parts are of the window, shape `(num_arrangements, num_parts)`.

        Returns:
            Shape `(num_arrangements, num_features)`, from -0.5 to 0.5.
        """
        num_features = self.sums.shape[1]
        totals = is_window.astype(float) @ np.hstack([self.sums, self.counts])
        sums, num_window = totals[:, :num_features], totals[:, num_features:]
        num_pairs = num_window * (self.counts.sum(axis=0) - num_window)
        unknown = np.full(num_pairs.shape, np.nan)
        return np.divide(sums, 2 * num_pairs, out=unknown, where=num_pairs > 0)

    def permuted_effects(self, num: int, generator: np.random.Generator) -> np.ndarray:
        """Effects of `num` random arrangements, in blocks of bounded memory."""
        size = max(1, BLOCK_CELLS // len(self.is_window))
        return np.concatenate(
            [self.effects(self._arrange(generator, min(size, num - at))) for at in range(0, num, size)]
        )

    def _arrange(self, generator: np.random.Generator, num: int) -> np.ndarray:
        """Random arrangements, shape `(num, num_parts)`, bool."""
        arranged = np.tile(self.is_window, (num, 1))
        is_movable = ~self.is_in_both
        arranged[:, is_movable] = _random_choices(
            generator, num, int(is_movable.sum()), int((is_movable & self.is_window).sum())
        )
        changes_places = generator.random((num, int(self.is_in_both.sum()) // 2)) < 0.5
        arranged[:, self.is_in_both] ^= np.repeat(changes_places, 2, axis=1)
        return arranged


def _random_choices(generator: np.random.Generator, num: int, size: int, num_chosen: int) -> np.ndarray:
    """In each of `num` rows `num_chosen` of `size` at random, bool; faster than to permute each row."""
    if num_chosen == 0:
        return np.zeros((num, size), dtype=bool)
    order = generator.random((num, size))
    return order <= np.partition(order, num_chosen - 1, axis=1)[:, [num_chosen - 1]]


def _as_many_on_both_sides(
    part_of_row: np.ndarray, is_window: np.ndarray, is_in_both: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Which rows are kept so that groups have as many on both sides, shape `(num_rows,)`, bool."""
    sizes = np.bincount(part_of_row, minlength=len(is_window))
    kept = sizes.copy()
    kept[is_in_both] = np.repeat(sizes[is_in_both].reshape(-1, 2).min(axis=1), 2)
    sides = [~is_in_both & ~is_window, ~is_in_both & is_window]
    for mine, other in (sides, sides[::-1]):
        if mine.any() and other.any():
            rank = np.argsort(np.argsort(sizes[mine] + generator.random(mine.sum())))  # ties at random
            quantiles = np.quantile(sizes[other], (rank + 0.5) / mine.sum(), method="inverted_cdf")
            kept[mine] = np.minimum(sizes[mine], quantiles)
    order = np.lexsort((generator.random(len(part_of_row)), part_of_row))
    number_in_part = np.empty(len(order), dtype=int)
    number_in_part[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(number_in_part < kept[part_of_row])


def _group_codes(groups_reference: GroupIds, groups_window: GroupIds, lengths: tuple[int, int]) -> np.ndarray:
    """Number of each row's group, for the rows of the reference and then those of the window."""
    for side, groups, length in zip(
        ("reference", "window"), (groups_reference, groups_window), lengths, strict=True
    ):
        if len(groups) != length:
            raise ValueError(f"the {side} has {length} rows, but {len(groups)} groups")
    codes, _ = pd.factorize(np.array([*groups_reference, *groups_window], dtype=object))
    if (codes < 0).any():
        raise ValueError(f"{(codes < 0).sum()} rows have no group")
    return np.asarray(codes)
