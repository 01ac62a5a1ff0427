"""Sensitivity of the model in use, from labels that arrive late and are not a random sample.

Lesions that a model refers are biopsied more often than those it misses, so the sensitivity among all known
labels is too high. Here only labels count that an audit asked for. It draws each group (lesion or patient)
independently of the others, with a probability pi that is known beforehand and is at least `pi_min`. All
answered groups enter; a group that was not drawn enters as 0.

The sensitivity estimated is, among groups with a positive image, the mean share of positive images that are
called positive. With V drawn (0 or 1), D positive (0 or 1) and C that share, the estimate is that of Hajek,
`sum(V*D*C/pi) / sum(V*D/pi)`. If groups arrive in random order, `V*D*(C - s)/pi` has mean 0 at the true
sensitivity s, whatever is known of earlier groups. Nobody who bets on its sign gains on average:

- The capital that bets on more than s is the product of `1 + bet * pi_min/pi * (C/s - 1)` over groups with
  V*D = 1; other groups have the factor 1. Each bet is a constant in (0, 1), so factors are positive. The mean
  over several bets counts. It decreases in s.
- The capital that bets on less than s is the same with 1 - C and 1 - s for C and s. It increases in s.
- At the truth, a capital that starts at 1 ever reaches 1/alpha with probability at most alpha (Ville). The
  interval from the largest s whose first capital ever reached 2/alpha to the smallest s whose second did thus
  holds the truth at all times at once with probability 1 - alpha, however often it is looked at.
- The alarm rejects "the sensitivity was at least the minimum at all times". It has a capital of its own, that
  bets on less than the minimum and ever reaches 1/alpha with probability at most alpha. A part of it is
  invested later (`ALARM`), so that a long good time before a loss does not use it up.

Factors grow with C, and neither bets nor the times of investments depend on labels, so worst cases are
exact. A drawn group without a label counts as positive and missed at the lower end if one of its images is
called negative, as positive and caught at the upper end if one is called positive, and otherwise as
negative. Complete labels can only narrow the interval that is given today.

Even the best test that may be looked at daily needs `log(1 / alpha) / (c log(c/s) + (1-c) log((1-c)/(1-s)))`
verified positive groups on average to show that a true sensitivity c is below s, if all are drawn with one
probability: 67 for 0.80 below 0.90, 245 for 0.85, at an alpha of 0.05.

Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the
Royal Statistical Society B 86, 2024: hedged capital, running intersection and diversified (constant) bets.
Shin, Ramdas and Rinaldo, E-detectors, 2024: starts at several times.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from melanoma.errors import first_offenders

COLUMNS = ("prediction_id", "group_id", "time", "probability_drawn", "is_drawn", "label", "is_caught")
CANDIDATES = np.arange(1, 1000) / 1000  # ends of the interval are one of these, or 0 or 1
MOST_CAPITAL = 1e200  # prevents overflow; less capital can only widen the interval
MOST_NEEDED = 10**7


@dataclass(frozen=True)
class Plan:
    """How a capital of 1 is invested.

    Attributes:
        bets: Constant bets, each in (0, 1). What is invested is divided equally among them and stays there.
        at_start: Fraction that is invested before the first group.
        later: Fraction of the rest that is invested per drawn group, whatever its label is.
    """

    bets: tuple[float, ...]
    at_start: float
    later: float


INTERVAL = Plan(bets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.99), at_start=1, later=0)
# The best bet on a loss from 0.9 to 0.8 is 0.1 to 0.4, depending on how many misses are near the threshold.
ALARM = Plan(bets=(0.1, 0.2, 0.4), at_start=0.5, later=0.001)


@dataclass(frozen=True)
class Sensitivity:
    """What the audit says of the sensitivity up to now; rates are in [0, 1].

    Attributes:
        estimate: Weighted estimate from drawn groups with labels; nan if none of them is positive.
        estimate_low: The estimate if missing labels turn out worst for it; nan with `estimate`.
        estimate_high: The estimate if they turn out best for it; nan with `estimate`.
        low: Lower end of the confidence sequence, with missing labels at their worst; nan if it is empty.
        high: Upper end, with missing labels at their best; nan if it is empty.
        is_below_minimum: The alarm: "the sensitivity was at least the minimum at all times" was rejected.
        is_above_minimum: The lower end has reached the minimum.
        num_drawn: Number of groups drawn.
        num_labelled: Number of drawn groups with all labels.
        num_missing: Number of drawn groups without all labels.
        num_positive: Number of labelled groups with a positive image.
        num_needed: The least number of further verified positive groups after which the lower end can reach
            the minimum: all of them caught, drawn with `pi_min`, and no missing label a missed positive.
        reason: Why there is no answer (yet): no positive group, too few labels or an empty sequence.
    """

    estimate: float
    estimate_low: float
    estimate_high: float
    low: float
    high: float
    is_below_minimum: bool
    is_above_minimum: bool
    num_drawn: int
    num_labelled: int
    num_missing: int
    num_positive: int
    num_needed: int
    reason: str


def measure(answers: pd.DataFrame, *, minimum: float, pi_min: float, alpha: float) -> Sensitivity:
    """Measure the sensitivity of the model in use from all its answers up to now.

    A group enters at its first `time` with the answers of that time. Its later answers are left out, because
    they would change what is already counted. The interval is that of one sensitivity which does not change:
    give the answers since a start that was declared in advance, for instance that of the model version.
    Several starts share alpha.

    Args:
        answers: One row per answer, in any order. `prediction_id`, unique; `group_id`; `time`, sortable, for
            instance the day; `probability_drawn` (pi) and `is_drawn`, equal in all answers of a group at its
            first time; `label`, 1 positive, 0 negative, nan unknown, used of drawn groups only; `is_caught`,
            whether the image was called positive.
        minimum: Declared minimum of the sensitivity, in (0, 1).
        pi_min: Declared minimum of `probability_drawn`, in (0, 1].
        alpha: Bound on the probability that the interval ever misses the truth, and on that of a false
            alarm at any time, in (0, 1).

    Raises:
        ValueError: A parameter or value is out of its range, a column is missing, a `prediction_id` is
            repeated, or answers of a group disagree about the draw.
    """
    if not (0 < minimum < 1 and 0 < pi_min <= 1 and 0 < alpha < 1):
        raise ValueError(
            f"minimum and alpha must be in (0, 1) and pi_min in (0, 1], got {minimum}, {alpha} and {pi_min}"
        )
    _check(answers, pi_min)
    groups = drawn_groups(answers)
    labelled = groups[groups["is_labelled"]]
    level, at_minimum = 2 / alpha, np.array([minimum])
    most_mirrored = 1 - groups["most"]  # to be compared with 1 - s
    _, for_more = capital_of(groups, groups["least"], CANDIDATES, pi_min, INTERVAL)
    _, for_less = capital_of(groups, most_mirrored, CANDIDATES, pi_min, INTERVAL)
    low = float(CANDIDATES[for_more >= level].max(initial=0))
    high = round(1 - float(CANDIDATES[for_less >= level].max(initial=0)), 3)
    _, more_than_minimum = capital_of(groups, groups["least"], at_minimum, pi_min, INTERVAL)
    _, less_than_minimum = capital_of(groups, most_mirrored, 1 - at_minimum, pi_min, ALARM)
    capital, highest = capital_of(labelled, labelled["least"], at_minimum, pi_min, INTERVAL)
    is_empty = low >= high
    num_positive = int(labelled["least"].notna().sum())
    found = Sensitivity(
        estimate=_weighted_mean(labelled, "least"),
        estimate_low=_weighted_mean(groups, "least") if num_positive else math.nan,
        estimate_high=_weighted_mean(groups, "most") if num_positive else math.nan,
        low=math.nan if is_empty else low,
        high=math.nan if is_empty else high,
        is_below_minimum=bool(less_than_minimum[0] >= 1 / alpha),
        is_above_minimum=bool(more_than_minimum[0] >= level),
        num_drawn=len(groups),
        num_labelled=len(labelled),
        num_missing=len(groups) - len(labelled),
        num_positive=num_positive,
        num_needed=0 if highest[0] >= level else _num_needed(capital, minimum, level),
        reason="",
    )
    return replace(found, reason=_reason(found, minimum))


def _reason(found: Sensitivity, minimum: float) -> str:
    if math.isnan(found.low):
        return "no single sensitivity fits all answers: it changed, or the audit did not draw as declared"
    if found.is_below_minimum or found.is_above_minimum:
        return ""
    start = "" if found.num_positive else "no drawn group is known to be positive; "
    return (
        f"{start}too few labels: {found.num_missing} drawn groups lack one, and at least {found.num_needed} "
        f"further positive groups must be verified before a sensitivity of {minimum:g} can be shown"
    )


def _check(answers: pd.DataFrame, pi_min: float) -> None:
    missing = [name for name in COLUMNS if name not in answers]
    if missing:
        raise ValueError(f"answers lack the columns {first_offenders(missing)}")
    ids, label, probability = (answers[name] for name in ("prediction_id", "label", "probability_drawn"))
    flags = answers[["is_drawn", "is_caught"]]
    by_group = answers[_is_first(answers)].groupby("group_id")[["probability_drawn", "is_drawn"]].nunique()
    for what, offenders in (
        ("prediction_id is repeated", ids[ids.duplicated()]),
        ("group_id or time is missing", ids[answers[["group_id", "time"]].isna().any(axis=1)]),
        (f"probability_drawn is not in [{pi_min:g}, 1]", ids[~probability.between(pi_min, 1)]),
        ("label is not 1, 0 or nan", ids[label.notna() & ~label.isin([0, 1])]),
        ("is_drawn or is_caught is not true or false", ids[~flags.isin([False, True]).all(axis=1)]),
        ("probability_drawn or is_drawn differs in the group", by_group.index[(by_group > 1).any(axis=1)]),
    ):
        names = offenders.tolist()
        if names:
            raise ValueError(f"{what}: {first_offenders(names)}")


def _is_first(answers: pd.DataFrame) -> pd.Series:
    """Whether an answer is of its group's first time."""
    return answers["time"] == answers.groupby("group_id")["time"].transform("min")


def drawn_groups(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per drawn group, in order of time.

    Returns:
        `time`, `pi`, `is_labelled`, and the share of positive images that are caught if missing labels turn
        out worst (`least`) or best (`most`); nan for a group that counts as negative.
    """
    rows = answers[_is_first(answers) & answers["is_drawn"].astype(bool)]
    is_caught = rows["is_caught"].astype(float)
    rows = rows.assign(is_caught=is_caught, caught_of_positive=is_caught.where(rows["label"] == 1))
    by_group = rows.groupby("group_id")
    groups = by_group[["time", "probability_drawn"]].first().rename(columns={"probability_drawn": "pi"})
    groups["is_labelled"] = by_group["label"].count() == by_group["label"].size()
    share = by_group["caught_of_positive"].mean()
    is_any_missed, is_any_caught = by_group["is_caught"].min() == 0, by_group["is_caught"].max() == 1
    groups["least"] = share.where(groups["is_labelled"], is_any_missed.map({True: 0.0, False: math.nan}))
    groups["most"] = share.where(groups["is_labelled"], is_any_caught.map({True: 1.0, False: math.nan}))
    return groups.reset_index().sort_values(["time", "group_id"])


def _weighted_mean(groups: pd.DataFrame, name: str) -> float:
    """The mean of a share over the groups that have one, weighted by 1 / pi; nan without any."""
    counted = groups[groups[name].notna()]
    weight = 1 / counted["pi"]
    return float((weight * counted[name]).sum() / weight.sum()) if len(counted) else math.nan


def capital_of(
    groups: pd.DataFrame, share: pd.Series, candidates: np.ndarray, pi_min: float, plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """The capital that bets on a mean share of more than each candidate.

    Args:
        groups: Result of `drawn_groups`.
        share: Shape `(num_groups,)`, in [0, 1]; nan for groups that do not count.
        candidates: Shape `(num_candidates,)`, in (0, 1).
        pi_min: Least probability of a draw.
        plan: How the capital is invested.

    Returns:
        What the bets have now, times their number, shape `(num_bets, num_candidates)`, and the highest
        capital of the plan at the end of any `time`, shape `(num_candidates,)`. It starts at 1.
    """
    counted = share.notna().to_numpy()
    all_times = groups["time"].to_numpy()
    time = all_times[counted]
    is_last = np.append(time[1:] != time[:-1], True)  # the order within a time means nothing
    num_before = np.searchsorted(all_times, time, side="left")
    kept = (1 - plan.at_start) * (1 - plan.later) ** num_before  # not invested yet
    invested = -np.diff(kept, prepend=1 - plan.at_start)
    shares, ratios = share.to_numpy()[counted], pi_min / groups["pi"].to_numpy()[counted]
    bets = np.array(plan.bets)[:, None]
    capital = np.full((len(bets), len(candidates)), float(plan.at_start))
    highest = np.ones(len(candidates))
    for mine, ratio, more, rest, is_look in zip(shares, ratios, invested, kept, is_last, strict=False):
        capital += more
        capital *= 1 + bets * (ratio * (mine / candidates - 1))
        np.minimum(capital, MOST_CAPITAL, out=capital)
        if is_look:
            np.maximum(highest, capital.mean(axis=0) + rest, out=highest)
    return capital, highest


def _num_needed(capital: np.ndarray, minimum: float, level: float) -> int:
    """How many positive groups, all caught and drawn with `pi_min`, lift the capital to `level`."""
    growth = np.log1p(np.array(INTERVAL.bets)[:, None] * (1 / minimum - 1))
    return bisect_left(
        range(MOST_NEEDED),
        math.log(level),
        key=lambda num: float(logsumexp(num * growth, b=capital / len(INTERVAL.bets))),
    )
