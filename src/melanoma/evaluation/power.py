"""What a test set can show, said before any model is measured on it.

The half-widths of intervals and the smallest difference between two models follow from the number of groups
of each class and from assumptions about the models, `ASSUMED`. Groups of unequal size count as fewer
(`intervals.effective_groups`), as if their images were copies: what is promised is the least.
"""

import math
from collections.abc import Mapping
from typing import Any

from scipy import stats

LEVEL = 0.95  # confidence level
POWER = 0.8  # probability that an existing difference is shown
ASSUMED_AUC = 0.8
ASSUMED_SENSITIVITY = 0.9
ASSUMED_CORRELATION = 0.5  # of the AUCs of two models on the same images
ASSUMED = (
    f"for an AUC of {ASSUMED_AUC:g}, a sensitivity of {ASSUMED_SENSITIVITY:g}, and a correlation of "
    f"{ASSUMED_CORRELATION:g} between the AUCs of two models"
)


def expect(num_malignant: float, num_benign: float) -> dict[str, float]:
    """Precision and power to expect of a test set.

    Args:
        num_malignant: Effective number of groups with a positive image.
        num_benign: Effective number of groups with a negative image.

    Returns:
        `auc_half_width` and `sensitivity_half_width` of 95 % intervals, and `smallest_auc_difference` between
        two models that the set shows with 80 % power; nan where a class has fewer than two groups.
    """
    error = auc_standard_error(ASSUMED_AUC, num_malignant, num_benign)
    of_difference = error * math.sqrt(2 * (1 - ASSUMED_CORRELATION))
    return {
        "auc_half_width": _quantile(LEVEL) * error,
        "sensitivity_half_width": _rate_half_width(ASSUMED_SENSITIVITY, num_malignant),
        "smallest_auc_difference": smallest_difference(of_difference),
    }


def auc_standard_error(auc: float, num_malignant: float, num_benign: float) -> float:
    """Standard error of an AUC for normally distributed scores; nan where a class has fewer than two groups.

    Source: Hanley and McNeil, The meaning and use of the area under a ROC curve, Radiology 143, 1982, with
    the probabilities of normal instead of exponential scores, which would give a larger error.
    """
    if min(num_malignant, num_benign) < 2:
        return math.nan
    at = stats.norm.ppf(auc)
    # Two positive images are both above one negative; as probable as one being above two negative ones.
    both = stats.multivariate_normal.cdf([at, at], cov=[[1, 0.5], [0.5, 1]])
    variance = auc * (1 - auc) + (num_malignant + num_benign - 2) * (both - auc**2)
    return math.sqrt(variance / (num_malignant * num_benign))


def smallest_difference(standard_error: float, *, level: float = LEVEL) -> float:
    """Smallest true difference that a two-sided test shows with 80 % power.

    Args:
        standard_error: Standard error of the difference.
        level: Confidence level of the interval that must exclude 0.
    """
    return (_quantile(level) + float(stats.norm.ppf(POWER))) * standard_error


def _quantile(level: float) -> float:
    return float(stats.norm.ppf((1 + level) / 2))


def _rate_half_width(rate: float, num: float) -> float:
    """Half the length of the exact interval of a rate that is measured as expected."""
    if num < 2:
        return math.nan
    hits, tail = rate * num, (1 - LEVEL) / 2
    low, high = stats.beta.ppf(tail, hits, num - hits + 1), stats.beta.ppf(1 - tail, hits + 1, num - hits)
    return float(high - low) / 2


def in_words(num_malignant: int, expected: Mapping[str, Any]) -> str:
    """What the test set of a cohort can show, in a sentence.

    Args:
        num_malignant: Number of groups with a positive image.
        expected: Result of `expect`, also as read from JSON.
    """
    if any(value is None or math.isnan(value) for value in expected.values()):
        return f"with {num_malignant} positive test groups, no precision can be expected"
    return (
        f"with {num_malignant} positive test groups expect AUC ± {expected['auc_half_width']:.2f} and "
        f"sensitivity ± {expected['sensitivity_half_width']:.2f}; a difference in AUC between two models is "
        f"shown with {100 * POWER:.0f} % power from {expected['smallest_auc_difference']:.2f} on"
    )
