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
ROUNDING = 1e-12  # a standard error below this is none
RATES = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "balanced_accuracy")
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


def undefined_entry(reason: str) -> Entry:
    """An undefined value, with a sentence why."""
    return entry(math.nan, math.nan, math.nan, undefined=reason)


def independent_difference(first: Entry, second: Entry) -> Entry:
    """`first` minus `second`, measured on different groups.

    Source: Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine
    27, 2008: the distances of the ends add up as squares.
    """
    value = first["value"] - second["value"]
    below = math.hypot(first["value"] - first["low"], second["high"] - second["value"])
    above = math.hypot(first["high"] - first["value"], second["value"] - second["low"])
    return entry(value, value - below, value + above, undefined=_reason(first, second))


def _reason(first: Entry, second: Entry) -> str:
    return str(first.get("undefined") or second.get("undefined") or "")


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

    Args:
        hit: Shape `(num_images,)`, bool; the images of the denominator only.
        group_ids: Shape `(num_images,)`.
        level: Confidence level, in (0, 1).
    """
    return mean_rate(np.atleast_2d(hit), np.ones((1, len(hit)), dtype=bool), group_ids, level=level)


def mean_rate(hit: np.ndarray, of: np.ndarray, group_ids: np.ndarray, *, level: float = LEVEL) -> Entry:
    """The mean over models of the fraction of images that are hit, with its exact interval.

    The images of a group count as copies of each other, which is the worst case: the interval is too wide
    where they differ, never too narrow. Models are fixed; that they differ does not widen the interval.

    Args:
        hit: Shape `(num_models, num_images)`, bool.
        of: Shape `(num_models, num_images)`, bool: the images of the denominator.
        group_ids: Shape `(num_images,)`.
        level: Confidence level, in (0, 1).

    Source: Clopper and Pearson, Biometrika 26, 1934, as quantiles of beta distributions, which take counts
    that are not whole.
    """
    if not of.any(axis=1).all():
        return undefined_entry("there is no image to count")
    value = float(np.mean([mine[among].mean() for mine, among in zip(hit, of, strict=True)]))
    num = float(np.mean([effective_groups(group_ids[among]) for among in of]))
    hits, tail = value * num, (1 - level) / 2
    low = stats.beta.ppf(tail, hits, num - hits + 1) if value > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, num - hits) if value < 1 else 1.0
    return entry(value, low, high)


def rates(target: np.ndarray, called: np.ndarray, group_ids: np.ndarray) -> dict[str, Entry]:
    """`RATES` per image with 95 % intervals, the mean over one or several models.

    Args:
        target: Shape `(num_images,)`, 1 positive, 0 negative.
        called: Shape `(num_images,)` or `(num_models, num_images)`, bool, whether called positive.
        group_ids: Shape `(num_images,)`.
    """
    called = np.atleast_2d(called)
    positive = np.broadcast_to(target == 1, called.shape)
    found = {
        "accuracy": mean_rate(positive == called, np.ones_like(called), group_ids),
        "sensitivity": mean_rate(called, positive, group_ids),
        "specificity": mean_rate(~called, ~positive, group_ids),
        "ppv": mean_rate(positive, called, group_ids),
        "npv": mean_rate(~positive, ~called, group_ids),
    }
    for name, of, word in (
        ("sensitivity", positive, "no image is positive"),
        ("specificity", ~positive, "no image is negative"),
        ("ppv", called, "no image is called positive"),
        ("npv", ~called, "no image is called negative"),
    ):
        if not of.any(axis=1).all():
            found[name]["undefined"] = word
    return found | {"balanced_accuracy": _mean_of_two(found["sensitivity"], found["specificity"])}


def _mean_of_two(first: Entry, second: Entry) -> Entry:
    """The mean of two independent values, with its interval, as `independent_difference`."""
    value = (first["value"] + second["value"]) / 2
    below = math.hypot(*(part["value"] - part["low"] for part in (first, second))) / 2
    above = math.hypot(*(part["high"] - part["value"] for part in (first, second))) / 2
    return entry(value, value - below, value + above, undefined=_reason(first, second))


def auc(target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, *, level: float = LEVEL) -> Entry:
    """The area under the ROC curve with its interval on the logit scale, the mean over one or several models.

    Quantiles are those of Student's t with the degrees of freedom of Welch and Satterthwaite. Near 1 and with
    few groups, the variance of the sample is too small; see `_shortfall`.

    Args:
        target: Shape `(num_images,)`, 1 positive, 0 negative.
        probability: Scores of any scale, shape `(num_images,)` or `(num_models, num_images)`.
        group_ids: Shape `(num_images,)`; a group may hold images of both classes.
        level: Confidence level, in (0, 1).

    Source: Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53, 1997.
    """
    models = np.atleast_2d(probability)
    reason = _undefined(target, models)
    if reason:
        return undefined_entry(reason)
    by_model = _components(target, models)
    parts = by_model.mean(axis=0)
    value = float(_areas(target, by_model).mean())
    spread = _Spread.of(target, parts, group_ids)
    if spread.undefined:
        return entry(value, math.nan, math.nan, undefined=spread.undefined)
    if value in (0, 1):
        low, high = (math.nan, 1.0) if value == 1 else (0.0, math.nan)
        words = "the scores separate the classes perfectly, which leaves no spread to measure"
        return entry(value, low, high, undefined=words)
    if spread.standard_error < ROUNDING:
        words = "all images have the same score" if np.ptp(models) == 0 else "the groups leave no spread"
        return entry(value, math.nan, math.nan, undefined=words)
    error = spread.standard_error * _shortfall(target, by_model, group_ids) / (value * (1 - value))
    center, half = special.logit(value), spread.quantile(level) * error
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
        target: Shape `(num_images,)`, 1 positive, 0 negative.
        first: Scores of one model, shape `(num_images,)`; or of several, whose mean counts, shape
            `(num_models, num_images)`.
        second: Scores of the other model or models.
        group_ids: Shape `(num_images,)`.
        level: Confidence level, in (0, 1).

    Returns:
        `value`, `low`, `high`, `standard_error`, and `undefined` if one of them is nan.

    Source: as `auc`, with the differences of the structural components; quantiles of Student's t.
    """
    sides = np.atleast_2d(first), np.atleast_2d(second)
    unknown = {"standard_error": math.nan}
    reason = _undefined(target, sides[0]) or _undefined(target, sides[1])
    if reason:
        return undefined_entry(reason) | unknown
    by_model = [_components(target, models) for models in sides]
    parts = by_model[0].mean(axis=0) - by_model[1].mean(axis=0)
    value = float(np.subtract(*(_areas(target, models).mean() for models in by_model)))
    if sides[0].shape == sides[1].shape and np.array_equal(*(stats.rankdata(side, axis=1) for side in sides)):
        return entry(0, 0, 0) | {"standard_error": 0.0}
    spread = _Spread.of(target, parts, group_ids)
    if spread.undefined or spread.standard_error < ROUNDING:
        words = spread.undefined or "every group counts alike for both models, which leaves no spread"
        return entry(value, math.nan, math.nan, undefined=words) | unknown
    error = spread.standard_error * _shortfall(target, np.concatenate(by_model), group_ids)
    half = spread.quantile(level) * error
    return entry(value, value - half, value + half) | {"standard_error": error}


def _undefined(target: np.ndarray, probability: np.ndarray) -> str:
    """Why there is no AUC; empty if there is one."""
    if not np.isfinite(probability).all():
        return "some scores are not finite"
    for value, word in ((1, "positive"), (0, "negative")):
        if not (target == value).any():
            return f"no image is {word}"
    return ""


def _components(target: np.ndarray, models: np.ndarray) -> np.ndarray:
    """The fraction of the other class's images on the right side of each image, by model; ties count half.

    The mean over the images of either class is the AUC.
    """
    is_malignant = target == 1
    parts = np.empty(models.shape)
    for score, part in zip(models, parts, strict=True):
        for mine, sign in ((is_malignant, 1), (~is_malignant, -1)):
            others, own = np.sort(sign * score[~mine]), sign * score[mine]
            num_below = np.searchsorted(others, own, side="left") + np.searchsorted(others, own, side="right")
            part[mine] = num_below / (2 * len(others))
    return parts


def _areas(target: np.ndarray, by_model: np.ndarray) -> np.ndarray:
    """The AUC of each model, from whole numbers of half pairs, so that 11 of 15 pairs are exactly 11 / 15."""
    num_malignant, num_benign = (target == 1).sum(), (target != 1).sum()
    half_pairs = np.rint(2 * num_benign * by_model[:, target == 1]).sum(axis=1)
    return np.asarray(half_pairs / (2 * num_malignant * num_benign))


def _shortfall(target: np.ndarray, by_model: np.ndarray, group_ids: np.ndarray) -> float:
    """By what the standard error is to be multiplied, at least 1.

    With few groups, or near 1, the sample says too little about its own variance. No model's standard error
    may lie below that of normally distributed scores (`power.auc_standard_error`) with as many independent
    images as the groups are worth.

    Args:
        target: Shape `(num_images,)`.
        by_model: Result of `_components`.
        group_ids: Shape `(num_images,)`.
    """
    factors = [1.0]
    for parts, value in zip(by_model, _areas(target, by_model), strict=True):
        spread = _Spread.of(target, parts, group_ids)
        if spread.standard_error > ROUNDING and 0 < value < 1:
            least = auc_standard_error(value, spread.num_malignant, spread.num_benign)
            factors.append(least / spread.standard_error)
    return max(factors)


def _worth(variance: float, deviation: np.ndarray, num_groups: int, num_effective: float) -> float:
    """Number of independent images that the images of a class are worth: their number by the design effect.

    The design effect says how often the variance over groups is that of independent images. Few groups
    tell it badly, so two of its standard errors are added. It is at least 1 and at most that of copies.

    Args:
        variance: Variance of the mean over groups.
        deviation: Deviations of the images from the mean, by their number; shape `(num_images,)`.
        num_groups: Number of groups.
        num_effective: Effective number of groups.
    """
    num, independent = len(deviation), float(deviation @ deviation)
    ratio = variance / independent if independent > 0 else math.inf
    most = num / num_effective
    return max(2.0, num / min(max(1.0, ratio * (1 + 2 * math.sqrt(2 / num_groups))), most))


@dataclass(frozen=True)
class _Spread:
    """Standard error of a mean of structural components, and what it rests on.

    Attributes:
        standard_error: Standard error; nan if `undefined`.
        num_malignant: Number of independent positive images that the groups are worth, see `_worth`.
        num_benign: Number of independent negative images.
        degrees: Degrees of freedom of the standard error.
        undefined: Why there is no standard error; empty if there is one.
    """

    standard_error: float
    num_malignant: float
    num_benign: float
    degrees: float
    undefined: str = ""

    @classmethod
    def of(cls, target: np.ndarray, parts: np.ndarray, group_ids: np.ndarray) -> "_Spread":
        """The spread of `parts` over groups; groups with both classes add their covariance."""
        names, group_of = np.unique(group_ids, return_inverse=True)
        sums, sizes, worths, variances = [], [], [], []
        for word, value in (("positive", 1), ("negative", 0)):
            mine = target == value
            deviation = (parts[mine] - parts[mine].mean()) / mine.sum()
            num = len(np.unique(group_of[mine]))
            if num < 2:
                return cls(math.nan, 0, 0, math.nan, f"all {word} images are of one group")
            sums.append(np.bincount(group_of[mine], deviation, len(names)))
            sizes.append(effective_groups(group_of[mine]))
            variances.append(num / (num - 1) * float(sums[-1] @ sums[-1]))
            worths.append(_worth(variances[-1], deviation, num, sizes[-1]))
        shared = len(names) / (len(names) - 1) * float(sums[0] @ sums[1])
        total = sum(variances) + 2 * shared
        # Of Welch and Satterthwaite; groups of unequal size have fewer degrees of freedom.
        weighted = sum(variance**2 / (size - 1) for variance, size in zip(variances, sizes, strict=True))
        degrees = sum(variances) ** 2 / weighted if weighted > 0 else math.inf
        return cls(math.sqrt(max(total, 0.0)), worths[0], worths[1], degrees)

    def quantile(self, level: float) -> float:
        """How many standard errors the interval reaches to each side."""
        return float(stats.t.ppf((1 + level) / 2, self.degrees))
