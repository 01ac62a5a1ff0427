"""The operating point: chosen on validation, stored with the model, served with it."""

import math
from typing import Any

import numpy as np
from scipy.stats import binomtest

from melanoma.config.evaluation import Evaluate
from melanoma.errors import DataError
from melanoma.evaluation.intervals import Entry, rate
from melanoma.scoring.operating_point import BENIGN, DECISIONS, MALIGNANT, REFER, Calibration, OperatingPoint


def choose(
    target: np.ndarray,
    probability: np.ndarray,
    group_ids: np.ndarray,
    *,
    calibration: Calibration,
    settings: Evaluate,
) -> OperatingPoint:
    """Choose threshold and referral band, with their evidence on validation.

    The threshold is the highest with a sensitivity of at least `min_sensitivity`. The band begins at the
    threshold for `refer_min_sensitivity` and ends at the one for `refer_min_specificity`. A band that holds
    more than `max_referred_fraction` of the images is narrowed from above, and then from below.

    Args:
        target: Shape `(num_samples,)`, 0 or 1; labels of the validation split.
        probability: Calibrated probabilities, shape `(num_samples,)`.
        group_ids: Shape `(num_samples,)`.
        calibration: Calibration of the probabilities, stored with the operating point.
        settings: Section `evaluate` of params.yaml.

    Raises:
        DataError: There is no malignant or no benign image.
    """
    threshold = threshold_for_sensitivity(target, probability, min_sensitivity=settings.min_sensitivity)
    low = threshold_for_sensitivity(target, probability, min_sensitivity=settings.refer_min_sensitivity)
    high = _threshold_for_specificity(target, probability, settings.refer_min_specificity)
    num_allowed = math.floor(settings.max_referred_fraction * len(target) + 1e-9)
    wanted = (min(low, threshold), max(high, threshold))
    low, high = _narrowed(probability, wanted[0], threshold, wanted[1], num_allowed)
    chosen = OperatingPoint(calibration, threshold, low, high)
    evidence = _evidence(target, probability, group_ids, chosen)
    warnings = _warnings(calibration, settings, is_narrowed=(low, high) != wanted)
    return OperatingPoint(calibration, threshold, low, high, evidence | {"warnings": warnings})


def _warnings(calibration: Calibration, settings: Evaluate, *, is_narrowed: bool) -> list[str]:
    """Settings that could not be met, as sentences."""
    warnings = []
    if calibration.method != settings.calibration:
        warnings.append(
            f"not calibrated: on validation, higher scores mean benign, and {settings.calibration} "
            "calibration would reverse the order"
        )
    if is_narrowed:
        warnings.append(
            f"the referral band was narrowed, because it had more than {settings.max_referred_fraction:g} "
            "of the images"
        )
    return warnings


def _threshold_for_specificity(target: np.ndarray, probability: np.ndarray, least: float) -> float:
    """The lowest threshold with a specificity of at least `least`."""
    benign = np.sort(probability[target == 0])
    if len(benign) == 0:
        raise DataError("The validation split has no benign image, so no referral band can be chosen.")
    num_needed = max(1, math.ceil(least * len(benign) - 1e-9))
    return float(np.nextafter(benign[num_needed - 1], np.inf))


def _narrowed(
    probability: np.ndarray, low: float, threshold: float, high: float, num_allowed: int
) -> tuple[float, float]:
    """Ends of a band around the threshold with at most `num_allowed` images."""
    inside = np.sort(probability[(probability >= low) & (probability < high)])
    if len(inside) <= num_allowed:
        return low, high
    high = max(threshold, float(inside[num_allowed]))
    below = np.sort(probability[(probability >= low) & (probability < threshold)])
    if len(below) <= num_allowed:
        return low, high
    first = below[len(below) - num_allowed - 1]  # it and its equals must go
    rest = below[below > first]
    return (float(rest[0]) if len(rest) else threshold), high


def _evidence(
    target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, point: OperatingPoint
) -> dict[str, Any]:
    """Results on validation, with an exact lower bound of sensitivity over groups (Clopper-Pearson, 95 %).

    A group counts as found if all its malignant images are. If none is missed, a bootstrap interval would be
    1.00 to 1.00.
    """
    is_malignant, called = target == 1, probability >= point.threshold
    groups = set(group_ids[is_malignant])
    missed = set(group_ids[is_malignant & ~called])
    bounds = binomtest(len(groups - missed), len(groups)).proportion_ci(method="exact")
    decision = point.decide(probability)
    return {
        "num_images": len(target),
        "num_malignant": int(is_malignant.sum()),
        "num_malignant_groups": len(groups),
        "sensitivity": float(called[is_malignant].mean()),
        "sensitivity_lower_bound": float(bounds.low),
        "specificity": float((~called[~is_malignant]).mean()),
        "referred_fraction": float((decision == REFER).mean()),
        "malignant_called_benign": int((is_malignant & (decision == BENIGN)).sum()),
        "benign_called_malignant": int((~is_malignant & (decision == MALIGNANT)).sum()),
    }


def three_way(target: np.ndarray, decision: np.ndarray, group_ids: np.ndarray) -> dict[str, Any]:
    """Outcomes of the three-way decision.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        decision: Shape `(num_samples,)`, values of `DECISIONS`.
        group_ids: Shape `(num_samples,)`.

    Returns:
        `counts` by truth and decision; `referred_fraction` of all images, `missed_fraction` of malignant
        images that are called benign, `false_alarm_fraction` of benign ones that are called malignant,
        each per image as `value`, `low`, `high`.
    """
    is_of = {MALIGNANT: target == 1, BENIGN: target == 0}
    counts = {
        truth: {answer: int((is_truth & (decision == answer)).sum()) for answer in DECISIONS}
        for truth, is_truth in is_of.items()
    }
    everyone = np.ones(len(target), dtype=bool)
    return {
        "counts": counts,
        "referred_fraction": _share(decision == REFER, everyone, group_ids),
        "missed_fraction": _share(decision == BENIGN, is_of[MALIGNANT], group_ids),
        "false_alarm_fraction": _share(decision == MALIGNANT, is_of[BENIGN], group_ids),
    }


def _share(hit: np.ndarray, of: np.ndarray, group_ids: np.ndarray) -> Entry:
    """Fraction of the samples in `of` that are hit, with its interval."""
    return rate(hit[of], group_ids[of])


def threshold_for_sensitivity(
    target: np.ndarray, probability: np.ndarray, *, min_sensitivity: float
) -> float:
    """The highest threshold with a sensitivity of at least `min_sensitivity`.

    Args:
        target: Shape `(num_samples,)`, 1 malignant, 0 benign; labels of the validation split, never of test.
        probability: Shape `(num_samples,)`, in 0..1.
        min_sensitivity: In (0, 1].

    Returns:
        Probability at or above which images are called malignant.

    Raises:
        DataError: There is no malignant image.

    Example:
        >>> threshold_for_sensitivity(
        ...     np.array([0, 1, 1, 1]), np.array([0.3, 0.2, 0.6, 0.9]), min_sensitivity=0.66
        ... )
        0.6
    """
    malignant = np.sort(probability[target == 1])[::-1]
    if len(malignant) == 0:
        raise DataError("The validation split has no malignant image, so no threshold can be chosen.")
    # The small term keeps 0.07 * 100 = 7.000000000000001 from asking for 8 of 100.
    num_needed = max(1, math.ceil(min_sensitivity * len(malignant) - 1e-9))
    return float(malignant[num_needed - 1])
