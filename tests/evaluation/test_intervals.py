import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from melanoma.evaluation import power
from melanoma.evaluation.intervals import (
    auc,
    auc_difference,
    effective_groups,
    independent_difference,
    mean_rate,
    rate,
    rates,
)
from tests.simulations import intervals as simulation

SPECIFICITY = "specificity at 95 % sensitivity: coverage"

pytestmark = pytest.mark.filterwarnings("error")


def singles(num: int) -> np.ndarray:
    return np.arange(num).astype(str)


def hits(num: int, of: int) -> np.ndarray:
    return np.arange(of) < num


def scored(num: int, *, seed: int = 1, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = (np.arange(num) % 3 == 0).astype(int)
    return target, generator.normal(shift * target).round(1)  # with ties


def test_groups_of_equal_size_count_in_full():
    assert effective_groups(np.repeat(["a", "b", "c"], 4)) == pytest.approx(3)


def test_a_large_group_counts_little_more_than_once():
    # (9 + 1)² / (81 + 1)
    assert effective_groups(np.repeat(["a", "b"], [9, 1])) == pytest.approx(100 / 82)


def test_without_images_there_are_no_groups():
    assert effective_groups(np.array([])) == 0


@pytest.mark.parametrize(("num", "of"), [(0, 8), (7, 8), (8, 8), (97, 98)])
def test_of_single_images_the_interval_is_that_of_clopper_and_pearson(num, of):
    exact = binomtest(num, of).proportion_ci(method="exact")
    found = rate(hits(num, of), singles(of))
    assert found == pytest.approx({"value": num / of, "low": exact.low, "high": exact.high})


def test_copies_of_an_image_say_nothing_new():
    found = rate(np.repeat(hits(7, 8), 3), np.repeat(singles(8), 3))
    assert found == pytest.approx(rate(hits(7, 8), singles(8)))


def test_a_rate_without_images_is_undefined_with_its_reason():
    found = rate(np.array([], dtype=bool), np.array([]))
    assert all(math.isnan(found[name]) for name in ("value", "low", "high"))
    assert found["undefined"] == "there is no image to count"


def test_a_group_above_half_of_the_images_leaves_a_wide_interval():
    group_ids = np.repeat(["large", *singles(20)], [60, *[1] * 20])
    found = rate(np.arange(80) != 0, group_ids)
    # (60 + 20)² / (3600 + 20) = 1.77 groups
    assert effective_groups(group_ids) == pytest.approx(6400 / 3620)
    assert found["low"] < 0.3


def test_a_mean_over_models_has_the_interval_of_as_many_groups():
    hit = np.stack([hits(8, 8), hits(6, 8)])
    found = mean_rate(hit, np.ones_like(hit), singles(8))
    assert found == pytest.approx(rate(hits(7, 8), singles(8)))


def test_rates_of_a_counted_example():
    target = np.array([1, 1, 1, 0, 0])
    found = rates(target, np.array([True, True, False, True, False]), singles(5))
    values = {name: entry["value"] for name, entry in found.items()}
    assert values == pytest.approx(
        {
            "accuracy": 3 / 5,
            "sensitivity": 2 / 3,
            "specificity": 1 / 2,
            "ppv": 2 / 3,
            "npv": 1 / 2,
            "balanced_accuracy": 7 / 12,
        }
    )
    half = found["balanced_accuracy"]
    below = [found[name]["value"] - found[name]["low"] for name in ("sensitivity", "specificity")]
    assert half["value"] - half["low"] == pytest.approx(math.hypot(*below) / 2)


@pytest.mark.parametrize(
    ("target", "called", "name", "reason"),
    [
        ([0, 0], [1, 0], "sensitivity", "no image is positive"),
        ([0, 0], [1, 0], "balanced_accuracy", "no image is positive"),
        ([1, 1], [1, 0], "specificity", "no image is negative"),
        ([1, 0], [0, 0], "ppv", "no image is called positive"),
        ([1, 0], [1, 1], "npv", "no image is called negative"),
    ],
)
def test_a_rate_without_a_denominator_says_why(target, called, name, reason):
    found = rates(np.array(target), np.array(called, dtype=bool), singles(2))
    assert math.isnan(found[name]["value"])
    assert found[name]["undefined"] == reason
    assert "undefined" not in found["accuracy"]


def test_independent_differences_add_the_distances_of_the_ends_as_squares():
    first, second = ({"value": 0.8, "low": 0.5, "high": 0.9}, {"value": 0.4, "low": 0.3, "high": 0.8})
    found = independent_difference(first, second)
    assert found == pytest.approx(
        {"value": 0.4, "low": 0.4 - math.hypot(0.3, 0.4), "high": 0.4 + math.hypot(0.1, 0.1)}
    )
    missing = independent_difference(first, {"value": 1.0, "low": math.nan, "high": 1.0, "undefined": "why"})
    assert math.isnan(missing["high"])
    assert missing["undefined"] == "why"


def test_a_higher_level_is_wider():
    narrow, wide = (rate(hits(7, 8), singles(8), level=level) for level in (0.9, 0.99))
    assert wide["low"] < narrow["low"] < 7 / 8 < narrow["high"] < wide["high"]


def test_the_auc_is_that_of_sklearn():
    target, score = scored(60)
    assert auc(target, score, singles(60))["value"] == pytest.approx(roc_auc_score(target, score))


def pairs(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The comparison of each positive with each negative image, written as a loop."""
    return np.array(
        [
            [(mine > other) + (mine == other) / 2 for other in score[target == 0]]
            for mine in score[target == 1]
        ]
    )


def delong_variance(matrix: np.ndarray) -> float:
    """DeLong, DeLong and Clarke-Pearson 1988, for independent images."""
    return float(matrix.mean(1).var(ddof=1) / len(matrix) + matrix.mean(0).var(ddof=1) / matrix.shape[1])


def test_of_single_images_the_standard_error_is_that_of_delong():
    target, first = scored(60)
    second = scored(60, seed=2)[1]
    expected = math.sqrt(delong_variance(pairs(target, first) - pairs(target, second)))
    found = auc_difference(target, first, second, singles(60))
    assert found["standard_error"] == pytest.approx(expected, rel=0.002)  # groups add n / (n - 1) to nothing
    assert found["value"] == pytest.approx(roc_auc_score(target, first) - roc_auc_score(target, second))


def test_groups_of_both_classes_are_allowed():
    target, score = scored(60)
    mixed = auc(target, score, np.repeat(singles(20), 3))
    assert mixed["low"] < mixed["value"] < mixed["high"]


def test_the_interval_of_an_auc_stays_below_one():
    target = np.repeat([0, 1], 20)
    score = np.r_[np.arange(20), 18.5, np.arange(20, 39)]
    found = auc(target, score, singles(40))
    assert found["value"] == pytest.approx(399 / 400)
    assert 0.8 < found["low"] < found["value"] < found["high"] < 1


@pytest.mark.parametrize(("sign", "known", "missing"), [(1, "high", "low"), (-1, "low", "high")])
def test_perfect_separation_leaves_one_end_open(sign, known, missing):
    target = np.repeat([0, 1], 10)
    found = auc(target, sign * target, singles(20))
    assert found["value"] == found[known] == (sign + 1) / 2
    assert math.isnan(found[missing])
    assert "perfectly" in found["undefined"]


@pytest.mark.parametrize(
    ("target", "score", "groups", "value", "reason"),
    [
        ([0, 0, 0], [1, 2, 3], "abc", math.nan, "no image is positive"),
        ([1, 1, 1], [1, 2, 3], "abc", math.nan, "no image is negative"),
        ([1, 0, 0], [1, math.nan, 3], "abc", math.nan, "some scores are not finite"),
        ([1, 1, 0, 0], [1, 4, 3, 2], "aabc", 0.5, "all positive images are of one group"),
        ([1, 1, 0, 0], [1, 4, 3, 2], "abcc", 0.5, "all negative images are of one group"),
        ([1, 1, 0, 0], [1, 1, 1, 1], "abcd", 0.5, "all images have the same score"),
    ],
)
def test_an_undefined_interval_says_why(target, score, groups, value, reason):
    found = auc(np.array(target), np.array(score), np.array(list(groups)))
    assert found["value"] == pytest.approx(value, nan_ok=True)
    assert math.isnan(found["low"])
    assert math.isnan(found["high"])
    assert found["undefined"] == reason


def test_two_groups_of_each_class_suffice():
    found = auc(np.array([1, 1, 0, 0]), np.array([1, 4, 3, 2]), np.array(list("abcd")))
    assert 0 <= found["low"] < 0.5 < found["high"] <= 1
    assert "undefined" not in found


def test_models_that_rank_alike_differ_by_exactly_nothing():
    target, score = scored(60)
    found = auc_difference(target, score, 2 * score + 1, singles(60))
    assert found == {"value": 0, "low": 0, "high": 0, "standard_error": 0}


def test_two_perfect_models_are_not_shown_to_be_alike():
    target = np.repeat([0, 1], 10)
    found = auc_difference(target, np.arange(20), target, singles(20))
    assert found["value"] == 0
    assert math.isnan(found["low"])
    assert "no spread" in found["undefined"]


def test_a_difference_changes_its_sign_with_the_order():
    target, first = scored(60)
    second = scored(60, seed=2, shift=2)[1]
    ahead = auc_difference(target, first, second, singles(60))
    behind = auc_difference(target, second, first, singles(60))
    assert ahead["value"] == pytest.approx(-behind["value"])
    assert ahead["low"] == pytest.approx(-behind["high"])


def test_pairing_narrows_the_interval_of_two_like_models():
    target, first = scored(60)
    second = first + np.random.default_rng(5).normal(0, 0.05, size=60)
    found, alone = auc_difference(target, first, second, singles(60)), auc(target, first, singles(60))
    assert found["high"] - found["low"] < (alone["high"] - alone["low"]) / 2


@pytest.mark.parametrize("bad", [0, 1])
def test_a_difference_of_scores_that_are_not_finite_is_undefined(bad):
    target, score = scored(60)
    broken = np.where(np.arange(60) == 3, math.nan, score)
    first, second = (broken, score) if bad == 0 else (score, broken)
    assert auc_difference(target, first, second, singles(60))["undefined"] == "some scores are not finite"


# ---- coverage where the truth is known ----------------------------------------------------------


@pytest.mark.parametrize("same", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("num_groups", [8, 40, 500])
@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95, 0.995])
def test_rates_of_groups_of_one_to_six_images_are_covered(truth, num_groups, same):
    generator = np.random.default_rng([num_groups, int(1000 * truth)])
    covered = 0
    for _ in range(300):
        group_ids = simulation.groups(generator, num_groups, 6)
        found = rate(simulation.hits(generator, truth, group_ids, same), group_ids)
        covered += found["low"] <= truth <= found["high"]
    assert covered / 300 >= 0.93


def test_percentile_bootstraps_miss_what_exact_intervals_cover():
    for settings in simulation.RATES[:2]:
        row = simulation.rate_row(np.random.default_rng(3), 150, settings)
        assert float(row.before) < 0.75
        assert float(row.after) >= 0.95


def test_intervals_cover_the_truth_as_often_as_they_promise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(simulation, "MAX_BOOTSTRAPPED", 5)
    rows = {(row.rule, row.truth): row.after for row in simulation.simulate(200, 1)}
    covered = {key: float(after) for key, after in rows.items() if key[0] != SPECIFICITY}
    # 200 data sets: 0.93 and two standard errors of 0.018
    assert {key: value for key, value in covered.items() if value < 0.90} == {}
    assert np.mean(list(covered.values())) >= 0.95
    assert "undefined" in rows.values()  # specificity at 95 % sensitivity of 20 positive groups


def test_the_interval_of_an_auc_does_not_widen_more_than_it_must():
    truth = simulation.Truth(areas=(0.8, 0.8), malignant=98, benign=350)
    images = simulation.draw(np.random.default_rng(1), truth)
    found = auc(images.target, images.first, images.group_ids)
    expected = power.expect(98, 350)["auc_half_width"]
    assert (found["high"] - found["low"]) / 2 == pytest.approx(expected, rel=0.15)


def test_images_that_differ_within_their_group_are_worth_more_than_copies():
    row = simulation.width_row(np.random.default_rng(1), 200)
    assert 0.95 <= float(row.after) <= 1.3
