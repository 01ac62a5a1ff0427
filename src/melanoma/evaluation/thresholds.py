"""The operating point: chosen on the calibration images (validation split), stored and served with the model.

Sensitivity is that of positive groups: a group scores as its lowest positive image, so it is found if all
its positive images are. Specificity at the end of the referral band is that of negative groups: a group
scores as its highest negative image. Images of a group depend on each other and groups do not, so a rank
among groups says what holds for other lesions (`guarantee`). The referred fraction is workload and counts
images.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from melanoma.config.evaluation import Evaluate
from melanoma.errors import DataError, first_offenders
from melanoma.evaluation import asked_and_got
from melanoma.evaluation.asked_and_got import BAND_END, BAND_START, REFERRED, THRESHOLD
from melanoma.evaluation.guarantee import (
    groups_needed,
    guaranteed_rank,
    highest_by_group,
    lowest_by_group,
    plain_rank,
)
from melanoma.evaluation.intervals import Entry, rate
from melanoma.schema import DECISIONS
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, REFER, Calibration, OperatingPoint


@dataclass(frozen=True)
class _Images:
    """The calibration images, in arrays of shape `(num_images,)`, and the scores of their groups.

    Attributes:
        target: 0 or 1.
        probability: Calibrated probabilities.
        group_ids: Groups.
        positive: Lowest probability of each positive group, in increasing order.
        negative: Highest probability of each negative group, in increasing order.
    """

    target: np.ndarray
    probability: np.ndarray
    group_ids: np.ndarray
    positive: np.ndarray
    negative: np.ndarray

    @classmethod
    def of(cls, target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray) -> Self:
        """The images, if an operating point can be chosen on them."""
        require_scores(probability, group_ids)
        is_malignant = target == 1
        positive = lowest_by_group(probability[is_malignant], group_ids[is_malignant])
        negative = highest_by_group(probability[~is_malignant], group_ids[~is_malignant])
        for kind, groups in ((POSITIVE, positive), (NEGATIVE, negative)):
            if len(groups) == 0:
                raise DataError(
                    f"The calibration images (validation split) have no {kind} image, so no operating point "
                    f"can be chosen. Add {kind} images, or change the plan of the split."
                )
        return cls(target, probability, group_ids, positive, negative)


CALIBRATION = "calibration images"
NO_POINT = "no operating point can be chosen"


def require_scores(
    score: np.ndarray, names: np.ndarray, *, of: str = CALIBRATION, consequence: str = NO_POINT
) -> None:
    """Refuse scores that are not numbers.

    Args:
        score: Shape `(num_images,)`.
        names: Names of the images or of their groups, shape `(num_images,)`.
        of: Which images these are, for the message.
        consequence: What cannot be done with such scores, for the message.

    Raises:
        DataError: A score is nan or infinite.
    """
    is_bad = ~np.isfinite(score)
    if is_bad.any():
        raise DataError(
            f"{is_bad.sum()} of {len(score)} {of} have a score that is not a number, so {consequence}. Train "
            f"again, for instance with a lower learning rate. Concerned: {first_offenders(names[is_bad])}"
        )


def choose(
    target: np.ndarray,
    probability: np.ndarray,
    group_ids: np.ndarray,
    *,
    calibration: Calibration,
    settings: Evaluate,
) -> OperatingPoint:
    """Choose threshold and referral band, with their evidence on the calibration images.

    The threshold is the highest that finds at least `min_sensitivity` of the positive groups. With
    `sensitivity_confidence` it is the highest that guarantees this sensitivity with this confidence; with too
    few groups for that it is the score of the lowest group. The band begins where the same rule puts
    `refer_min_sensitivity`, and ends at the lowest point below which lie at least `refer_min_specificity` of
    the negative groups. A band that holds more than `max_referred_fraction` of the images is narrowed from
    above, and then from below.

    Args:
        target: Shape `(num_images,)`, 0 or 1; labels of the calibration images, never of test images.
        probability: Calibrated probabilities, shape `(num_images,)`.
        group_ids: Shape `(num_images,)`.
        calibration: Calibration of the probabilities, stored with the operating point.
        settings: Section `evaluate` of params.yaml.

    Raises:
        DataError: There is no positive or no negative image, or a probability is not a number.
    """
    images = _Images.of(target, probability, group_ids)
    ranks = _ranks(len(images.positive), len(images.negative), settings)
    threshold = float(images.positive[ranks[THRESHOLD] - 1])
    start = float(images.positive[ranks[BAND_START] - 1])
    end = max(threshold, float(np.nextafter(images.negative[-ranks[BAND_END]], np.inf)))
    wide = OperatingPoint(calibration, threshold, start, end)
    num_allowed = math.floor(settings.max_referred_fraction * len(target) + 1e-9)
    low, high = _narrowed(probability, start, threshold, end, num_allowed)
    point = replace(wide, refer_from=low, refer_to=high)
    bounding: dict[str, int | None] = dict(ranks)
    if low > start:  # it is still not above the threshold, so the guarantee of the threshold holds
        bounding[BAND_START] = ranks[THRESHOLD]
    if high < end:
        bounding[BAND_END] = None
    evidence = _evidence(images, point, settings, ranks=bounding)
    warnings = _warnings(images, point, settings, got=evidence["asked_and_got"], wide=wide)
    return replace(point, evidence=evidence | {"warnings": warnings})


def _ranks(num_malignant: int, num_benign: int, settings: Evaluate) -> dict[str, int]:
    """Ranks of the threshold and both ends of the band, from 1.

    Those of threshold and start count from the lowest positive group, that of the end from the highest
    negative group.
    """
    threshold = _rank(settings.min_sensitivity, num_malignant, settings.sensitivity_confidence)
    start = _rank(settings.refer_min_sensitivity, num_malignant, settings.sensitivity_confidence)
    return {
        THRESHOLD: threshold,
        BAND_START: min(start, threshold),
        BAND_END: plain_rank(settings.refer_min_specificity, num_benign),
    }


def _rank(sensitivity: float, num_groups: int, confidence: float | None) -> int:
    if confidence is None:
        return plain_rank(sensitivity, num_groups)
    return max(1, guaranteed_rank(sensitivity, num_groups, confidence=confidence))


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
    images: _Images, point: OperatingPoint, settings: Evaluate, *, ranks: Mapping[str, int | None]
) -> dict[str, Any]:
    """Results on the calibration images: counts of images, and what was asked and got by group."""
    is_malignant, called = images.target == 1, images.probability >= point.threshold
    decision = point.decide(images.probability)
    referred = float((decision == REFER).mean())
    right = asked_and_got.groups_right(images.target, images.probability, images.group_ids, point=point)
    by_group = asked_and_got.evidence(right, settings, ranks=ranks)
    return {
        "num_images": len(images.target),
        "num_malignant": int(is_malignant.sum()),
        "num_malignant_groups": len(images.positive),
        "num_benign_groups": len(images.negative),
        "sensitivity": float(called[is_malignant].mean()),
        "specificity": float((~called[~is_malignant]).mean()),
        "referred_fraction": referred,
        "malignant_called_benign": int((is_malignant & (decision == NEGATIVE)).sum()),
        "benign_called_malignant": int((~is_malignant & (decision == POSITIVE)).sum()),
        "asked_and_got": by_group | {REFERRED: {"asked": settings.max_referred_fraction, "got": referred}},
        "choices": asked_and_got.choices(images.positive, images.probability[~is_malignant], settings),
    }


def _warnings(
    images: _Images,
    point: OperatingPoint,
    settings: Evaluate,
    *,
    got: Mapping[str, Any],
    wide: OperatingPoint,
) -> list[str]:
    """What could not be met as asked, as sentences."""
    warnings = []
    if np.ptp(images.probability) == 0:  # then no band could be better either
        alike = "all calibration images have the same probability, so no threshold separates the classes"
        return [alike, *_too_few(len(images.positive), settings)]
    if point.calibration.method != settings.calibration:
        warnings.append(
            f"not calibrated: on validation, higher scores mean negative, and {settings.calibration} "
            "calibration would reverse the order"
        )
    warnings += _too_few(len(images.positive), settings)
    referred = (wide.decide(images.probability) == REFER).mean()
    cause = (
        f", because it held {referred:.0%} of the calibration images and at most "
        f"{settings.max_referred_fraction:.0%} may be referred"
    )
    if point.refer_to < wide.refer_to:
        warnings.append(
            f"the referral band was narrowed from above{cause}: the specificity at its end is "
            f"{got[BAND_END]['got']:.3f}, {settings.refer_min_specificity:g} was asked"
        )
    if point.refer_from > wide.refer_from:
        warnings.append(
            f"the referral band was narrowed from below{cause}: the sensitivity at its start is "
            f"{got[BAND_START]['got']:.3f}, {settings.refer_min_sensitivity:g} was asked"
        )
    return warnings


def _too_few(num_groups: int, settings: Evaluate) -> list[str]:
    """A sentence for each sensitivity that is to be guaranteed by too few positive groups."""
    confidence = settings.sensitivity_confidence
    if confidence is None:
        return []
    sentences = []
    for what, asked in (
        ("the threshold", settings.min_sensitivity),
        ("the start of the referral band", settings.refer_min_sensitivity),
    ):
        if guaranteed_rank(asked, num_groups, confidence=confidence):
            continue
        needed = groups_needed(asked, num_missed=0, confidence=confidence)
        enough = "no number is enough" if needed is None else f"{needed:,} are needed"
        sentences.append(
            f"{num_groups:,} positive groups cannot guarantee a sensitivity of {asked:g} with "
            f"{confidence:.0%} confidence, {enough}: {what} is at the lowest positive group"
        )
    return sentences


def three_way(target: np.ndarray, decision: np.ndarray, group_ids: np.ndarray) -> dict[str, Any]:
    """Outcomes of the three-way decision.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        decision: Shape `(num_samples,)`, values of `DECISIONS`.
        group_ids: Shape `(num_samples,)`.

    Returns:
        `counts` by truth and decision; `referred_fraction` of all images, `missed_fraction` of positive
        images that are called negative, `false_alarm_fraction` of negative ones that are called positive,
        each per image as `value`, `low`, `high`.
    """
    is_of = {POSITIVE: target == 1, NEGATIVE: target == 0}
    counts = {
        truth: {answer: int((is_truth & (decision == answer)).sum()) for answer in DECISIONS}
        for truth, is_truth in is_of.items()
    }
    everyone = np.ones(len(target), dtype=bool)
    return {
        "counts": counts,
        "referred_fraction": _share(decision == REFER, everyone, group_ids),
        "missed_fraction": _share(decision == NEGATIVE, is_of[POSITIVE], group_ids),
        "false_alarm_fraction": _share(decision == POSITIVE, is_of[NEGATIVE], group_ids),
    }


def _share(hit: np.ndarray, of: np.ndarray, group_ids: np.ndarray) -> Entry:
    """Fraction of the samples in `of` that are hit, with its interval."""
    return rate(hit[of], group_ids[of])
