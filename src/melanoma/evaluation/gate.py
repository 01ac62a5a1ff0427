"""Promotion gates: whether a challenger may take the alias `staging`, with the evidence of each gate.

A gate that cannot be judged is not passed. The gate on slices is the exception: small splits have no slice
with enough images, so the verdict reports it as not judged and does not refuse.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from melanoma.config.evaluation import Promote
from melanoma.data.crops import MASK, NONE
from melanoma.evaluation.bootstrap import Draws, difference, in_words, metrics_with_intervals
from melanoma.evaluation.metrics import NUM_BINS

SPECIFICITY = "specificity_at_95_sensitivity"
ROUNDING = 1e-9  # keeps 0.98 - 1 = -0.020000000000000018 from failing a drop of 0.02


@dataclass(frozen=True)
class Contest:
    """Probabilities of challenger and champion on the same images, outside both models' training groups.

    Attributes:
        target: Shape `(num_images,)`, 0 or 1.
        group_ids: Shape `(num_images,)`.
        challenger: Calibrated probabilities, shape `(num_images,)`.
        champion: Probabilities of the champion with its own calibration; None if no model holds the alias.
        colour: Probabilities of the reference that sees colours only.
        draws: Draws of the intervals.
        slices: Slices of the challenger from `slices.measure`.
        num_bins: Number of bins of the expected calibration error.
        crop: Kind of crop of the challenger's images: `none`, `mask` or `unet`.
    """

    target: np.ndarray
    group_ids: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray | None
    colour: np.ndarray
    draws: Draws
    slices: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    num_bins: int = NUM_BINS
    crop: str = NONE

    @property
    def is_defined(self) -> bool:
        """Whether every probability is finite."""
        scored = (self.challenger, self.colour, *(() if self.champion is None else (self.champion,)))
        return all(bool(np.isfinite(probability).all()) for probability in scored)


@dataclass(frozen=True)
class Gate:
    """Outcome of one gate.

    Attributes:
        name: Name in params.yaml.
        is_passed: Whether the challenger passed.
        bound: Bound in params.yaml.
        measured: Measured value: a number, or `value`, `low`, `high`.
        words: The outcome in a sentence.
        is_judged: False if there was nothing to judge; the gate is then no reason to refuse.
    """

    name: str
    is_passed: bool
    bound: float | bool
    measured: Any
    words: str
    is_judged: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return dict(vars(self))


def judge(contest: Contest, rules: Promote) -> dict[str, Any]:
    """Apply every enabled gate of `params.yaml: promote`.

    Returns:
        `is_passed`, `reasons` (sentences of the failed gates), `gates`, `num_images`, `num_groups`,
        `num_malignant_groups`, `primary_metric`, `challenger` and, if there is one, `champion` (by metric
        `value`, `low`, `high`) and the paired `challenger_minus_champion`.
    """
    num_malignant_groups = len(set(contest.group_ids[contest.target == 1]))
    gates = [_enough_groups(num_malignant_groups, len(contest.target), rules)]
    if contest.crop == MASK:
        gates.append(_cannot_be_served())
    evidence: dict[str, Any] = {
        "num_images": len(contest.target),
        "num_groups": len(set(contest.group_ids)),
        "num_malignant_groups": num_malignant_groups,
        "primary_metric": rules.primary_metric,
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
    reasons = [gate.words for gate in gates if gate.is_judged and not gate.is_passed]
    verdict = {"is_passed": not reasons, "reasons": reasons}
    return verdict | {"gates": [gate.to_dict() for gate in gates]} | evidence


def _measure(contest: Contest, rules: Promote) -> dict[str, Any]:
    """Intervals of each model and of their differences, from the same draws of groups."""

    def alone(probability: np.ndarray) -> dict[str, dict[str, float]]:
        return metrics_with_intervals(
            contest.target,
            probability,
            contest.group_ids,
            threshold=0.5,
            draws=contest.draws,
            num_bins=contest.num_bins,
        )

    def lead(other: np.ndarray, metric: str) -> dict[str, float]:
        return difference(
            contest.target,
            contest.challenger,
            other,
            contest.group_ids,
            metric=metric,
            draws=contest.draws,
        )

    compared = dict.fromkeys((rules.primary_metric, SPECIFICITY, "auc_roc"))
    shown = [*compared, "expected_calibration_error"]
    challenger, colour = alone(contest.challenger), alone(contest.colour)
    measured: dict[str, Any] = {
        "challenger": {name: challenger[name] for name in shown},
        "colour": {"auc_roc": colour["auc_roc"]},
        "challenger_minus_colour": {"auc_roc": lead(contest.colour, "auc_roc")},
    }
    if contest.champion is not None:
        champion = alone(contest.champion)
        measured["champion"] = {name: champion[name] for name in shown}
        measured["challenger_minus_champion"] = {name: lead(contest.champion, name) for name in compared}
    return measured


def _gates(contest: Contest, measured: dict[str, Any], rules: Promote) -> list[Gate]:
    gates = [_better_than_chance(measured["challenger"]["auc_roc"], rules)]
    if rules.must_beat_colour:
        gates.append(_better_than_colour(measured))
    if contest.champion is not None:
        drops = (
            ("max_primary_drop", rules.primary_metric, rules.max_primary_drop),
            ("max_specificity_drop", SPECIFICITY, rules.max_specificity_drop),
        )
        gates += [
            _not_inferior(name, metric, measured["challenger_minus_champion"][metric], bound)
            for name, metric, bound in drops
            if bound is not None
        ]
    if rules.max_calibration_error is not None:
        error = measured["challenger"]["expected_calibration_error"]
        gates.append(_calibrated(error, rules.max_calibration_error))
    if rules.min_worst_slice_auc_roc is not None:
        gates.append(_no_slice_below(contest.slices, rules.min_worst_slice_auc_roc))
    return gates


def _enough_groups(num: int, num_images: int, rules: Promote) -> Gate:
    least = rules.min_malignant_groups
    words = f"{num} malignant groups among the {num_images} test images; at least {least} are required"
    return Gate("min_malignant_groups", num >= least, least, num, words)


def _cannot_be_served() -> Gate:
    words = (
        "the model needs images cropped by hand-drawn masks, which new images do not have, so it cannot be "
        "served"
    )
    return Gate("crop_can_be_served", False, True, MASK, words)


def _better_than_chance(auc: dict[str, float], rules: Promote) -> Gate:
    bound = rules.min_auc_roc_lower_bound
    words = f"AUC {in_words(auc)}; the lower end of the interval must be above {bound:g}"
    return Gate("min_auc_roc_lower_bound", auc["low"] > bound, bound, auc, words)


def _better_than_colour(measured: dict[str, Any]) -> Gate:
    """Judge by the difference itself: with few images, its interval would exclude nothing."""
    lead, colour = measured["challenger_minus_colour"]["auc_roc"], measured["colour"]["auc_roc"]
    words = (
        f"AUC {in_words(measured['challenger']['auc_roc'])}, a logistic regression on colours alone "
        f"{in_words(colour)}, difference {in_words(lead)}; the network must have the higher AUC"
    )
    return Gate("must_beat_colour", lead["value"] > 0, True, lead, words)


def _not_inferior(name: str, metric: str, lead: dict[str, float], bound: float) -> Gate:
    words = (
        f"{metric}, challenger minus champion on the same images: {in_words(lead)}; the interval must "
        f"exclude a loss of more than {bound:g}"
    )
    return Gate(name, lead["low"] >= -bound - ROUNDING, bound, lead, words)


def _calibrated(error: dict[str, float], bound: float) -> Gate:
    words = f"expected calibration error {in_words(error)}; at most {bound:g} is allowed"
    return Gate("max_calibration_error", error["value"] <= bound + ROUNDING, bound, error, words)


def _no_slice_below(slices: Sequence[Mapping[str, Any]], bound: float) -> Gate:
    """Judge the worst slice; slices with too few groups have no AUC and are left out."""
    judged = [
        entry for entry in slices if not entry["is_too_small"] and _is_number(entry["auc_roc"]["value"])
    ]
    if not judged:
        words = "no slice of the test set has enough images of both classes"
        return Gate("min_worst_slice_auc_roc", False, bound, None, words, is_judged=False)
    worst = min(judged, key=lambda entry: entry["auc_roc"]["value"])
    words = (
        f"the worst of {len(judged)} slices, {worst['slice']} = {worst['value']} with {worst['num_images']} "
        f"images, has AUC {in_words(worst['auc_roc'])}; at least {bound:g} is required"
    )
    is_passed = worst["auc_roc"]["value"] >= bound - ROUNDING
    return Gate("min_worst_slice_auc_roc", is_passed, bound, dict(worst["auc_roc"]), words)


def _is_number(value: float | None) -> bool:
    """Whether a value is defined; JSON has null for undefined values."""
    return value is not None and not math.isnan(value)
