import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from melanoma import config
from melanoma.errors import DataError
from melanoma.evaluation.guarantee import guaranteed_share
from melanoma.evaluation.thresholds import choose, three_way
from melanoma.scoring.operating_point import Calibration
from tests.imports import ROOT

pytestmark = pytest.mark.filterwarnings("error")

WANTED = config.load(ROOT / "params.yaml").evaluate


# Four positive and six negative validation images, each a group of its own.
TARGET = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
PROBABILITY = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.4, 0.2, 0.1, 0.1])
GROUPS = np.array([f"group_{number}" for number in range(10)])


def chosen(settings, groups=GROUPS, **changes):
    wanted = settings.model_copy(
        update={"refer_min_sensitivity": 1.0, "refer_min_specificity": 5 / 6} | changes
    )
    return choose(TARGET, PROBABILITY, groups, calibration=Calibration(), settings=wanted)


def test_the_operating_point_of_the_counted_example(settings):
    # three of four found: 0.6; all found: 0.3; five of six negative ones lie below what comes after 0.5
    point = chosen(settings)
    assert (point.threshold, point.refer_from) == (0.6, 0.3)
    assert point.refer_to == point.threshold  # just above 0.5, and never below the threshold
    assert point.decide(np.array([0.29, 0.3, 0.59, 0.6])).tolist() == [
        "negative",
        "refer",
        "refer",
        "positive",
    ]


def test_the_band_reaches_up_to_where_few_benign_images_are_left(settings):
    point = chosen(settings, refer_min_specificity=1.0)
    assert 0.7 < point.refer_to < 0.7000001
    assert point.decide(PROBABILITY[:5]).tolist() == ["positive", "positive", "refer", "refer", "refer"]


def test_the_evidence_is_that_of_validation(settings):
    evidence = chosen(settings).evidence
    assert (evidence["num_images"], evidence["num_malignant"], evidence["num_malignant_groups"]) == (10, 4, 4)
    assert evidence["sensitivity"] == 3 / 4
    assert evidence["specificity"] == 5 / 6
    assert evidence["referred_fraction"] == 3 / 10  # 0.3, 0.4 and 0.5
    assert evidence["malignant_called_benign"] == 0
    assert evidence["benign_called_malignant"] == 1


def test_the_threshold_counts_malignant_groups_by_their_lowest_image(settings):
    # Three groups: 0.9 and 0.3 of one lesion, 0.8, 0.6. Two of three groups score at least 0.6.
    groups = np.array(["a", "b", "c", "a", *GROUPS[4:]])
    assert chosen(settings, groups, min_sensitivity=2 / 3).threshold == 0.6
    # Counted by image, three of four images would be found there; by group, 3 of 4 need the lowest one.
    assert chosen(settings, groups, min_sensitivity=3 / 4).threshold == 0.3
    assert chosen(settings, min_sensitivity=3 / 4).threshold == 0.6


def test_many_images_of_one_found_lesion_do_not_hide_missed_lesions(settings):
    target = np.r_[np.ones(19), 1, np.zeros(2)]
    probability = np.r_[np.full(19, 0.9), 0.1, 0.05, 0.5]
    groups = np.array(["many"] * 19 + ["one", "b1", "b2"])
    wanted = settings.model_copy(update={"min_sensitivity": 0.95})
    point = choose(target, probability, groups, calibration=Calibration(), settings=wanted)
    assert point.threshold == 0.1  # 19 of 20 images score 0.9, but only one of two groups


def test_the_end_of_the_band_counts_benign_groups_by_their_highest_image(settings):
    # Benign images 0.7 0.5 0.4 0.2 0.1 0.1; the group of 0.5 and 0.1 is cleared above 0.5 only.
    groups = np.array([*GROUPS[:4], "x", "y", "z", "u", "y", "v"])
    point = chosen(settings, groups, refer_min_specificity=4 / 5, min_sensitivity=0.1)
    assert point.threshold == 0.9
    assert point.refer_to == 0.9
    evidence = chosen(settings, groups, refer_min_specificity=4 / 5).evidence["asked_and_got"]["band_end"]
    assert (evidence["num_right"], evidence["num_groups"]) == (4, 5)


def test_asked_and_got_of_the_counted_example(settings):
    rows = chosen(settings).evidence["asked_and_got"]
    got = {name: (row["asked"], row["got"]) for name, row in rows.items()}
    assert got == {
        "threshold": (3 / 4, 3 / 4),
        "band_start": (1.0, 1.0),
        "band_end": (5 / 6, 5 / 6),
        "referred": (1.0, 3 / 10),
    }
    assert rows["threshold"]["guaranteed"] == guaranteed_share(2, 4, confidence=0.95)
    assert rows["band_start"]["guaranteed"] == pytest.approx(0.05 ** (1 / 4))
    # just above the second highest negative group, of six
    assert rows["band_end"]["guaranteed"] == guaranteed_share(2, 6, confidence=0.95)
    assert rows["threshold"]["groups_needed"] == [11, 18]  # 0.75 ** 11 = 0.042
    assert rows["band_start"]["groups_needed"] == [None, None]


def narrow(num_calibration: int = 488):
    """Like the published cohort joint: one in five positive, scores that hardly separate."""
    generator = np.random.default_rng(3)
    target = np.r_[np.ones(98), np.zeros(num_calibration - 98)]
    probability = 1 / (1 + np.exp(-generator.normal(0.5 * target - 1.5, 0.7)))
    return target, probability, np.arange(num_calibration).astype(str)


def test_a_narrowed_band_says_what_was_asked_and_what_it_got():
    point = choose(*narrow(), calibration=Calibration("logistic"), settings=WANTED)
    row = point.evidence["asked_and_got"]["band_end"]
    (warning,) = point.evidence["warnings"]
    assert warning.startswith("the referral band was narrowed from above, because it held ")
    assert warning.endswith(f"the specificity at its end is {row['got']:.3f}, 0.95 was asked")
    assert row["got"] < 0.5
    assert np.isnan(row["guaranteed"])
    assert (
        row["undefined"] == "the band was narrowed, so its end does not follow from a rank of negative groups"
    )
    # The start of the band was not moved and keeps its rank: the lowest of 98 groups.
    assert point.evidence["asked_and_got"]["band_start"]["guaranteed"] == pytest.approx(0.05 ** (1 / 98))


def test_a_band_narrowed_from_below_keeps_the_guarantee_of_the_threshold(settings):
    point = chosen(settings, max_referred_fraction=0.1)
    (warning,) = point.evidence["warnings"]  # the band ends at the threshold, so nothing can go above it
    assert warning == (
        "the referral band was narrowed from below, because it held 30% of the calibration images and at "
        "most 10% may be referred: the sensitivity at its start is 0.750, 1 was asked"
    )
    rows = point.evidence["asked_and_got"]
    assert rows["band_start"]["guaranteed"] == rows["threshold"]["guaranteed"]


def test_nothing_is_warned_of_where_all_came_out_as_asked(settings):
    assert chosen(settings).evidence["warnings"] == []


def test_a_calibration_that_was_asked_for_and_not_fitted_is_a_warning(settings):
    (turned,) = chosen(settings, calibration="logistic").evidence["warnings"]
    assert turned.startswith("not calibrated: on validation, higher scores mean negative")


def test_equal_scores_are_a_warning_and_no_separation(settings):
    point = choose(TARGET, np.full(10, 0.4), GROUPS, calibration=Calibration(), settings=settings)
    (warning,) = point.evidence["warnings"]
    assert warning.startswith("all calibration images have the same probability")
    assert (point.evidence["sensitivity"], point.evidence["specificity"]) == (1, 0)


def test_one_malignant_group_guarantees_almost_nothing(settings):
    target, groups = np.r_[1, np.zeros(9)], GROUPS
    point = choose(target, PROBABILITY, groups, calibration=Calibration(), settings=settings)
    assert point.threshold == 0.9
    assert point.evidence["asked_and_got"]["threshold"]["guaranteed"] == pytest.approx(0.05)


@hypothesis_settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 9)), min_size=2, max_size=40
    ).filter(lambda rows: len({target for target, _, _ in rows}) == 2),
    st.integers(1, 100),
)
def test_the_threshold_is_the_highest_that_finds_enough_groups(rows, min_percent):
    target, score, group = (np.array(column) for column in zip(*rows, strict=True))
    wanted = WANTED.model_copy(update={"min_sensitivity": min_percent / 100})
    point = choose(target, score / 20, group.astype(str), calibration=Calibration(), settings=wanted)
    found = pd.Series((score / 20)[target == 1]).groupby(group[target == 1]).min()
    assert (found >= point.threshold).mean() >= min_percent / 100 - 1e-9
    assert (found > point.threshold).mean() < min_percent / 100


def test_scores_that_are_no_numbers_are_refused_with_the_first_five(settings):
    probability = np.where(np.arange(10) < 7, np.nan, PROBABILITY)
    with pytest.raises(DataError, match=r"7 of 10 calibration images .*: group_0, .*, group_4 and 2 more"):
        choose(TARGET, probability, GROUPS, calibration=Calibration(), settings=settings)


def ranked(num_malignant: int, num_benign: int = 40):
    """Malignant groups at 0.01, 0.02, …; negative ones spread below and among them."""
    probability = np.r_[np.arange(1, num_malignant + 1) / 1000, np.linspace(0, 0.2, num_benign)]
    target = np.r_[np.ones(num_malignant), np.zeros(num_benign)]
    return target, probability, np.arange(len(target)).astype(str)


@pytest.mark.parametrize(
    ("num_groups", "plain", "guaranteed"),
    [(100, 0.006, 0.002), (93, 0.005, 0.002), (92, 0.005, 0.001), (59, 0.003, 0.001)],
)
def test_a_confidence_moves_the_threshold_to_the_guaranteed_rank(num_groups, plain, guaranteed):
    asked = WANTED.model_copy(update={"max_referred_fraction": 1.0, "refer_min_sensitivity": 0.95})
    sure = asked.model_copy(update={"sensitivity_confidence": 0.95})
    images = ranked(num_groups)
    before = choose(*images, calibration=Calibration("logistic"), settings=asked)
    after = choose(*images, calibration=Calibration("logistic"), settings=sure)
    assert (before.threshold, after.threshold, after.refer_from) == (plain, guaranteed, guaranteed)
    assert after.evidence["asked_and_got"]["threshold"]["guaranteed"] >= 0.95
    assert before.evidence["asked_and_got"]["threshold"]["guaranteed"] < 0.95
    # Both show what the guarantee costs.
    assert before.evidence["choices"] == after.evidence["choices"]
    choices = after.evidence["choices"]
    assert choices["plain"]["threshold"] == plain
    assert choices["guaranteed"] == {
        "threshold": guaranteed,
        "specificity": after.evidence["specificity"],
    }
    assert choices["guaranteed"]["specificity"] <= choices["plain"]["specificity"]
    assert after.evidence["warnings"] == []


def test_too_few_groups_for_a_guarantee_are_a_warning_with_the_number_needed():
    sure = WANTED.model_copy(update={"sensitivity_confidence": 0.95, "max_referred_fraction": 1.0})
    point = choose(*ranked(58), calibration=Calibration("logistic"), settings=sure)
    assert point.threshold == 0.001
    assert point.evidence["choices"]["guaranteed"] is None
    threshold, start = point.evidence["warnings"]
    assert threshold == (
        "58 positive groups cannot guarantee a sensitivity of 0.95 with 95% confidence, 59 are needed: the "
        "threshold is at the lowest positive group"
    )
    assert "sensitivity of 0.99 with 95% confidence, 299 are needed: the start of the referral" in start


@pytest.mark.parametrize(("allowed", "referred"), [(0.5, 5), (0.3, 3), (0.2, 2), (0.1, 1), (0.0, 0)])
def test_a_band_that_holds_too_many_is_narrowed_from_above_and_then_from_below(settings, allowed, referred):
    point = chosen(settings, refer_min_specificity=1.0, max_referred_fraction=allowed)
    assert (point.decide(PROBABILITY) == "refer").sum() <= round(allowed * 10)
    assert point.refer_from <= point.threshold <= point.refer_to
    assert (point.decide(PROBABILITY) == "refer").sum() == referred


@hypothesis_settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=40).filter(
        lambda rows: len({target for target, _ in rows}) == 2
    ),
    st.integers(0, 10),
)
def test_whatever_the_scores_the_band_surrounds_the_threshold_and_holds_no_more_than_allowed(rows, tenths):
    target, score = (np.array(column) for column in zip(*rows, strict=True))
    wanted = WANTED.model_copy(update={"max_referred_fraction": tenths / 10})
    groups = np.arange(len(target)).astype(str)
    point = choose(target, score / 12, groups, calibration=Calibration(), settings=wanted)
    assert point.refer_from <= point.threshold <= point.refer_to
    referred = (point.decide(score / 12) == "refer").mean()
    assert referred <= tenths / 10 + 1e-9


def test_a_split_without_benign_images_is_refused(settings):
    with pytest.raises(DataError, match="no negative image"):
        choose(np.ones(4), np.linspace(0, 1, 4), GROUPS[:4], calibration=Calibration(), settings=settings)


def test_the_outcome_of_three_answers_by_hand():
    target = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    decision = np.array(
        ["negative", "refer", "positive", "positive"] + ["negative"] * 3 + ["refer", "positive"]
    )
    outcome = three_way(target, decision, np.arange(9).astype(str))
    assert outcome["counts"] == {
        "positive": {"negative": 1, "refer": 1, "positive": 2},
        "negative": {"negative": 3, "refer": 1, "positive": 1},
    }
    assert outcome["referred_fraction"]["value"] == 2 / 9
    assert outcome["missed_fraction"]["value"] == 1 / 4
    assert outcome["false_alarm_fraction"]["value"] == 1 / 5
    assert outcome["missed_fraction"]["low"] < 1 / 4 < outcome["missed_fraction"]["high"]


def test_shares_of_a_class_that_is_absent_are_undefined():
    outcome = three_way(np.zeros(3), np.array(["negative"] * 3), np.arange(3).astype(str))
    assert np.isnan(outcome["missed_fraction"]["value"])
    assert outcome["false_alarm_fraction"]["value"] == 0
