import numpy as np
from scipy.special import expit

from melanoma.monitoring.recalibration import Labelled
from melanoma.scoring.operating_point import Calibration, OperatingPoint
from tests.benchmarks import bench_recalibrate

OWN = OperatingPoint(Calibration("logistic"), 0.5, 0.4, 0.6)


def test_a_planted_shift_is_measured_before_and_mended_after(params, monkeypatch):
    monkeypatch.setattr(bench_recalibrate, "NUM_LABELS", (200,))
    generator = np.random.default_rng(1)
    log_odds = generator.normal(-2, 1.5, 4000)
    target = (generator.random(4000) < expit(log_odds + 1.5)).astype(int)
    labelled = Labelled(target, expit(log_odds), np.arange(4000).astype(str))
    draws = bench_recalibrate.measure(labelled, OWN, params, 5)
    assert draws["helps"].tolist() == [True] * 5
    assert draws["before_intercept"].between(1.3, 1.7).all()
    assert abs(draws["after_intercept"].median()) < 0.3
    assert draws["after_sensitivity"].min() > draws["before_sensitivity"].max()
    rows = bench_recalibrate.describe(draws)
    assert [row[2] for row in rows] == ["5 of 5"] * 4
    assert rows[0][3].startswith("1.")


def test_draws_of_one_class_or_too_few_positive_ones_are_counted_apart(params, monkeypatch):
    monkeypatch.setattr(bench_recalibrate, "NUM_LABELS", (100,))
    target = np.r_[1, np.zeros(399, int)]
    score = np.linspace(0.9, 0.1, 400)
    draws = bench_recalibrate.measure(Labelled(target, score, np.arange(400).astype(str)), OWN, params, 4)
    assert not draws["is_enough"].any()
    before, after, enough, helps = bench_recalibrate.describe(draws)
    assert (before[2], after[2], enough[2], helps[2]) == ("4 of 4", "0 of 4", "0 of 4", "0 of 4")
    assert helps[3:] == ("-",) * 4
