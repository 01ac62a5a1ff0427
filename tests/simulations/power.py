"""Whether a test set has the precision and power that were promised in advance, for two correlated models."""

import numpy as np
from scipy import stats

from melanoma.evaluation import intervals, power
from tests.simulations.rows import Row

COUNTS = ((30, 90), (98, 350))  # malignant and benign groups
SCORE_CORRELATION = 0.545  # of the scores of an image, for a correlation of 0.5 between AUCs of 0.8


def simulate(num: int, seed: int) -> list[Row]:
    """Share of test sets on which the smallest difference is shown, and the width of the intervals."""
    drawn = np.random.default_rng(seed)
    return [row for counts in COUNTS for row in _rows(counts, num, drawn)]


def _rows(counts: tuple[int, int], num: int, drawn: np.random.Generator) -> list[Row]:
    expected = power.expect(*counts)
    half = expected["smallest_auc_difference"] / 2
    target = np.repeat([1, 0], counts)
    groups = np.arange(len(target))
    num_shown, widths = 0, []
    for _ in range(num):
        first, second = _scores(target, drawn, power.ASSUMED_AUC + half, power.ASSUMED_AUC - half)
        num_shown += intervals.auc_difference(target, first, second, groups)["low"] > 0
        same, _ = _scores(target, drawn, power.ASSUMED_AUC, power.ASSUMED_AUC)
        found = intervals.auc(target, same, groups)
        widths.append((found["high"] - found["low"]) / 2)
    name = f"{counts[0]} positive and {counts[1]} negative groups"
    return [
        Row(
            "smallest difference in AUC: share of sets that show it",
            name,
            "0.80",
            "-",
            f"{num_shown / num:.2f}",
        ),
        Row(
            "half-width of the AUC's interval",
            name,
            f"{expected['auc_half_width']:.3f}",
            "-",
            f"{np.mean(widths):.3f}",
        ),
    ]


def _scores(target: np.ndarray, drawn: np.random.Generator, *aucs: float) -> list[np.ndarray]:
    """Correlated normal scores of models with these AUCs."""
    common, correlation = drawn.normal(size=len(target)), np.sqrt(SCORE_CORRELATION)
    own = [drawn.normal(size=len(target)) * np.sqrt(1 - SCORE_CORRELATION) for _ in aucs]
    return [
        correlation * common + noise + np.sqrt(2) * stats.norm.ppf(auc) * target
        for auc, noise in zip(aucs, own, strict=True)
    ]
