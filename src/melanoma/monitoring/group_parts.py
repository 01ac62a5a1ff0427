"""Ranks of images, summed by group, and effects when groups are permuted between two sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

BLOCK_CELLS = 2_000_000  # arrangements times parts of groups at once: 16 MB

GroupIds = Sequence[Any] | np.ndarray | pd.Series


@dataclass(frozen=True)
class GroupParts:
    """The groups of both sides. A group on both sides has two parts: its reference, followed by its window.

    Attributes:
        is_window: Whether the part is of the window, shape `(num_parts,)`.
        is_in_both: Whether the part's group is on both sides, shape `(num_parts,)`.
        sums: Sum over the part's rows of twice the midrank minus twice the mean midrank, shape
            `(num_parts, num_features)`. These are integers, so equal arrangements have exactly equal effects.
        counts: Number of values, shape `(num_parts, num_features)`.
    """

    is_window: np.ndarray
    is_in_both: np.ndarray
    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(
        cls,
        reference: pd.DataFrame,
        window: pd.DataFrame,
        groups_reference: GroupIds,
        groups_window: GroupIds,
    ) -> "GroupParts":
        """Rank all rows together and add the ranks up by part; see `shift.compare`.

        Raises:
            ValueError: Groups are missing, or there are not as many as rows.
        """
        lengths = (len(reference), len(window))
        group_of_row = _group_codes(groups_reference, groups_window, lengths)
        keys, part_of_row = np.unique(2 * group_of_row + np.repeat([0, 1], lengths), return_inverse=True)
        names = list(reference.columns)
        values = np.concatenate(
            [frame[names].to_numpy(dtype=float, na_value=np.nan) for frame in (reference, window)]
        )
        sums, counts = np.zeros((2, len(keys), len(names)))
        for at, column in enumerate(values.T):
            is_given = ~np.isnan(column)
            ranks = 2 * stats.rankdata(column[is_given]) - (is_given.sum() + 1)
            sums[:, at] = np.bincount(part_of_row[is_given], ranks, len(keys))
            counts[:, at] = np.bincount(part_of_row[is_given], minlength=len(keys))
        return cls(keys % 2 == 1, np.bincount(keys // 2)[keys // 2] == 2, sums, counts)

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
        weights = is_window.astype(float)
        num_window = weights @ self.counts
        num_pairs = num_window * (self.counts.sum(axis=0) - num_window)
        unknown = np.full(num_pairs.shape, np.nan)
        return np.divide(weights @ self.sums, 2 * num_pairs, out=unknown, where=num_pairs > 0)

    def permuted_effects(self, num: int, seed: int) -> np.ndarray:
        """Effects of `num` random arrangements, in blocks of bounded memory."""
        generator = np.random.default_rng(seed)
        size = max(1, BLOCK_CELLS // len(self.is_window))
        return np.concatenate(
            [self.effects(self._arrange(generator, min(size, num - at))) for at in range(0, num, size)]
        )

    def _arrange(self, generator: np.random.Generator, num: int) -> np.ndarray:
        """Random arrangements, shape `(num, num_parts)`, bool."""
        arranged = np.tile(self.is_window, (num, 1))
        is_movable = ~self.is_in_both
        arranged[:, is_movable] = generator.permuted(arranged[:, is_movable], axis=1)
        changes_places = generator.random((num, int(self.is_in_both.sum()) // 2)) < 0.5
        arranged[:, self.is_in_both] ^= np.repeat(changes_places, 2, axis=1)
        return arranged


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
