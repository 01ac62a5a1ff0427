"""Promotion gates: whether a challenger may take the alias `staging`, with the evidence of each gate.

The challenger is judged as it is served: with the calibration and at the threshold of its operating point.
A gate that cannot be judged is not passed, except those that refuse only what is shown to fail: slices and
the bands of the calibration. The verdict reports these as not judged.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from melanoma.config.evaluation import Band, Promote
from melanoma.data.crops import MASK
from melanoma.evaluation import comparisons, shadow_evidence
from melanoma.evaluation.bootstrap import SPECIFICITY, in_words, metrics_with_intervals
from melanoma.evaluation.comparisons import AUC, ROUNDING
from melanoma.evaluation.contest import Contest, Gate, Served

SIMULTANEOUS = "auc_roc_simultaneous"
SHOWN = (
    SPECIFICITY,
    AUC,
    "sensitivity",
    "specificity",
    "brier_skill",
    "calibration_intercept",
    "calibration_slope",
    "expected_calibration_error",
)


def judge(contest: Contest, rules: Promote) -> dict[str, Any]:
    """Apply every enabled gate of `params.yaml: promote`.

    Returns:
        `is_passed`, `reasons` (sentences of the failed gates), `is_acceptable` (whether a person may accept
        all of them), `gates`, `num_images`, `num_groups`, `num_malignant_groups`, `primary_metric`,
        `attempt`, `challenger` and, if there are any, `champion` and `anchor` (by metric `value`, `low`,
        `high`), the paired differences of `comparisons`, and `shadow`, see `shadow_evidence.measure`.
    """
    gates = [_enough_groups(contest, rules)]
    if contest.crop == MASK:
        gates.append(_cannot_be_served())
    evidence: dict[str, Any] = {
        "num_images": len(contest.target),
        "num_groups": len(set(contest.group_ids)),
        "num_malignant_groups": contest.num_malignant_groups,
        "primary_metric": rules.primary_metric,
        "attempt": contest.attempt,
    }
    if not contest.is_defined:
        words = "some probabilities are not finite, so the models cannot be compared"
        gates.append(Gate("probabilities_defined", False, True, False, words))
    elif len(set(contest.target)) == 2:
        measured = _measure(contest, rules)
        evidence |= measured
        gates += _gates(contest, measured, rules)
    else:
        words = "all compared images have the same class, so the models cannot be compared"
        gates.append(Gate("both_classes", False, True, False, words))
    in_shadow = {} if contest.shadow is None else shadow_evidence.measure(contest.shadow, contest.draws)
    gates += shadow_evidence.gates(contest.shadow, in_shadow, rules)
    if in_shadow:
        evidence["shadow"] = in_shadow
    refusing = [gate for gate in gates if gate.refuses]
    verdict = {
        "is_passed": not refusing,
        "reasons": [gate.words for gate in refusing],
        "is_acceptable": bool(refusing) and all(gate.is_acceptable for gate in refusing),
    }
    return verdict | {"gates": [gate.to_dict() for gate in gates]} | evidence


def _measure(contest: Contest, rules: Promote) -> dict[str, Any]:
    """Intervals of each model at its own threshold, and of their paired differences."""
    shown = dict.fromkeys((rules.primary_metric, *SHOWN))

    def alone(model: Served) -> dict[str, dict[str, Any]]:
        found = metrics_with_intervals(
            contest.target,
            model.probability,
            contest.group_ids,
            threshold=model.threshold,
            draws=contest.draws,
            num_bins=contest.num_bins,
            fitted=model.fitted,
        )
        return {name: found[name] for name in shown}

    measured: dict[str, Any] = {"challenger": alone(contest.challenger)}
    measured |= {role: alone(rival) for role, rival in contest.rivals.items()}
    return measured | comparisons.measure_references(contest) | comparisons.measure_rivals(contest, rules)


def _gates(contest: Contest, measured: dict[str, Any], rules: Promote) -> list[Gate]:
    own = measured["challenger"]
    gates = [_better_than_chance(contest, own[AUC], rules)]
    if rules.min_sensitivity is not None:
        gates.append(_sensitive(contest, own["sensitivity"], rules.min_sensitivity))
    if rules.min_specificity_at_threshold is not None:
        gates.append(_specific(contest, own, rules.min_specificity_at_threshold))
    gates += comparisons.reference_gates(contest, measured, rules)
    gates += comparisons.rival_gates(contest, measured, rules)
    bands = {
        "calibration_intercept": rules.calibration_intercept_band,
        "calibration_slope": rules.calibration_slope_band,
    }
    gates += [_calibrated(name, own[name], band) for name, band in bands.items() if band is not None]
    if rules.min_brier_skill is not None:
        gates.append(_skilful(contest, own["brier_skill"], rules.min_brier_skill))
    if rules.min_worst_slice_auc_roc is not None:
        gates.append(_no_slice_below(contest, rules.min_worst_slice_auc_roc))
    return gates


def _enough_groups(contest: Contest, rules: Promote) -> Gate:
    num, least = contest.num_malignant_groups, rules.min_malignant_groups
    words = (
        f"{num} positive groups among the {len(contest.target)} {contest.images}; at least {least} are "
        "required"
    )
    return Gate("min_malignant_groups", num >= least, least, num, words)


def _cannot_be_served() -> Gate:
    words = (
        "the model needs images cropped by hand-drawn masks, which new images do not have, so it cannot be "
        "served"
    )
    return Gate("crop_can_be_served", False, True, MASK, words)


def _better_than_chance(contest: Contest, auc: Mapping[str, Any], rules: Promote) -> Gate:
    bound, low = rules.min_auc_roc_lower_bound, auc["low"]
    words = f"AUC {in_words(auc)}"
    if auc["value"] == 1 and np.isnan(low):
        low = _least_auc_at_separation(contest)
        words += f", at least {low:.3f} by an exact bound for scores that separate the classes"
    words += f"; the lower end of the interval must be above {bound:g}"
    return Gate("min_auc_roc_lower_bound", bool(low > bound), bound, dict(auc) | {"low": low}, words)


def _least_auc_at_separation(contest: Contest) -> float:
    """Lower end of a 95 % interval where every positive image scores above every negative one.

    With p pairs of a positive and a negative image that share no group, all are in order with a probability
    of at most AUC^p, so an AUC below 0.025^(1/p) would be a surprise.
    """
    positive, negative = (set(contest.group_ids[contest.target == value]) for value in (1, 0))
    num_pairs = min(len(positive), len(negative - positive))
    return float(0.025 ** (1 / num_pairs)) if num_pairs else 0.0


def _sensitive(contest: Contest, sensitivity: Mapping[str, Any], bound: float) -> Gate:
    words = (
        f"sensitivity {in_words(sensitivity)} at {contest.challenger.threshold_in_words}; the lower end of "
        f"the interval must be at least {bound:g}"
    )
    return Gate("min_sensitivity", sensitivity["low"] >= bound - ROUNDING, bound, sensitivity, words)


def _specific(contest: Contest, own: Mapping[str, Any], bound: float) -> Gate:
    """Refuse a model that spares too few people: a threshold for a high sensitivity can always be found."""
    found = own["specificity"]
    words = (
        f"specificity {in_words(found)} at {contest.challenger.threshold_in_words}, "
        f"where its sensitivity is {in_words(own['sensitivity'])}; the lower end of the interval must be "
        f"above {bound:g}"
    )
    return Gate("min_specificity_at_threshold", bool(found["low"] > bound), bound, found, words)


def _calibrated(name: str, found: Mapping[str, Any], band: Band) -> Gate:
    """Refuse only where the whole interval lies outside the band: few images leave wide intervals."""
    low, high = band
    what = f"{name.replace('_', ' ')} {in_words(found)}"
    rule = f"the interval must not lie wholly outside {low:g} to {high:g}"
    if not (np.isfinite(found["low"]) and np.isfinite(found["high"])):
        words = f"{what}: {found.get('undefined', 'it has no interval')}"
        return Gate(f"{name}_band", False, list(band), found, words, is_judged=False)
    is_inside = found["high"] >= low and found["low"] <= high
    return Gate(f"{name}_band", is_inside, list(band), found, f"{what}; {rule}")


def _skilful(contest: Contest, skill: Mapping[str, Any], bound: float) -> Gate:
    words = (
        f"Brier skill {in_words(skill)} against the prevalence of the {contest.images}; the lower end "
        f"of the interval must be above {bound:g}"
    )
    return Gate("min_brier_skill", skill["low"] > bound, bound, skill, words)


def _no_slice_below(contest: Contest, bound: float) -> Gate:
    """Refuse a slice that is shown to fail by intervals that hold for all slices together.

    The smallest of many noisy values would refuse good models.
    """
    name = "min_worst_slice_auc_roc"
    judged = [(entry, high) for entry in contest.slices if _is_number(high := _upper_end(entry))]
    if not judged:
        words = f"no slice has enough {contest.images} of both classes"
        return Gate(name, False, bound, None, words, is_judged=False)
    worst, high = min(judged, key=lambda pair: pair[1])
    auc = worst[SIMULTANEOUS]
    where = f"{worst['slice']} = {worst['value']} with {worst['num_images']} images"
    words = (
        f"of {len(judged)} slices, {where} has the lowest upper end: AUC {in_words(auc)}, 95 % interval for "
        f"all slices together; a slice whose interval lies below {bound:g} fails"
    )
    return Gate(name, high >= bound - ROUNDING, bound, dict(auc), words)


def _upper_end(entry: Mapping[str, Any]) -> float:
    """Upper end of a slice's interval; 0 if its scores separate the classes the wrong way round."""
    auc = entry.get(SIMULTANEOUS, {})
    high = auc.get("high")
    if _is_number(high):
        return float(high)
    return 0.0 if auc.get("value") == 0 else math.nan


def _is_number(value: float | None) -> bool:
    """Whether a value is defined; JSON has null for undefined values."""
    return value is not None and math.isfinite(value)
