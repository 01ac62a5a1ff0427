import json

import numpy as np
import pytest

from melanoma.scoring.operating_point import Calibration, OperatingPoint

POINT = OperatingPoint(Calibration(), threshold=0.4, refer_from=0.3, refer_to=0.6)


def test_the_three_answers_and_their_ends():
    probability = np.array([0.0, 0.29, 0.3, 0.4, 0.59, 0.6, 1.0])
    expected = ["negative", "negative", "refer", "refer", "refer", "positive", "positive"]
    assert POINT.decide(probability).tolist() == expected


def test_what_is_no_number_is_never_called_negative():
    assert POINT.decide(np.array([np.nan])).tolist() == ["refer"]


def test_a_threshold_of_ones_own_asks_for_two_answers():
    assert POINT.decide(np.array([0.49, 0.5]), 0.5).tolist() == ["negative", "positive"]
    assert POINT.decide(np.array([0.0]), 0.0).tolist() == ["positive"]


def test_an_empty_band_refers_nothing():
    point = OperatingPoint(Calibration(), threshold=0.4, refer_from=0.4, refer_to=0.4)
    assert set(point.decide(np.linspace(0, 1, 101))) == {"negative", "positive"}


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration(),
        Calibration("temperature", slope=0.5),
        Calibration("logistic", slope=0.7, intercept=-1.0),
        Calibration("isotonic", scores=(0.1, 0.5, 0.9), probabilities=(0.0, 0.25, 1.0)),
    ],
    ids=lambda calibration: calibration.method,
)
def test_what_goes_through_json_comes_back(calibration):
    point = OperatingPoint(calibration, 0.4, 0.3, 0.6, {"sensitivity": 1.0})
    assert OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict()))) == point


def test_calibrations_by_hand():
    half = np.array([0.5])
    assert Calibration().apply(half)[0] == 0.5
    assert Calibration("temperature", slope=2.0).apply(half)[0] == 0.5
    # odds of 1/4, squared: 1/16, which is a probability of 1/17
    assert Calibration("temperature", slope=2.0).apply(np.array([0.2]))[0] == pytest.approx(1 / 17)
    # odds of 1 times exp(-log 3)
    assert Calibration("logistic", intercept=-np.log(3)).apply(half)[0] == pytest.approx(1 / 4)
    isotonic = Calibration("isotonic", scores=(0.2, 0.6), probabilities=(0.1, 0.5))
    assert isotonic.apply(np.array([0.0, 0.2, 0.4, 0.6, 1.0])) == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])


def test_scores_of_exactly_0_and_1_stay_finite():
    probability = Calibration("logistic", slope=0.7, intercept=-1.0).apply(np.array([0.0, 1.0]))
    assert np.isfinite(probability).all()
    assert probability[0] < 0.01
    assert probability[1] > 0.99


def test_a_point_stored_before_its_prevalence_was_recorded_can_be_read():
    point = OperatingPoint(Calibration("logistic", slope=2.0, prevalence=0.2), 0.3, 0.2, 0.5)
    content = json.loads(json.dumps(point.to_dict()))
    assert OperatingPoint.from_dict(content).calibration.prevalence == 0.2
    del content["calibration"]["prevalence"]
    older = OperatingPoint.from_dict(content)
    assert older.calibration.prevalence is None
    score = np.linspace(0, 1, 5)
    assert older.calibration.apply(score).tolist() == point.calibration.apply(score).tolist()
