"""Gates that compare the challenger with other models: references, the champion and the anchor.

The difference is paired: both models score the same images. A claim counts if the interval of the difference
shows it; otherwise it is refused as "not shown", which a person may accept (`pipelines.accept`), unless the
interval shows the opposite.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from melanoma.config.evaluation import Promote
from melanoma.evaluation import calibration_measures, intervals, power
from melanoma.evaluation.bootstrap import (
    SPECIFICITY,
    Draws,
    in_blocks,
    in_words,
    number_in_words,
    why_no_specificity,
)
from melanoma.evaluation.contest import MAY_BE_SILENT, Contest, Gate
from melanoma.evaluation.metric_table import THRESHOLD_FREE
from melanoma.evaluation.metrics import compute_metrics
from melanoma.schema import REFERENCE_NAMES

AUC = "auc_roc"
ALPHA = 0.05  # one-sided error of all attempts together
REGRESSION_ON = dict(
    zip(
        REFERENCE_NAMES,
        ("colours alone", "facts of the file alone", "the size of the lesion alone"),
        strict=True,
    )
)
ROUNDING = 1e-9  # keeps 0.98 - 1 = -0.020000000000000018 from failing a drop of 0.02
ACCEPT = "a person may accept this with `python -m pipelines.accept`"


def alpha_of(attempt: int) -> float:
    """One-sided error of an attempt: `ALPHA · 6 / (π² attempt²)`, which adds to `ALPHA` over all attempts.

    Args:
        attempt: Number of distinct models judged on some of the images since the anchor's start, from 1.

    Source: alpha spending over a sequence of hypotheses, Foster and Stine, α-investing, JRSS B 70, 2008.
    """
    return ALPHA * 6 / (math.pi * attempt) ** 2


def level_of(attempt: int) -> float:
    """Level of the two-sided interval whose lower end has the one-sided error of an attempt."""
    return 1 - 2 * alpha_of(attempt)


def difference(
    target: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    group_ids: np.ndarray,
    *,
    metric: str,
    level: float,
    draws: Draws,
) -> dict[str, Any]:
    """A metric of `first` minus that of `second` on the same images, with its paired interval.

    The interval of an AUC is `intervals.auc_difference`. That of another metric is the difference plus and
    minus quantiles of Student's t times the bootstrap's standard error: percentiles of the draws themselves
    would not reach the small errors of later attempts.

    Args:
        target: Shape `(num_images,)`, 0 or 1.
        first: Probabilities of one model, shape `(num_images,)`.
        second: Probabilities of the other model, shape `(num_images,)`.
        group_ids: Shape `(num_images,)`; a draw takes whole groups.
        metric: One of `metric_table.THRESHOLD_FREE` that `metrics.compute_metrics` gives.
        level: Confidence level, in (0, 1).
        draws: Draws of the bootstrap.

    Returns:
        `value`, `low`, `high`, `standard_error`, `level` and, if one of them is nan, `undefined`.

    Raises:
        ValueError: The metric needs a threshold, or has no paired difference.
    """
    if metric not in THRESHOLD_FREE or metric in calibration_measures.NAMES:
        raise ValueError(f"metric must be one of {THRESHOLD_FREE}, got {metric!r}")
    if metric == AUC:
        found = intervals.auc_difference(target, first, second, group_ids, level=level)
        return found | {"level": level}
    unknown = {"standard_error": math.nan, "level": level}
    reason = why_no_specificity(target, group_ids) if metric == SPECIFICITY else ""
    if reason:
        return intervals.undefined_entry(reason) | unknown

    def measure(weights: np.ndarray) -> np.ndarray:
        ours, theirs = (_free_of_threshold(metric, target, scores, weights) for scores in (first, second))
        return ours - theirs

    value = float(measure(np.ones((1, len(target))))[0])
    drawn = in_blocks(measure, draws.weights(group_ids))
    error = float(np.std(drawn[np.isfinite(drawn)], ddof=1)) if np.isfinite(drawn).sum() > 1 else math.nan
    is_exact = not drawn.any() and np.array_equal(stats.rankdata(first), stats.rankdata(second))
    num_groups = intervals.effective_groups(group_ids[target == 1])
    if not is_exact and (num_groups < 2 or not error > intervals.ROUNDING):
        words = "the draws of groups leave no spread to measure"
        return intervals.entry(value, math.nan, math.nan, undefined=words) | unknown
    half = 0.0 if is_exact else float(stats.t.ppf((1 + level) / 2, num_groups - 1)) * error
    found = intervals.entry(value, value - half, value + half, undefined="the metric is undefined")
    return found | {"standard_error": error, "level": level}


def _free_of_threshold(
    metric: str, target: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """A metric of `THRESHOLD_FREE` by draw: any threshold gives the same value."""
    return compute_metrics(target, probability, threshold=0.5, weights=weights)[metric]


def measure_references(contest: Contest) -> dict[str, Any]:
    """By reference its AUC, and the challenger's lead on the images for which the reference has an answer.

    The interval of the lead spends the error of the attempt, as those against champion and anchor do.

    Returns:
        For each reference with answers for both classes: its name with `auc_roc`, and
        `challenger_minus_<name>` with `auc_roc`.
    """
    measured: dict[str, Any] = {}
    level = level_of(contest.attempt)
    for name, reference in contest.references.items():
        has_answer = np.isfinite(reference)
        target, groups = contest.target[has_answer], contest.group_ids[has_answer]
        if len(set(target)) < 2:
            continue
        own, network = reference[has_answer], contest.challenger.probability[has_answer]
        measured[name] = {"num_images": len(target), AUC: intervals.auc(target, own, groups)}
        lead = intervals.auc_difference(target, network, own, groups, level=level)
        measured[f"challenger_minus_{name}"] = {AUC: lead | {"level": level}}
    return measured


def measure_rivals(contest: Contest, rules: Promote) -> dict[str, Any]:
    """`challenger_minus_champion` and, if it is another version, `challenger_minus_anchor`, by metric."""
    level = level_of(contest.attempt)
    return {
        f"challenger_minus_{role}": {
            metric: difference(
                contest.target,
                contest.challenger.probability,
                rival.probability,
                contest.group_ids,
                metric=metric,
                level=level,
                draws=contest.draws,
            )
            for metric in dict.fromkeys((rules.primary_metric, SPECIFICITY, AUC))
        }
        for role, rival in contest.rivals.items()
    }


def reference_gates(contest: Contest, measured: Mapping[str, Any], rules: Promote) -> list[Gate]:
    """A gate for each reference of `must_beat_references`."""
    return [
        _better_than(name, measured, contest.attempt) if name in measured else _not_measured(name)
        for name in contest.references
        if name in rules.must_beat_references
    ]


def _not_measured(name: str) -> Gate:
    words = f"{REGRESSION_ON[name]}: not measured, no test images of both classes have a mask"
    is_judged = name not in MAY_BE_SILENT
    return Gate(_beats(name), False, True, None, words, is_judged=is_judged)


def _beats(name: str) -> str:
    return f"must_beat_references: {name}"


def _better_than(name: str, measured: Mapping[str, Any], attempt: int) -> Gate:
    lead, own = measured[f"challenger_minus_{name}"][AUC], measured[name][AUC]
    is_better, is_worse = lead["low"] > 0, lead["high"] < 0
    what = f"a logistic regression on {REGRESSION_ON[name]}"
    found = (
        f"whose AUC on the same images is {in_words(own)}; difference {in_words(lead)}, interval of level "
        f"{lead['level']:.4g} for attempt {attempt}"
    )
    if is_better:
        words = f"better than {what}, {found}"
    elif is_worse:
        words = f"worse than {what}, {found}"
    else:
        words = f"not shown to be better than {what}, {found}; {_needed(lead)}"
    return Gate(_beats(name), is_better, True, lead, words, is_acceptable=not is_worse)


def rival_gates(contest: Contest, measured: Mapping[str, Any], rules: Promote) -> list[Gate]:
    """That the challenger is not worse than the champion and than the anchor; no gate without a champion."""
    drops = {
        "max_primary_drop": (rules.primary_metric, rules.max_primary_drop),
        "max_specificity_drop": (SPECIFICITY, rules.max_specificity_drop),
    }
    gates = [
        _not_worse(name, role, metric, measured[f"challenger_minus_{role}"][metric], bound)
        for role in contest.rivals
        for name, (metric, bound) in drops.items()
        if bound is not None
    ]
    if gates:
        lead = measured["challenger_minus_champion"][rules.primary_metric]
        gates.insert(0, _enough_to_compare(contest.num_malignant_groups, lead, rules.min_groups_not_worse))
    return gates


def _enough_to_compare(num: int, lead: Mapping[str, Any], least: int) -> Gate:
    """The claim "not worse" needs more groups than the finding that a model works at all."""
    name = "min_groups_not_worse"
    if num >= least:
        words = f"{num} positive groups, at least {least} are required to show that a model is not worse"
        return Gate(name, True, least, num, words)
    words = (
        f"that the challenger is not worse than the champion cannot be shown with {num} positive groups, at "
        f"least {least} are required ({_needed(lead)}); {ACCEPT}"
    )
    return Gate(name, False, least, num, words, is_acceptable=True)


def _not_worse(name: str, role: str, metric: str, lead: Mapping[str, Any], bound: float) -> Gate:
    is_not_worse, is_worse = lead["low"] >= -bound - ROUNDING, lead["high"] < -bound
    found = (
        f"{metric}, challenger minus {role} on the same images: {in_words(lead)}, interval of level "
        f"{lead['level']:.4g}"
    )
    if is_not_worse:
        words = f"{found}, which excludes a loss of more than {bound:g}"
    elif is_worse:
        words = f"worse than the {role} by more than {bound:g}: {found}"
    else:
        words = (
            f"not shown to be not worse than the {role}: {found}; it must exclude a loss of more than "
            f"{bound:g}; {_needed(lead)}"
        )
    title = name if role == "champion" else f"{name}: {role}"
    return Gate(title, is_not_worse, bound, dict(lead), words, is_acceptable=not is_worse)


def _needed(lead: Mapping[str, Any]) -> str:
    """The difference that the test set could have shown."""
    if not math.isfinite(lead["standard_error"]):
        return f"no difference could be shown, because {lead.get('undefined', 'it has no interval')}"
    if lead["standard_error"] == 0:
        return "both models rank all images alike"
    least = power.smallest_difference(lead["standard_error"], level=lead.get("level", power.LEVEL))
    return f"differences from {number_in_words(least)} on are shown with {power.POWER:.0%} power".replace(
        "%", " %"
    )
