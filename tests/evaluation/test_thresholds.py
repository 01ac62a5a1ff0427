import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from melanoma import config
from melanoma.errors import DataError
from melanoma.evaluation.thresholds import choose, three_way, threshold_for_sensitivity
from melanoma.scoring.operating_point import Calibration
from tests.imports import ROOT

pytestmark = pytest.mark.filterwarnings("error")

WANTED = config.load(ROOT / "params.yaml").evaluate


def sensitivity(target: np.ndarray, probability: np.ndarray, threshold: float) -> float:
    return float(np.mean(probability[target == 1] >= threshold))


@pytest.mark.parametrize(
    ("min_sensitivity", "expected"),
    [
        (1 / 100, 0.9),
        (1 / 4, 0.9),
        (26 / 100, 0.8),
        (1 / 2, 0.8),
        (3 / 4, 0.6),
        (76 / 100, 0.3),
        (1.0, 0.3),
    ],
)
def test_the_threshold_of_the_counted_example(counted, min_sensitivity, expected):
    # the four malignant images have 0.9, 0.8, 0.6 and 0.3
    assert threshold_for_sensitivity(*counted, min_sensitivity=min_sensitivity) == expected


def test_95_percent_of_20_are_exactly_19():
    probability = np.arange(1, 21) / 100
    threshold = threshold_for_sensitivity(np.ones(20), probability, min_sensitivity=0.95)
    assert threshold == 2 / 100  # the lowest of the 20 may be lost, the next may not


@pytest.mark.parametrize("min_percent", range(1, 101))
def test_a_whole_number_of_images_is_not_rounded_up(min_percent):
    # 0.07 * 100 is 7.000000000000001 and 0.55 * 100 is 55.00000000000001
    probability = np.arange(1, 101) / 1000
    threshold = threshold_for_sensitivity(np.ones(100), probability, min_sensitivity=min_percent / 100)
    assert (probability >= threshold).sum() == min_percent


def test_malignant_images_with_the_same_score_are_found_together():
    target = np.array([1, 1, 1, 1, 0])
    probability = np.array([0.9, 0.4, 0.4, 0.4, 0.4])
    threshold = threshold_for_sensitivity(target, probability, min_sensitivity=0.5)
    assert threshold == 0.4
    assert sensitivity(target, probability, threshold) == 1


def test_benign_scores_play_no_part():
    target = np.array([1, 1, 0, 0])
    for benign in (0.1, 0.5, 0.99):
        probability = np.array([0.8, 0.6, benign, benign])
        assert threshold_for_sensitivity(target, probability, min_sensitivity=1.0) == 0.6


def test_one_malignant_image_is_enough():
    assert threshold_for_sensitivity(np.array([0, 1]), np.array([0.9, 0.2]), min_sensitivity=0.1) == 0.2


@pytest.mark.parametrize("num_benign", [0, 3])
def test_a_split_without_malignant_images_is_refused(num_benign):
    with pytest.raises(DataError, match="no malignant image"):
        threshold_for_sensitivity(np.zeros(num_benign), np.full(num_benign, 0.5), min_sensitivity=0.95)


@hypothesis_settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=40).filter(
        lambda rows: any(target for target, _ in rows)
    ),
    st.integers(1, 100),
)
def test_the_threshold_is_the_highest_that_reaches_the_sensitivity(rows, min_percent):
    target, score = (np.array(column) for column in zip(*rows, strict=True))
    probability, wanted = score / 20, min_percent / 100
    threshold = threshold_for_sensitivity(target, probability, min_sensitivity=wanted)
    assert sensitivity(target, probability, threshold) >= wanted - 1e-9
    higher = [value for value in probability[target == 1] if value > threshold]
    if higher:
        assert sensitivity(target, probability, min(higher)) < wanted


# Four malignant and six benign validation images, each a group of its own.
TARGET = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
PROBABILITY = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.4, 0.2, 0.1, 0.1])
GROUPS = np.array([f"group_{number}" for number in range(10)])


def chosen(settings, groups=GROUPS, **changes):
    wanted = settings.model_copy(
        update={"refer_min_sensitivity": 1.0, "refer_min_specificity": 5 / 6} | changes
    )
    return choose(TARGET, PROBABILITY, groups, calibration=Calibration(), settings=wanted)


def test_the_operating_point_of_the_counted_example(settings):
    # three of four found: 0.6; all found: 0.3; five of six benign ones lie below what comes after 0.5
    point = chosen(settings)
    assert (point.threshold, point.refer_from) == (0.6, 0.3)
    assert point.refer_to == point.threshold  # just above 0.5, and never below the threshold
    assert point.decide(np.array([0.29, 0.3, 0.59, 0.6])).tolist() == [
        "benign",
        "refer",
        "refer",
        "malignant",
    ]


def test_the_band_reaches_up_to_where_few_benign_images_are_left(settings):
    point = chosen(settings, refer_min_specificity=1.0)
    assert 0.7 < point.refer_to < 0.7000001
    assert point.decide(PROBABILITY[:5]).tolist() == ["malignant", "malignant", "refer", "refer", "refer"]


def test_the_evidence_is_that_of_validation(settings):
    evidence = chosen(settings).evidence
    assert (evidence["num_images"], evidence["num_malignant"], evidence["num_malignant_groups"]) == (10, 4, 4)
    assert evidence["sensitivity"] == 3 / 4
    assert evidence["specificity"] == 5 / 6
    assert evidence["referred_fraction"] == 3 / 10  # 0.3, 0.4 and 0.5
    assert evidence["malignant_called_benign"] == 0
    assert evidence["benign_called_malignant"] == 1


def test_the_evidence_says_what_did_not_come_out_as_asked_for(settings):
    assert chosen(settings).evidence["warnings"] == []
    narrowed = chosen(settings, max_referred_fraction=0.1).evidence["warnings"]
    assert narrowed == ["the referral band was narrowed, because it had more than 0.1 of the images"]
    # a calibration was asked for, and none was fitted
    turned = chosen(settings, calibration="logistic").evidence["warnings"]
    assert len(turned) == 1
    assert turned[0].startswith("not calibrated: on validation, higher scores mean benign")


def test_the_lower_bound_is_exact_and_by_group(settings):
    # Clopper and Pearson: all of n found -> (0.025) ** (1 / n)
    assert chosen(settings, min_sensitivity=1.0).evidence["sensitivity_lower_bound"] == pytest.approx(
        0.025 ** (1 / 4)
    )
    together = np.array(["a", "a", "b", "b", *GROUPS[4:]])
    evidence = chosen(settings, together, min_sensitivity=1.0).evidence
    assert evidence["num_malignant_groups"] == 2
    assert evidence["sensitivity_lower_bound"] == pytest.approx(0.025 ** (1 / 2))


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
    with pytest.raises(DataError, match="no benign image"):
        choose(np.ones(4), np.linspace(0, 1, 4), GROUPS[:4], calibration=Calibration(), settings=settings)


def test_the_outcome_of_three_answers_by_hand():
    target = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    decision = np.array(
        ["benign", "refer", "malignant", "malignant"] + ["benign"] * 3 + ["refer", "malignant"]
    )
    outcome = three_way(target, decision, np.arange(9).astype(str))
    assert outcome["counts"] == {
        "malignant": {"benign": 1, "refer": 1, "malignant": 2},
        "benign": {"benign": 3, "refer": 1, "malignant": 1},
    }
    assert outcome["referred_fraction"]["value"] == 2 / 9
    assert outcome["missed_fraction"]["value"] == 1 / 4
    assert outcome["false_alarm_fraction"]["value"] == 1 / 5
    assert outcome["missed_fraction"]["low"] < 1 / 4 < outcome["missed_fraction"]["high"]


def test_shares_of_a_class_that_is_absent_are_undefined():
    outcome = three_way(np.zeros(3), np.array(["benign"] * 3), np.arange(3).astype(str))
    assert np.isnan(outcome["missed_fraction"]["value"])
    assert outcome["false_alarm_fraction"]["value"] == 0
