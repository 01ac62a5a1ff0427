"""What a number of independent groups can guarantee about a share, for instance sensitivity: exact bounds.

Put a threshold at the r-th lowest score of n groups. The share of all future groups that score at least as
high follows Beta(n - r + 1, r), whatever the distribution of scores; with ties it is larger. This holds if
the rank was fixed before the scores were seen. Source: Wilks, Determination of sample sizes for setting
tolerance limits, Annals of Mathematical Statistics 1941.
"""

import math
from bisect import bisect_left
from functools import cache

import numpy as np
from scipy.stats import beta, binom

CONFIDENCE = 0.95
ROUNDING = 1e-9  # 0.07 * 100 is 7.000000000000001 and would ask for 8 of 100
MOST_GROUPS = 10**7


def lowest_by_group(score: np.ndarray, group_ids: np.ndarray) -> np.ndarray:
    """Lowest score of each group, in increasing order.

    Args:
        score: Shape `(num_samples,)`.
        group_ids: Shape `(num_samples,)`.

    Returns:
        Shape `(num_groups,)`, float64.
    """
    names, group_of_sample = np.unique(group_ids, return_inverse=True)
    lowest = np.full(len(names), np.inf)
    np.minimum.at(lowest, group_of_sample, score)
    return np.sort(lowest)


def highest_by_group(score: np.ndarray, group_ids: np.ndarray) -> np.ndarray:
    """Highest score of each group, in increasing order; see `lowest_by_group`."""
    return -lowest_by_group(-score, group_ids)[::-1]


def plain_rank(share: float, num_groups: int) -> int:
    """The highest rank, from 1, at which at least `share` of the groups score as high or higher.

    >>> plain_rank(0.95, 20), plain_rank(0.95, 8)
    (2, 1)
    """
    return num_groups - max(1, math.ceil(share * num_groups - ROUNDING)) + 1


@cache
def guaranteed_rank(share: float, num_groups: int, *, confidence: float) -> int:
    """The highest rank that guarantees `share` of all groups; 0 if there are too few groups for any.

    >>> [guaranteed_rank(0.95, num, confidence=0.95) for num in (58, 59, 92, 93)]
    [0, 1, 1, 2]
    """
    misses = np.arange(num_groups)
    return int(np.sum(binom.cdf(misses, num_groups, 1 - share) <= 1 - confidence + ROUNDING))


def guaranteed_share(rank: int, num_groups: int, *, confidence: float) -> float:
    """Lower confidence bound of the share of all groups that score at least as high as the one of `rank`.

    It equals the one-sided bound of Clopper and Pearson for `rank - 1` misses of `num_groups`.

    Args:
        rank: Rank of the threshold among the scores in increasing order, from 1.
        num_groups: Number of groups.
        confidence: In (0, 1).
    """
    return float(beta.ppf(1 - confidence, num_groups - rank + 1, rank))


@cache
def groups_needed(share: float, *, num_missed: int, confidence: float) -> int | None:
    """The smallest number of groups that guarantees `share` if `num_missed` of them are missed.

    Returns:
        None if no number up to ten million does; a share of 1 cannot be guaranteed.

    >>> [groups_needed(0.95, num_missed=num, confidence=0.95) for num in (0, 1)]
    [59, 93]
    """
    most = 1 - confidence + ROUNDING
    found = bisect_left(
        range(MOST_GROUPS),
        True,
        lo=num_missed,
        key=lambda num_groups: bool(binom.cdf(num_missed, num_groups, 1 - share) <= most),
    )
    return found if found < MOST_GROUPS else None
