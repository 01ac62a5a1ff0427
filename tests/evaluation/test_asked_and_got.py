import json

import numpy as np
import pytest

from melanoma import files
from melanoma.evaluation import asked_and_got, intervals
from melanoma.evaluation.asked_and_got import NOT_RECORDED
from melanoma.evaluation.thresholds import choose, three_way
from melanoma.scoring.operating_point import Calibration, OperatingPoint

# Test images: positive groups a (0.9 and 0.35), b (0.5), c (0.1); negative groups d (0.05 and 0.5), e, f.
TARGET = np.array([1, 1, 1, 1, 0, 0, 0, 0])
PROBABILITY = np.array([0.9, 0.35, 0.5, 0.1, 0.05, 0.5, 0.2, 0.4])
GROUPS = np.array(["a", "a", "b", "c", "d", "d", "e", "f"])
POINT = OperatingPoint(Calibration(), threshold=0.4, refer_from=0.3, refer_to=0.5)


def test_groups_are_found_and_cleared_as_counted_by_hand():
    right = asked_and_got.groups_right(TARGET, PROBABILITY, GROUPS, point=POINT)
    assert {name: (hit.sum(), len(hit)) for name, hit in right.items()} == {
        "threshold": (1, 3),  # b alone: one image of a is missed
        "band_start": (2, 3),  # a and b
        "band_end": (2, 3),  # d has an image at the end, which is called positive
    }


def test_measured_on_test_are_shares_of_groups_with_exact_intervals():
    measured = asked_and_got.measure(TARGET, PROBABILITY, GROUPS, point=POINT)
    one, two = (intervals.rate(np.arange(3) < num, np.arange(3)) for num in (1, 2))
    assert measured == {"threshold": one, "band_start": two, "band_end": two}


def test_without_a_class_its_share_is_undefined_with_a_reason():
    measured = asked_and_got.measure(TARGET[4:], PROBABILITY[4:], GROUPS[4:], point=POINT)
    assert np.isnan(measured["threshold"]["value"])
    assert measured["threshold"]["undefined"]
    assert measured["band_end"]["value"] == 2 / 3


@pytest.fixture
def point(settings):
    """Chosen on four positive and four negative groups, and at most half referred."""
    target = np.repeat([1, 0], 4)
    probability = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.4, 0.2])
    wanted = settings.model_copy(
        update={"refer_min_sensitivity": 1.0, "refer_min_specificity": 1.0, "max_referred_fraction": 0.5}
    )
    chosen = choose(target, probability, np.arange(8), calibration=Calibration(), settings=wanted)
    return files.as_json(chosen.to_dict())


def test_the_table_of_the_counted_example(point):
    test = {
        "at_operating_point": asked_and_got.measure(TARGET, PROBABILITY, GROUPS, point=POINT),
        "three_way": three_way(TARGET, POINT.decide(PROBABILITY), GROUPS),
    }
    threshold, start, end, referred = asked_and_got.table(point, files.as_json(test))
    assert threshold == [
        "sensitivity at the threshold",
        "0.600",
        "0.75",
        "0.750 (3 of 4 groups)",
        "0.333 (0.008 to 0.906)",
        "0.249",  # 0.249 ** 4 + 4 * 0.751 * 0.249 ** 3 = 0.05
        "11 (18 with one miss)",
    ]
    assert start[1:4] == ["0.300", "1", "1.000 (4 of 4 groups)"]
    assert start[5:] == ["0.473", "no number is enough"]  # 0.05 ** (1 / 4)
    assert end[2:4] == ["1", "0.750 (3 of 4 groups)"]
    assert end[5] == "undefined"
    assert referred[:4] == [
        "referred fraction of all images",
        "-",
        "at most 0.5",
        "0.500",
    ]  # 0.3, 0.4, 0.5 and 0.6 of eight
    assert referred[5:] == ["-", "-"]
    assert len(asked_and_got.TITLES) == len(threshold)


def test_the_notes_say_what_is_not_guaranteed_and_what_a_guarantee_would_need(point):
    counted, guaranteed, undefined, cost = asked_and_got.notes(point)
    assert "positive groups, found if all their images are" in counted
    assert "with 95% confidence" in guaranteed
    assert undefined == (
        "Not guaranteed is the specificity at the end of the referral band: the band was narrowed, so its "
        "end does not follow from a rank of negative groups."
    )
    assert cost == (
        "4 positive groups cannot guarantee a sensitivity of 0.75 with 95% confidence: 11 are needed, with "
        "none missed."
    )


def test_the_cost_of_a_guarantee_is_told_where_there_are_enough_groups(settings):
    target, groups = np.repeat([1, 0], 20), np.arange(40)
    probability = np.r_[np.arange(1, 21) / 100, np.linspace(0.005, 0.195, 20)]
    point = choose(target, probability, groups, calibration=Calibration(), settings=settings).to_dict()
    # 15 of 20 score at least 0.06. At 0.75, at most 1 of 20 is missed with probability 0.024, 2 with 0.091.
    assert asked_and_got.notes(point)[-1] == (
        "The highest threshold that guarantees a sensitivity of 0.75 with 95% confidence is 0.020, with a "
        "specificity of 0.100 on the calibration images; without a guarantee it is 0.060, with a specificity "
        "of 0.300."
    )


def test_the_table_of_an_older_point_says_what_was_not_recorded(point):
    older = point | {"evidence": {"sensitivity": 1.0, "warnings": ["the band was narrowed"]}}
    measured = {"referred_fraction": {"value": 0.25, "low": 0.1, "high": 0.5}}
    table = asked_and_got.table(older, {"three_way": measured})
    assert table[0] == ["sensitivity at the threshold", "0.600", *[NOT_RECORDED] * 5]
    assert table[3] == [
        "referred fraction of all images",
        "-",
        NOT_RECORDED,
        NOT_RECORDED,
        "0.250 (0.100 to 0.500)",
        "-",
        "-",
    ]
    assert asked_and_got.notes(older) == [
        "What was asked of this operating point, and what is guaranteed, was not recorded."
    ]
    assert asked_and_got.described(older)["warnings"] == ["the band was narrowed"]


def test_it_all_goes_through_json(point):
    described = files.as_json(asked_and_got.described(point))
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert [row["name"] for row in described["rows"]] == ["threshold", "band_start", "band_end", "referred"]
    assert described["rows"][2]["guaranteed"] is None
