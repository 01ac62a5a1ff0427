"""Exact intervals of rates, and intervals of AUCs and their differences, for images in groups.

Images of one group (lesion, patient, copies) are not independent. Values are per image; how wide an interval
is follows from the groups. An end that the data cannot give is nan, with the reason under `undefined`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from melanoma.evaluation.power import auc_standard_error

LEVEL = 0.95  # confidence level
Entry = dict[str, Any]  # `value`, `low`, `high` and, if one of them is nan, the reason as `undefined`


def entry(value: float, low: float, high: float, *, undefined: str = "") -> Entry:
    """A value with the ends of its interval.

    Args:
        value: The value; nan if it is undefined.
        low: Lower end; nan if it is undefined.
        high: Upper end; nan if it is undefined.
        undefined: A sentence why one of the three is nan; kept only then.
    """
    numbers = {"value": float(value), "low": float(low), "high": float(high)}
    is_defined = all(math.isfinite(number) for number in numbers.values())
    return numbers if is_defined else numbers | {"undefined": undefined}


def effective_groups(group_ids: np.ndarray) -> float:
    """Number of groups of equal size that say as much as these, `(sum of m)² / sum of m²` for sizes m.

    Args:
        group_ids: Shape `(num_images,)`.

    Returns:
        From 1 to the number of groups; 0 without images.
    """
    sizes = np.unique(group_ids, return_counts=True)[1]
    return float(sizes.sum() ** 2 / (sizes @ sizes)) if len(sizes) else 0.0


def rate(hit: np.ndarray, group_ids: np.ndarray, *, level: float = LEVEL) -> Entry:
    """The fraction of images that are hit, with its exact interval on the effective number of groups.

    The images of a group count as copies of each other, which is the worst case: the interval is too wide
    where they differ, never too narrow.

    Args:
        hit: Shape `(num_images,)`, bool; the images of the denominator only.
        group_ids: Shape `(num_images,)`.
        level: Confidence level, in (0, 1).

    Source: Clopper and Pearson, Biometrika 26, 1934, as quantiles of beta distributions, which take counts
    that are not whole.
    """
    if len(hit) == 0:
        return entry(math.nan, math.nan, math.nan, undefined="there is no image to count")
    value, num, tail = float(np.mean(hit)), effective_groups(group_ids), (1 - level) / 2
    hits = value * num
    low = stats.beta.ppf(tail, hits, num - hits + 1) if value > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, num - hits) if value < 1 else 1.0
    return entry(value, low, high)


def auc(target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, *, level: float = LEVEL) -> Entry:
    """The area under the ROC curve with its interval, on the logit scale.

    With few groups or near 1, the variance of the sample is too small. It is not taken below that of an AUC
    of normally distributed scores with one image a group (`power.auc_standard_error`). Quantiles are those of
    a t distribution with the degrees of freedom of Satterthwaite.

    Args:
        target: Shape `(num_images,)`, 1 malignant, 0 benign.
        probability: Scores of any scale, shape `(num_images,)`.
        group_ids: Shape `(num_images,)`; a group may hold images of both classes.
        level: Confidence level, in (0, 1).

    Source: Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53, 1997.
    """
    reason = _undefined(target, probability)
    if reason:
        return entry(math.nan, math.nan, math.nan, undefined=reason)
    parts = _components(target, probability)
    value = float(parts[target == 1].mean())
    spread = _Spread.of(target, parts, group_ids)
    reason = spread.undefined or ("all images have the same score" if np.ptp(probability) == 0 else "")
    if reason:
        return entry(value, math.nan, math.nan, undefined=reason)
    if value in (0, 1):
        low, high = (math.nan, 1.0) if value == 1 else (0.0, math.nan)
        words = "the scores separate the classes perfectly, which leaves no spread to measure"
        return entry(value, low, high, undefined=words)
    least = auc_standard_error(value, spread.num_malignant, spread.num_benign)
    error = max(spread.standard_error, least) / (value * (1 - value))
    half = spread.quantile(level) * error
    center = special.logit(value)
    return entry(value, special.expit(center - half), special.expit(center + half))


def auc_difference(
    target: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    group_ids: np.ndarray,
    *,
    level: float = LEVEL,
) -> Entry:
    """The AUC of `first` minus that of `second` on the same images, with its paired interval.

    Two models that rank all images alike differ by 0, from 0 to 0: on any image they would.

    Args:
        target: Shape `(num_images,)`, 1 malignant, 0 benign.
        first: Scores of one model, shape `(num_images,)`.
        second: Scores of the other model, shape `(num_images,)`.
        group_ids: Shape `(num_images,)`.
        level: Confidence level, in (0, 1).

    Returns:
        `value`, `low`, `high`, `standard_error`, and `undefined` if one of them is nan.

    Source: as `auc`, with the differences of the structural components; quantiles of Student's t.
    """
    nothing = {"standard_error": math.nan}
    reason = _undefined(target, first) or _undefined(target, second)
    if reason:
        return entry(math.nan, math.nan, math.nan, undefined=reason) | nothing
    parts = _components(target, first) - _components(target, second)
    value = float(parts[target == 1].mean())
    if np.array_equal(stats.rankdata(first), stats.rankdata(second)):
        return entry(0, 0, 0) | {"standard_error": 0.0}
    spread = _Spread.of(target, parts, group_ids)
    if spread.undefined:
        return entry(value, math.nan, math.nan, undefined=spread.undefined) | nothing
    if spread.standard_error == 0:
        words = "every image counts alike for both models, which leaves no spread to measure"
        return entry(value, math.nan, math.nan, undefined=words) | nothing
    half = spread.quantile(level) * spread.standard_error
    return entry(value, value - half, value + half) | {"standard_error": spread.standard_error}


def _undefined(target: np.ndarray, probability: np.ndarray) -> str:
    """Why there is no AUC; empty if there is one."""
    if not np.isfinite(probability).all():
        return "some scores are not finite"
    for value, word in ((1, "malignant"), (0, "benign")):
        if not (target == value).any():
            return f"there is no {word} image"
    return ""


def _components(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The fraction of the other class's images on the right side of each image, shape `(num_images,)`.

    Ties count half. The mean over the images of either class is the AUC.
    """
    is_malignant = target == 1
    parts = np.empty(len(target))
    for mine, sign in ((is_malignant, 1), (~is_malignant, -1)):
        others, own = np.sort(sign * probability[~mine]), sign * probability[mine]
        num_below = np.searchsorted(others, own, side="left") + np.searchsorted(others, own, side="right")
        parts[mine] = num_below / (2 * len(others))
    return parts


@dataclass(frozen=True)
class _Spread:
    """Standard error of a mean of structural components, and what it rests on.

    Attributes:
        standard_error: Standard error; nan if `undefined`.
        num_malignant: Number of groups with a malignant image.
        num_benign: Number of groups with a benign image.
        degrees: Degrees of freedom of the standard error.
        undefined: Why there is no standard error; empty if there is one.
    """

    standard_error: float
    num_malignant: int
    num_benign: int
    degrees: float
    undefined: str = ""

    @classmethod
    def of(cls, target: np.ndarray, parts: np.ndarray, group_ids: np.ndarray) -> "_Spread":
        """The spread of `parts` over groups; groups with both classes add their covariance."""
        names, group_of = np.unique(group_ids, return_inverse=True)
        sums, sizes, nums, variances = [], [], [], []
        for word, value in (("malignant", 1), ("benign", 0)):
            mine = target == value
            deviation = (parts[mine] - parts[mine].mean()) / mine.sum()
            num = len(np.unique(group_of[mine]))
            if num < 2:
                return cls(math.nan, 0, 0, math.nan, f"all {word} images are of one group")
            sums.append(np.bincount(group_of[mine], deviation, len(names)))
            nums.append(num)
            sizes.append(effective_groups(group_of[mine]))
            variances.append(num / (num - 1) * float(sums[-1] @ sums[-1]))
        shared = len(names) / (len(names) - 1) * float(sums[0] @ sums[1])
        total = sum(variances) + 2 * shared
        # Of Welch and Satterthwaite; groups of unequal size have fewer degrees of freedom.
        weighted = sum(variance**2 / (size - 1) for variance, size in zip(variances, sizes, strict=True))
        degrees = sum(variances) ** 2 / weighted if weighted > 0 else math.inf
        return cls(math.sqrt(max(total, 0.0)), nums[0], nums[1], degrees)

    def quantile(self, level: float) -> float:
        """How many standard errors the interval reaches to each side."""
        return float(stats.t.ppf((1 + level) / 2, self.degrees))
