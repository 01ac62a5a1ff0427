"""What was asked of an operating point, and what it got: on the calibration images, on test, guaranteed.

The calibration images are those of the validation split. Sensitivity counts positive groups: one is found
if its lowest positive image is. Specificity at the end of the referral band counts negative groups: one is
cleared if its highest negative image is. The referred fraction counts images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from melanoma.config.evaluation import Evaluate
from melanoma.evaluation import intervals
from melanoma.evaluation.bootstrap import explained, number_in_words
from melanoma.evaluation.guarantee import (
    CONFIDENCE,
    groups_needed,
    guaranteed_rank,
    guaranteed_share,
    highest_by_group,
    lowest_by_group,
    plain_rank,
)
from melanoma.scoring.operating_point import OperatingPoint

THRESHOLD, BAND_START, BAND_END, REFERRED = "threshold", "band_start", "band_end", "referred"
LABELS = {
    THRESHOLD: "sensitivity at the threshold",
    BAND_START: "sensitivity at the start of the referral band",
    BAND_END: "specificity at the end of the referral band",
    REFERRED: "referred fraction of all images",
}
AT = {THRESHOLD: "threshold", BAND_START: "refer_from", BAND_END: "refer_to"}  # names in the operating point
ON_GROUPS = "at_operating_point"  # key of what `measure` returns, in `metrics.json`
NOT_A_RANK = "the band was narrowed, so its end does not follow from a rank of negative groups"
COUNTED = (
    "Sensitivity counts positive groups, found if all their images are; specificity counts negative groups, "
    "cleared if all their images are; the referred fraction counts images, as all other metrics do."
)
GUARANTEED = (
    "Guaranteed is a lower bound for other groups of the same kind, with {confidence:.0%} confidence. It is "
    "exact, from the rank among the groups. The network was chosen on other images, a hold-out of training "
    "groups."
)
UNKNOWN = "What was asked of this operating point, and what is guaranteed, was not recorded."
NOT_RECORDED, NONE = "not recorded", "-"
TITLES = (
    "measure",
    "at",
    "asked",
    "got on the calibration images",
    "got on the test set",
    "guaranteed, at least",
    "groups needed for what was asked",
)


def groups_right(
    target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, *, point: OperatingPoint
) -> dict[str, np.ndarray]:
    """Whether each positive group is found, or each negative one cleared, at the threshold and band ends.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Calibrated probabilities, shape `(num_samples,)`.
        group_ids: Shape `(num_samples,)`.
        point: The operating point.

    Returns:
        By name, booleans with one element per positive group, or per negative one at the band's end.
    """
    is_malignant = target == 1
    positive = lowest_by_group(probability[is_malignant], group_ids[is_malignant])
    negative = highest_by_group(probability[~is_malignant], group_ids[~is_malignant])
    return {
        THRESHOLD: positive >= point.threshold,
        BAND_START: positive >= point.refer_from,
        BAND_END: negative < point.refer_to,
    }


def measure(
    target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, *, point: OperatingPoint
) -> dict[str, dict[str, Any]]:
    """The shares of `groups_right` on other images, as entries with 95 % intervals (one sample per group)."""
    right = groups_right(target, probability, group_ids, point=point)
    return {name: intervals.rate(hit, np.arange(len(hit))) for name, hit in right.items()}


def evidence(
    right: Mapping[str, np.ndarray], settings: Evaluate, *, ranks: Mapping[str, int | None]
) -> dict[str, dict[str, Any]]:
    """What was asked at the threshold and both band ends, what it got, and what that guarantees.

    Args:
        right: Result of `groups_right` on the calibration images.
        settings: Section `evaluate` of params.yaml.
        ranks: By name, the rank that bounds each share, from 1: among the lowest positive groups for the
            sensitivities, among the highest negative groups for the specificity. None where the end of the
            band follows from no rank.
    """
    asked = {
        THRESHOLD: settings.min_sensitivity,
        BAND_START: settings.refer_min_sensitivity,
        BAND_END: settings.refer_min_specificity,
    }
    confidence = settings.sensitivity_confidence or CONFIDENCE
    return {
        name: {
            "asked": asked[name],
            "got": float(hit.mean()),
            "num_right": int(hit.sum()),
            "num_groups": len(hit),
            "confidence": confidence,
            **_guaranteed(ranks[name], len(hit), confidence),
            "groups_needed": [
                groups_needed(asked[name], num_missed=num, confidence=confidence) for num in (0, 1)
            ],
        }
        for name, hit in right.items()
    }


def _guaranteed(rank: int | None, num_groups: int, confidence: float) -> dict[str, Any]:
    if rank is None:
        return {"guaranteed": float("nan"), "undefined": NOT_A_RANK}
    return {"guaranteed": guaranteed_share(rank, num_groups, confidence=confidence)}


def rows(point: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The table of an operating point, with numbers.

    Args:
        point: The operating point as a JSON object; older ones have no `asked_and_got` in their evidence.
        test: Measured on test, with `at_operating_point` (from `measure`) and `three_way`; either may be
            missing in older results.

    Returns:
        A row for the threshold, each band end, and the referred fraction: `name`, `at` (probability),
        `on_test` (an entry, or None), and where recorded what `evidence` says.
    """
    test = test or {}
    measured = dict(test.get(ON_GROUPS, {}))
    if "three_way" in test:
        measured[REFERRED] = test["three_way"]["referred_fraction"]
    recorded = point["evidence"].get("asked_and_got", {})
    at = {name: point[key] for name, key in AT.items()}
    return [
        {"name": name, "at": at.get(name), "on_test": measured.get(name), **recorded.get(name, {})}
        for name in LABELS
    ]


def described(point: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of it as a JSON object, for the metadata of a served model: `rows`, `notes` and `warnings`."""
    warnings = list(point["evidence"].get("warnings", ()))
    return {"rows": rows(point, test), "notes": notes(point), "warnings": warnings}


def table(point: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> list[list[str]]:
    """`rows` as texts, in the order of `TITLES`."""
    return [_in_words(row) for row in rows(point, test)]


def _in_words(row: Mapping[str, Any]) -> list[str]:
    is_share_of_images = row["name"] == REFERRED
    at = NONE if is_share_of_images else number_in_words(row["at"])
    on_test = NOT_RECORDED if row["on_test"] is None else explained(row["on_test"])
    if "asked" not in row:
        nothing = NONE if is_share_of_images else NOT_RECORDED
        return [LABELS[row["name"]], at, NOT_RECORDED, NOT_RECORDED, on_test, nothing, nothing]
    if is_share_of_images:
        asked = f"at most {row['asked']:g}"
        return [LABELS[REFERRED], at, asked, number_in_words(row["got"]), on_test, NONE, NONE]
    return [
        LABELS[row["name"]],
        at,
        f"{row['asked']:g}",
        f"{row['got']:.3f} ({row['num_right']} of {row['num_groups']} groups)",
        on_test,
        number_in_words(row["guaranteed"]),
        _needed(*row["groups_needed"]),
    ]


def _needed(no_miss: int | None, one_miss: int | None) -> str:
    return "no number is enough" if no_miss is None else f"{no_miss:,} ({one_miss:,} with one miss)"


def choices(positive: np.ndarray, benign_probability: np.ndarray, settings: Evaluate) -> dict[str, Any]:
    """The threshold without and with a guarantee, and the specificity at each.

    Args:
        positive: Lowest probability of each positive group, in increasing order.
        benign_probability: Probabilities of the negative images.
        settings: Section `evaluate` of params.yaml.

    Returns:
        `plain` and `guaranteed`: `threshold` and `specificity` (of images); `guaranteed` is None with too few
        groups.
    """
    confidence = settings.sensitivity_confidence or CONFIDENCE
    ranks = {
        "plain": plain_rank(settings.min_sensitivity, len(positive)),
        "guaranteed": guaranteed_rank(settings.min_sensitivity, len(positive), confidence=confidence),
    }

    def at(threshold: float) -> dict[str, float]:
        return {"threshold": threshold, "specificity": float((benign_probability < threshold).mean())}

    return {name: at(float(positive[rank - 1])) if rank else None for name, rank in ranks.items()}


def notes(point: Mapping[str, Any]) -> list[str]:
    """How to read the table of an operating point, and what a guarantee costs, in sentences."""
    recorded = point["evidence"].get("asked_and_got", {})
    if THRESHOLD not in recorded:
        return [UNKNOWN]
    reasons = [
        f"Not guaranteed is the {LABELS[name]}: {row['undefined']}."
        for name, row in recorded.items()
        if "undefined" in row
    ]
    cost = _cost(recorded[THRESHOLD], point["evidence"]["choices"])
    return [COUNTED, GUARANTEED.format(confidence=recorded[THRESHOLD]["confidence"]), *reasons, cost]


def _cost(row: Mapping[str, Any], choices: Mapping[str, Any]) -> str:
    """What a guarantee of the asked sensitivity costs in specificity, in a sentence."""
    asked = f"a sensitivity of {row['asked']:g} with {row['confidence']:.0%} confidence"
    plain, guaranteed = choices["plain"], choices["guaranteed"]
    if guaranteed is None:
        needed = row["groups_needed"][0]
        enough = "no number is enough" if needed is None else f"{needed:,} are needed, with none missed"
        return f"{row['num_groups']:,} positive groups cannot guarantee {asked}: {enough}."
    return (
        f"The highest threshold that guarantees {asked} is {guaranteed['threshold']:.3f}, with a specificity "
        f"of {guaranteed['specificity']:.3f} on the calibration images; without a guarantee it is "
        f"{plain['threshold']:.3f}, with a specificity of {plain['specificity']:.3f}."
    )
