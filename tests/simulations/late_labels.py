"""Sensitivity of the model in use from an audit with late labels: coverage over time, delay of the alarm."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from melanoma.monitoring import sensitivity
from tests.simulations.rows import Row

SENSITIVITY, LOST, MINIMUM = 0.95, 0.80, 0.90
PI_MIN, PI_NEAR, NEAR_FACTOR = 0.05, 0.5, 0.5  # audit_fraction, audit_fraction_near, near_factor: params.yaml
BIOPSIED = {True: 0.9, False: 0.08}  # share of groups biopsied outside of the audit, by whether one is called
SEPARATION = 2.5  # distance of the two classes' normal scores
CORRELATION = 0.7  # of the scores of a group
NUM_DAYS, GROUPS_A_DAY, LEAST_LABELS = 365, 40, 30
LABEL_DELAY_DAYS = 21.0  # mean of an exponential distribution
ALPHA = 0.05
PREVALENCES = (0.07, 0.20)
QUIET_DAYS, LOST_DAYS = (0, 100, 365), 1_000  # before a loss, and after it
MAX_HISTORIES, MAX_LOST_HISTORIES = 1_000, 100


@dataclass(frozen=True)
class History:
    """Answers of one model in use.

    Attributes:
        answers: As `sensitivity.measure` takes them, with all labels.
        is_biopsied: Whether a group was biopsied outside of the audit, shape `(num_answers,)`.
        label_day: The day from which a label is known, shape `(num_answers,)`.
    """

    answers: pd.DataFrame
    is_biopsied: np.ndarray
    label_day: np.ndarray

    def known_on(self, day: int) -> pd.DataFrame:
        """The answers up to a day, with the labels known then."""
        is_known = self.label_day <= day
        shown = self.answers.assign(label=self.answers["label"].where(is_known))
        return shown[shown["time"] <= day]


def history(
    drawn: np.random.Generator,
    *,
    prevalence: float,
    num_days: int = NUM_DAYS,
    first_lost_day: int | None = None,
) -> History:
    """Groups of 1 to 3 images; from `first_lost_day` on, positive images score lower."""
    num_groups = num_days * GROUPS_A_DAY
    sizes = drawn.integers(1, 4, num_groups)
    group = np.repeat(np.arange(num_groups), sizes)
    day = group // GROUPS_A_DAY
    label = (drawn.random(num_groups) < prevalence).astype(float)[group]
    sensitivity_then = np.where(
        day < (num_days if first_lost_day is None else first_lost_day), SENSITIVITY, LOST
    )
    noise = np.sqrt(CORRELATION) * drawn.normal(size=num_groups)[group]
    noise += np.sqrt(1 - CORRELATION) * drawn.normal(size=len(group))
    threshold = SEPARATION - norm.ppf(SENSITIVITY)
    score = np.where(label == 1, threshold + norm.ppf(sensitivity_then), 0) + noise
    least_near = threshold - _near_width(threshold, prevalence)
    starts = np.searchsorted(group, np.arange(num_groups))
    is_near = np.maximum.reduceat((score < threshold) & (score >= least_near), starts)[group]
    pi = np.where(is_near, PI_NEAR, PI_MIN)
    is_caught = score >= threshold
    is_any_caught = np.maximum.reduceat(is_caught, starts)[group]
    chance = np.where(is_any_caught, BIOPSIED[True], BIOPSIED[False])
    answers = pd.DataFrame(
        {
            "prediction_id": np.arange(len(group)),
            "group_id": group,
            "time": day,
            "probability_drawn": pi,
            "is_drawn": drawn.random(num_groups)[group] < pi,
            "label": label,
            "is_caught": is_caught,
        }
    )
    delay = drawn.exponential(LABEL_DELAY_DAYS, num_groups)[group]
    return History(answers, drawn.random(num_groups)[group] < chance, day + delay)


def _near_width(threshold: float, prevalence: float) -> float:
    """How far below the threshold scores count as near: `NEAR_FACTOR` times its calibrated probability."""
    probability = expit(SEPARATION * threshold - SEPARATION**2 / 2 + logit(prevalence))
    return float(logit(probability) - logit(NEAR_FACTOR * probability)) / SEPARATION


def measured(answers: pd.DataFrame, *, minimum: float = MINIMUM) -> sensitivity.Sensitivity:
    """What `src` says of the answers, with the parameters of these simulations."""
    return sensitivity.measure(answers, minimum=minimum, pi_min=PI_MIN, alpha=ALPHA)


def is_alarm(answers: pd.DataFrame, plan: sensitivity.Plan) -> bool:
    """The alarm of `sensitivity.measure` alone, which is faster, with any plan."""
    groups = sensitivity.drawn_groups(answers)
    at_minimum = np.array([1 - MINIMUM])
    _, highest = sensitivity.capital_of(groups, 1 - groups["most"], at_minimum, PI_MIN, plan)
    return bool(highest[0] >= 1 / ALPHA)


def ever_misses(found: sensitivity.Sensitivity) -> bool:
    """Whether the sequence missed the truth at any time.

    Its intersection over time with all labels lies inside of what any earlier look with fewer labels gave.
    """
    return not found.low <= SENSITIVITY <= found.high


def wald_ever_misses(past: History, *, is_weighted: bool) -> bool:
    """Whether a Wald interval misses the truth at the end of any day from `LEAST_LABELS` positive groups on.

    Args:
        past: A history without a loss.
        is_weighted: Weight the groups of the audit by 1 / pi; otherwise all labels count alike.
    """
    answers = past.answers
    is_counted = answers["is_drawn"] | (past.is_biopsied & (not is_weighted))
    by_group = answers[is_counted & (answers["label"] == 1)].groupby("group_id")
    share, day = by_group["is_caught"].mean().to_numpy(), by_group["time"].first().to_numpy()
    weight = 1 / by_group["probability_drawn"].first().to_numpy() if is_weighted else np.ones(len(share))
    total, squares = np.cumsum(weight), np.cumsum(weight**2)
    mean = np.cumsum(weight * share) / total
    deviations = np.cumsum(weight**2 * share**2) - 2 * mean * np.cumsum(weight**2 * share) + mean**2 * squares
    half = norm.ppf(1 - ALPHA / 2) * np.sqrt(np.maximum(deviations, 0)) / total
    is_look = np.append(day[1:] != day[:-1], True) & (np.arange(len(day)) >= LEAST_LABELS - 1)
    return bool((np.abs(mean - SENSITIVITY) > half)[is_look].any())


def days_until_alarm(
    past: History, *, first_lost_day: int, num_days: int, plan: sensitivity.Plan = sensitivity.ALARM
) -> float:
    """Days from the loss to the alarm, with late labels; infinite without alarm, negative if it is false."""
    is_drawn = past.answers["is_drawn"].to_numpy()
    drawn = History(past.answers[is_drawn], past.is_biopsied[is_drawn], past.label_day[is_drawn])
    found = bisect_left(range(num_days), True, key=lambda day: is_alarm(drawn.known_on(day), plan))
    return found - first_lost_day if found < num_days else np.inf


def simulate(num: int, seed: int) -> list[Row]:
    """Share of histories whose interval ever misses the truth, of false alarms, and days to find a loss.

    There are at most `MAX_HISTORIES` histories without a loss, and `MAX_LOST_HISTORIES` per kind of loss.
    """
    rows: list[Row] = []
    for prevalence in PREVALENCES:
        errors = [history_errors(prevalence, (seed, at)) for at in range(min(num, MAX_HISTORIES))]
        rows += error_rows(np.array(errors), prevalence)
    for quiet in QUIET_DAYS:
        delays = [history_delays(quiet, (seed, at)) for at in range(min(num, MAX_LOST_HISTORIES))]
        rows.append(delay_row(np.array(delays), quiet))
    return rows


def history_errors(prevalence: float, seeds: tuple[int, ...]) -> tuple[bool, bool, bool, bool]:
    """Whether daily Wald intervals of all labels, those of the audit, and the sequence ever miss the truth.

    The last one is whether there is an alarm although the sensitivity is the minimum.
    """
    past = history(np.random.default_rng([*seeds, round(100 * prevalence)]), prevalence=prevalence)
    walds = [wald_ever_misses(past, is_weighted=is_weighted) for is_weighted in (False, True)]
    found = measured(past.answers[past.answers["is_drawn"]], minimum=SENSITIVITY)
    return walds[0], walds[1], ever_misses(found), found.is_below_minimum


def error_rows(errors: np.ndarray, prevalence: float) -> list[Row]:
    """Shares of histories; `errors` are results of `history_errors`, shape `(num, 4)`."""
    naive, weighted, sequence, alarm = errors.mean(axis=0)
    truth = f"{SENSITIVITY:g}, {prevalence:.0%} positive, {GROUPS_A_DAY} groups a day for {NUM_DAYS} days"
    return [
        Row(
            "sensitivity in use: histories in which the interval ever misses it",
            truth,
            f"at most {ALPHA:g}",
            f"{naive:.2f} (daily Wald, all labels), {weighted:.2f} (daily Wald, weighted audit)",
            f"{sequence:.3f}",
        ),
        Row(
            "sensitivity in use: histories with a false alarm",
            f"{truth}; minimum {SENSITIVITY:g}",
            f"at most {ALPHA:g}",
            "none",
            f"{alarm:.3f}",
        ),
    ]


def history_delays(quiet: int, seeds: tuple[int, ...]) -> tuple[float, float, float]:
    """Days from a loss to the alarm, before and after, and positive groups verified until then.

    Before, the whole capital was invested at the start, with the bets of the interval.
    """
    num_days, prevalence = quiet + LOST_DAYS, PREVALENCES[0]
    drawn = np.random.default_rng([*seeds, round(100 * prevalence), 1 + quiet])
    past = history(drawn, prevalence=prevalence, num_days=num_days, first_lost_day=quiet)
    before, after = (
        days_until_alarm(past, first_lost_day=quiet, num_days=num_days, plan=plan)
        for plan in (sensitivity.INTERVAL, sensitivity.ALARM)
    )
    since = past.answers["time"] >= quiet
    known = past.known_on(int(min(quiet + after, num_days)))
    is_verified = known["is_drawn"] & (known["label"] == 1) & since[known.index]
    return before, after, known.loc[is_verified, "group_id"].nunique()


def delay_row(delays: np.ndarray, quiet: int) -> Row:
    """Quantiles over histories; `delays` are results of `history_delays`, shape `(num, 3)`."""
    before, after, num_verified = delays.T
    num_false = (after < 0).sum()
    return Row(
        "sensitivity in use: days from a loss to the alarm",
        f"{SENSITIVITY:g}, after {quiet} days {LOST:g}; minimum {MINIMUM:g}; {PREVALENCES[0]:.0%} positive, "
        f"{GROUPS_A_DAY} groups a day, labels {LABEL_DELAY_DAYS:.0f} days late",
        f"{least_verified():.0f} verified positive groups on average, by the best test",
        _in_words(before),
        f"{_in_words(after)}; {np.median(num_verified):.0f} positive groups verified since the loss; "
        f"{num_false} of {len(after)} alarms before the loss",
    )


def least_verified() -> float:
    """Verified positive groups that even the best sequential test needs on average, drawn alike; see Wald."""
    nats = LOST * np.log(LOST / MINIMUM) + (1 - LOST) * np.log((1 - LOST) / (1 - MINIMUM))
    return float(np.log(1 / ALPHA) / nats)


def _in_words(delays: np.ndarray) -> str:
    middle, late = np.quantile(delays, (0.5, 0.9), method="higher")
    return f"median {middle:.0f}, 90 % within " + (f"{late:.0f}" if np.isfinite(late) else "more than 1,000")
