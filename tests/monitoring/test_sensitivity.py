import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from melanoma import config
from melanoma.monitoring import sensitivity
from melanoma.monitoring.sensitivity import ALARM, CANDIDATES, INTERVAL
from tests.simulations import late_labels as simulation

PARAMS = {"minimum": 0.9, "pi_min": 0.25, "alpha": 0.05}


def answers_of(*rows) -> pd.DataFrame:
    """Answers of one group each, in order of time: pi, whether drawn, label, whether caught."""
    frame = pd.DataFrame(rows, columns=["probability_drawn", "is_drawn", "label", "is_caught"])
    number = np.arange(len(frame))
    return frame.assign(
        prediction_id=number, group_id=number, time=number, label=frame["label"].astype(float)
    )


def caught_and_missed(num_caught: int, num_missed: int, *, pi: float = 0.25) -> pd.DataFrame:
    """Verified positive groups, the missed ones evenly among the caught ones."""
    num = num_caught + num_missed
    is_missed = np.diff(np.arange(num + 1) * num_missed // max(num, 1)) > 0
    return answers_of(*[(pi, True, 1, not missed) for missed in is_missed])


def two_images(labels: tuple, caught: tuple[bool, bool]) -> pd.DataFrame:
    """One drawn group of two images."""
    rows = answers_of(
        *[(0.25, True, label, is_caught) for label, is_caught in zip(labels, caught, strict=True)]
    )
    return rows.assign(group_id="lesion", time=0)


def measured(answers: pd.DataFrame, **changes) -> sensitivity.Sensitivity:
    return sensitivity.measure(answers, **PARAMS | changes)


def test_a_group_that_was_drawn_rarely_counts_for_more():
    found = measured(answers_of((0.25, True, 1, True), (0.5, True, 1, False), (0.5, True, 0, True)))
    assert found.estimate == pytest.approx(4 / 6)  # one caught of weight 4, one missed of weight 2
    assert (found.num_drawn, found.num_labelled, found.num_missing, found.num_positive) == (3, 3, 0, 2)


def test_a_biased_choice_of_biopsies_does_not_enter():
    # Of 1000 positive groups, 950 are caught. The audit drew a quarter of the caught ones and half of the
    # missed ones; of the others, 641 of 712 caught ones and 3 of 25 missed ones were biopsied.
    audit = [(0.25, True, 1, True)] * 238 + [(0.5, True, 1, False)] * 25
    biopsied = [(0.25, False, 1, True)] * 641 + [(0.5, False, 1, False)] * 3
    unknown = [(0.25, False, math.nan, True)] * 71 + [(0.5, False, math.nan, False)] * 22
    answers = answers_of(*audit, *biopsied, *unknown)
    assert answers_of(*biopsied)["is_caught"].mean() == pytest.approx(641 / 644)  # 0.995
    found = measured(answers)
    assert found.estimate == pytest.approx(952 / 1002)  # 0.950
    assert found == measured(answers[answers["is_drawn"]])


def test_a_group_counts_once_by_the_share_of_its_positive_images():
    assert measured(two_images((1, 1), (True, False))).estimate == 1 / 2
    assert measured(two_images((1, 0), (True, False))).estimate == 1
    assert measured(two_images((1, 0), (False, True))).num_positive == 1


def test_answers_after_the_first_time_of_a_group_are_left_out():
    later = two_images((1, 1), (True, False)).assign(time=[0, 1])
    assert measured(later) == measured(later.iloc[:1])
    assert measured(later).estimate == 1
    assert measured(later.assign(probability_drawn=[0.25, 1.0])) == measured(later)


def test_missing_labels_count_at_their_worst():
    known = [(0.25, True, 1, True)] * 3 + [(0.25, True, 1, False)]
    missing = [(0.25, True, math.nan, True), (0.5, True, math.nan, False)]
    found = measured(answers_of(*known, *missing))
    assert found.estimate == 12 / 16
    assert found.estimate_low == 12 / 18  # the one called negative is positive and missed
    assert found.estimate_high == 16 / 20  # the one called positive is positive and caught
    assert (found.num_drawn, found.num_labelled, found.num_missing) == (6, 4, 2)


def test_a_partly_labelled_group_may_be_missed_or_caught():
    rows = pd.concat([answers_of((0.25, True, 1, True)), two_images((1, math.nan), (True, False))])
    found = measured(rows.assign(prediction_id=range(3)))
    assert (found.estimate, found.estimate_low, found.estimate_high) == (1, 1 / 2, 1)
    assert found.num_missing == 1


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_complete_labels_only_narrow_the_interval(label):
    rng = np.random.default_rng(4)
    rows = [(0.25, True, 1, caught) for caught in rng.random(400) < 0.9]
    answers = answers_of(*rows)
    is_missing = rng.random(400) < 0.1
    full = measured(answers.assign(label=answers["label"].mask(is_missing, label)))
    late = measured(answers.assign(label=answers["label"].mask(is_missing)))
    assert late.low < full.low < full.high < late.high


def test_the_lower_end_is_that_of_the_capital_written_out():
    # 60 caught groups with pi_min: the capital of a bet is (1 - bet + bet / s) ** 60.
    bets = np.array(INTERVAL.bets)[:, None]
    capital = np.mean((1 - bets + bets / CANDIDATES) ** 60, axis=0)
    found = measured(caught_and_missed(60, 0))
    assert found.low == CANDIDATES[capital >= 40].max()
    assert found.high == 1
    mirrored = measured(caught_and_missed(0, 60))
    assert mirrored.low == 0
    assert mirrored.high == pytest.approx(1 - found.low)


def test_order_matters_only_through_time():
    answers = caught_and_missed(80, 20)
    same = answers.sample(frac=1, random_state=1)
    assert measured(same) == measured(answers)
    at_once = measured(answers.assign(time=0))
    assert at_once == measured(same.assign(time=0, group_id=np.arange(100)))
    missed_first = answers.sort_values("is_caught").assign(time=np.arange(100))
    assert (measured(missed_first).is_below_minimum, at_once.is_below_minimum) == (True, False)


def test_no_group_drawn_is_no_answer():
    found = measured(answers_of((0.25, False, 1, True)))
    assert math.isnan(found.estimate)
    assert math.isnan(found.estimate_low)
    assert (found.low, found.high, found.num_drawn) == (0, 1, 0)
    assert found.reason.startswith("no drawn group is known to be positive; too few labels: 0 drawn groups")
    assert measured(answers_of((0.25, False, 1, True)).iloc[:0]).reason == found.reason


def test_the_number_needed_is_the_least_that_suffices():
    needed = measured(caught_and_missed(0, 0)).num_needed
    assert (1 / 0.9) ** (needed + 20) > 40  # no bet grows faster
    assert measured(caught_and_missed(needed, 0)).is_above_minimum
    short = measured(caught_and_missed(needed - 1, 0))
    assert (short.is_above_minimum, short.num_needed) == (False, 1)
    assert short.reason == (
        "too few labels: 0 drawn groups lack one, and at least 1 further positive groups must be verified "
        "before a sensitivity of 0.9 can be shown"
    )
    assert measured(caught_and_missed(needed, 0)).reason == ""


def test_missing_labels_may_be_all_that_is_needed():
    needed = measured(caught_and_missed(0, 0)).num_needed
    missing = answers_of(*[(0.25, True, math.nan, False)] * 9).assign(
        time=-1, prediction_id=range(-9, 0), group_id=range(-9, 0)
    )
    found = measured(pd.concat([missing, caught_and_missed(needed, 0)]))
    assert (found.is_above_minimum, found.num_needed, found.num_missing) == (False, 0, 9)
    assert found.reason.startswith("too few labels: 9 drawn groups lack one, and at least 0 further")


def test_a_perfect_model_never_alarms_and_a_bad_one_does():
    perfect = measured(caught_and_missed(2000, 0))
    assert (perfect.is_below_minimum, perfect.is_above_minimum) == (False, True)
    assert perfect.low > 0.99
    bad = measured(caught_and_missed(350, 150))
    assert (bad.is_below_minimum, bad.is_above_minimum) == (True, False)
    assert bad.high < 0.9
    assert bad.reason == ""


def test_a_sensitivity_that_changes_leaves_the_interval_empty():
    rows = [(0.25, True, 1, True)] * 500 + [(0.25, True, 1, False)] * 500
    found = measured(answers_of(*rows))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.is_below_minimum
    assert found.reason.startswith("no single sensitivity fits all answers")


def test_parameters_out_of_range_are_refused():
    answers = caught_and_missed(3, 1)
    for change in ({"minimum": 1.0}, {"minimum": 0.0}, {"alpha": 0.0}, {"pi_min": 0.0}, {"pi_min": 1.1}):
        with pytest.raises(ValueError, match="must be in"):
            measured(answers, **change)
    assert measured(caught_and_missed(3, 1, pi=1.0), pi_min=1.0).estimate == 3 / 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probability_drawn": 0.2}, r"probability_drawn is not in \[0.25, 1\]: 0, 1, 2, 3, 4 and 1 more"),
        ({"probability_drawn": 1.01}, "probability_drawn is not in"),
        ({"probability_drawn": math.nan}, "probability_drawn is not in"),
        ({"label": 2.0}, "label is not 1, 0 or nan"),
        ({"prediction_id": 7}, "prediction_id is repeated: 7, 7, 7, 7, 7$"),
        ({"group_id": None}, "group_id or time is missing"),
        ({"is_caught": "yes"}, "is_drawn or is_caught is not true or false"),
        ({"group_id": 0, "time": 0, "is_drawn": [True, False] * 3}, "differs in the group: 0$"),
    ],
)
def test_answers_out_of_range_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        measured(caught_and_missed(4, 2).assign(**change))


def test_legal_answers_at_the_bounds_pass():
    answers = caught_and_missed(4, 2)
    assert measured(answers.assign(probability_drawn=1.0)).estimate == pytest.approx(4 / 6)
    assert measured(answers.assign(group_id=0, time=0)).estimate == pytest.approx(4 / 6)
    assert measured(answers.assign(label=math.nan)).num_missing == 6


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"lack the columns time, label$"):
        measured(caught_and_missed(1, 0).drop(columns=["label", "time"]))


def test_the_alarm_is_that_of_the_capital_written_out():
    """Missed groups with `pi_min`: each lets a bet's capital grow by 1 + 9 * bet. Half is invested later."""
    for num, is_reached in ((2, False), (3, True)):
        capital = np.full(3, 0.5)
        for at in range(num):
            capital += 0 if at == 0 else 0.5 * 0.999 ** (at - 1) * 0.001
            capital *= 1 + 9 * np.array([0.1, 0.2, 0.4])
        assert bool(capital.mean() + 0.5 * 0.999 ** (num - 1) >= 20) == is_reached
        assert measured(caught_and_missed(0, num)).is_below_minimum == is_reached


def test_negative_groups_of_the_audit_only_pass_time():
    positive = caught_and_missed(80, 20).assign(is_negative=0)
    negative = answers_of(*[(0.25, True, 0, True)] * 300).assign(is_negative=1, time=-1)
    both = pd.concat([positive, negative]).assign(prediction_id=range(400), group_id=range(400))
    found, alone = measured(both), measured(positive)
    assert (found.low, found.high, found.estimate) == (alone.low, alone.high, alone.estimate)
    groups = sensitivity.drawn_groups(both)
    args = (1 - groups["most"], np.array([0.1]), 0.25)
    _, of_both = sensitivity.capital_of(groups, *args, ALARM)
    positive_groups = sensitivity.drawn_groups(positive)
    _, of_alone = sensitivity.capital_of(positive_groups, 1 - positive_groups["most"], *args[1:], ALARM)
    assert of_both != of_alone  # more was invested before the first positive group


@pytest.mark.parametrize("num_quiet", [0, 200, 2000])
def test_a_loss_is_found_soon_after_a_long_good_time(num_quiet):
    """The best constant bet alone needs ever more missed groups, the longer the good time before was."""
    quiet = caught_and_missed(num_quiet * 19 // 20, num_quiet // 20)
    lost = caught_and_missed(400, 100).assign(time=lambda rows: rows["time"] + num_quiet)
    answers = pd.concat([quiet, lost]).assign(prediction_id=range(num_quiet + 500))
    groups = sensitivity.drawn_groups(answers.assign(group_id=answers["prediction_id"]))
    _, with_starts = sensitivity.capital_of(groups, 1 - groups["most"], np.array([0.1]), 0.25, ALARM)
    _, constant = sensitivity.capital_of(groups, 1 - groups["most"], np.array([0.1]), 0.25, INTERVAL)
    assert with_starts >= 20
    assert (constant >= 20) == (num_quiet < 2000)


def test_more_missed_groups_never_take_an_alarm_back():
    rng = np.random.default_rng(5)
    for _ in range(20):
        is_caught = rng.random(120) < 0.85
        fewer = is_caught & (rng.random(120) < 0.9)
        capital = [
            sensitivity.capital_of(
                (groups := sensitivity.drawn_groups(answers_of(*[(0.25, True, 1, one) for one in caught]))),
                1 - groups["most"],
                np.array([0.1]),
                0.25,
                ALARM,
            )[1]
            for caught in (is_caught, fewer)
        ]
        assert capital[0] <= capital[1]


def test_in_a_thousand_histories_neither_interval_nor_alarm_errs_too_often():
    """At a sensitivity of 0.9; misses are drawn with 0.5 if they are near the threshold, else with 0.05."""
    rng, num, truth = np.random.default_rng(3), 1000, 0.9
    errors = np.zeros((num, 2), dtype=bool)
    for at in range(num):
        missed = rng.random(1000) > truth
        pi = np.where(missed & (rng.random(1000) < 0.4), 0.5, 0.05)
        is_drawn = rng.random(1000) < pi
        groups = pd.DataFrame({"time": np.arange(is_drawn.sum()), "pi": pi[is_drawn]})
        share = pd.Series(missed[is_drawn].astype(float))

        def highest(share, candidate, plan, groups=groups):
            return sensitivity.capital_of(groups, share, np.array([candidate]), 0.05, plan)[1][0]

        sides = highest(share, 1 - truth, INTERVAL), highest(1 - share, truth, INTERVAL)
        errors[at] = max(sides) >= 2 / 0.05, highest(share, 1 - truth, ALARM) >= 1 / 0.05
    assert (errors.mean(axis=0) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / num)).all()
    assert errors[:, 1].any()


def test_the_simulation_draws_as_the_audit_is_declared_to():
    queue = config.load(Path("params.yaml")).queue
    declared = (queue.audit_fraction, queue.audit_fraction_near, queue.near_factor)
    assert declared == (simulation.PI_MIN, simulation.PI_NEAR, simulation.NEAR_FACTOR)


def test_simulated_histories_keep_the_truth_where_repeated_wald_intervals_lose_it():
    rng, num = np.random.default_rng(8), 60
    past = [simulation.history(rng, prevalence=0.2, num_days=150) for _ in range(num)]
    found = [simulation.measured(one.answers, minimum=simulation.SENSITIVITY) for one in past]
    most = binom.ppf(0.999, num, simulation.ALPHA)
    assert sum(simulation.ever_misses(one) for one in found) <= most
    assert sum(one.is_below_minimum for one in found) <= most
    for is_weighted in (False, True):
        num_wald = sum(simulation.wald_ever_misses(one, is_weighted=is_weighted) for one in past)
        assert num_wald > 0.3 * num


def test_no_look_at_late_labels_is_narrower_than_all_labels():
    past = simulation.history(np.random.default_rng(9), prevalence=0.2, num_days=150)
    looks = [simulation.measured(past.known_on(day)) for day in range(0, 150, 30)]
    full = simulation.measured(past.answers)
    assert all(look.low <= full.low and look.high >= full.high for look in looks)
    assert looks[-1].num_missing > 0
    assert looks[-1].estimate_low <= looks[-1].estimate <= looks[-1].estimate_high


def test_a_simulated_loss_is_found_after_it_happened():
    past = simulation.history(np.random.default_rng(2), prevalence=0.2, num_days=400, first_lost_day=20)
    day = simulation.days_until_alarm(past, first_lost_day=20, num_days=400)
    assert 0 < day < 380
    for late, is_below in ((0, True), (1, False)):
        assert simulation.measured(past.known_on(int(20 + day - late))).is_below_minimum is is_below
