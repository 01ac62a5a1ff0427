import json
import math

import numpy as np
import pytest
from scipy import stats

from melanoma import files
from melanoma.evaluation import power
from melanoma.evaluation.metrics import compute_metrics
from tests.simulations import power as simulation


def test_expected_half_widths_are_those_of_known_formulas():
    expected = power.expect(30, 60)
    exact = stats.binomtest(27, 30).proportion_ci(method="exact")
    assert expected["sensitivity_half_width"] == pytest.approx((exact.high - exact.low) / 2)
    error = power.auc_standard_error(0.8, 30, 60)
    assert expected["auc_half_width"] == pytest.approx(1.959964 * error)
    assert expected["smallest_auc_difference"] == pytest.approx((1.959964 + 0.841621) * error)


def test_without_skill_the_standard_error_is_that_of_the_rank_sum():
    # Mann and Whitney: the variance is (m + n + 1) / (12 m n).
    assert power.auc_standard_error(0.5, 3, 4) == pytest.approx(math.sqrt(8 / (12 * 3 * 4)), rel=1e-4)


def test_the_standard_error_is_the_spread_of_simulated_aucs():
    drawn = np.random.default_rng(1)
    shift = math.sqrt(2) * stats.norm.ppf(0.8)
    target = np.repeat([1, 0], [40, 80])
    aucs = [
        compute_metrics(
            target, stats.norm.cdf(drawn.normal(shift * target)), threshold=0.5, weights=np.ones((1, 120))
        )["auc_roc"][0]
        for _ in range(600)
    ]
    assert np.std(aucs) == pytest.approx(power.auc_standard_error(0.8, 40, 80), rel=0.1)


def test_two_correlated_models_are_told_apart_about_as_often_as_promised():
    rows = {row.rule: row for row in simulation.simulate(200, 1) if row.truth.startswith("98")}
    shown, width = rows.values()
    assert float(shown.after) == pytest.approx(power.POWER, abs=0.08)
    assert float(width.after) == pytest.approx(float(width.nominal), rel=0.1)


def test_the_smallest_difference_is_shown_four_times_in_five():
    smallest = power.smallest_difference(0.05)
    estimates = np.random.default_rng(1).normal(smallest, 0.05, size=20_000)
    is_shown = np.abs(estimates) > stats.norm.ppf(0.975) * 0.05
    assert is_shown.mean() == pytest.approx(0.8, abs=0.01)
    assert power.smallest_difference(0.05, level=0.99) > smallest


@pytest.mark.parametrize("counts", [(0, 40), (1, 40), (40, 1)])
def test_a_class_of_one_group_shows_nothing(counts, tmp_path):
    expected = power.expect(*counts)
    assert math.isnan(expected["auc_half_width"])
    words = f"with {counts[0]} positive test groups, no precision can be expected"
    assert power.in_words(counts[0], expected) == words
    files.write_json(expected, tmp_path / "expected.json")
    assert power.in_words(counts[0], json.loads((tmp_path / "expected.json").read_text())) == words


def test_the_sentence_names_groups_precision_and_difference():
    assert power.in_words(98, power.expect(98, 350)) == (
        "with 98 positive test groups expect AUC ± 0.05 and sensitivity ± 0.06; a difference in AUC between "
        "two models is shown with 80 % power from 0.07 on"
    )
