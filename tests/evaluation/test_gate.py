import dataclasses

import numpy as np
import pytest

from melanoma.evaluation.bootstrap import Draws
from melanoma.evaluation.gate import Contest, judge

pytestmark = pytest.mark.filterwarnings("error")


def contest(target, challenger, *, champion=None, groups=None, colour=None, slices=()) -> Contest:
    """Every image is a group of its own unless `groups` says otherwise; colours tell nothing."""
    names = np.arange(len(target)) if groups is None else groups
    return Contest(
        target=np.asarray(target),
        group_ids=np.array([f"group_{name}" for name in names]),
        challenger=np.asarray(challenger, dtype=float),
        champion=None if champion is None else np.asarray(champion, dtype=float),
        colour=np.full(len(target), 0.5) if colour is None else np.asarray(colour, dtype=float),
        draws=Draws(num=200, seed=5),
        slices=slices,
    )


def good_scores(seed: int, num_images: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Classes whose scores lie two standard deviations apart: an AUC of about 0.92."""
    target = np.arange(num_images) % 2
    return target, 1 / (1 + np.exp(-np.random.default_rng(seed).normal(2 * target, 1)))


# Five malignant and ten benign images: 50 pairs, so that each lost pair costs an AUC of 1/50.
TARGET = np.array([1] * 5 + [0] * 10)
FLAWLESS = np.array([0.9] * 5 + [0.1] * 10)
ONE_PAIR_LOST = np.array([0.9] * 4 + [0.2] + [0.3] + [0.1] * 9)
TWO_PAIRS_LOST = np.array([0.9] * 4 + [0.2] + [0.3] * 2 + [0.1] * 8)


def test_the_first_good_model_passes(rules):
    verdict = judge(contest(*good_scores(1)), rules)
    assert verdict["is_passed"] is True
    assert verdict["reasons"] == []
    assert verdict["challenger"]["auc_roc"]["low"] > 0.8
    assert "champion" not in verdict
    assert [gate["name"] for gate in verdict["gates"]] == ["min_malignant_groups", "min_auc_roc_lower_bound"]


def test_the_verdict_counts_images_and_groups(rules):
    verdict = judge(contest([1, 1, 0, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.3], groups=[1, 1, 2, 2, 3]), rules)
    assert (verdict["num_images"], verdict["num_groups"], verdict["num_malignant_groups"]) == (5, 3, 1)


def test_a_model_of_shuffled_labels_is_refused(rules):
    target, scores = good_scores(1)
    shuffled = np.random.default_rng(1).permutation(target)
    verdict = judge(contest(shuffled, scores), rules)
    assert verdict["is_passed"] is False
    assert "must be above 0.5" in verdict["reasons"][0]


def test_models_of_shuffled_labels_hardly_ever_pass(rules):
    # a 95 % interval lies above chance by chance alone in one case of 40
    num_passed = 0
    for seed in range(80):
        target, scores = good_scores(seed)
        shuffled = np.random.default_rng(seed).permutation(target)
        num_passed += judge(contest(shuffled, scores), rules)["is_passed"]
    assert num_passed <= 7


def test_a_challenger_that_the_champion_beats_is_refused_with_the_figure(rules):
    verdict = judge(contest(TARGET, TWO_PAIRS_LOST, champion=FLAWLESS), rules)
    assert verdict["is_passed"] is False
    (reason,) = verdict["reasons"]
    assert reason.startswith("auc_roc, challenger minus champion on the same images: -0.040 (")
    assert reason.endswith("the interval must exclude a loss of more than 0.02")
    assert verdict["champion"]["auc_roc"]["value"] == 1
    assert verdict["challenger_minus_champion"]["auc_roc"]["value"] == pytest.approx(-2 / 50)


def test_the_drop_that_is_allowed_is_that_of_the_interval_and_not_of_the_difference(rules):
    """A loss of 1/50 is not shown to be less than 1/50: the interval reaches further down."""
    found = judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), rules)
    lead = found["challenger_minus_champion"]["auc_roc"]
    assert lead["value"] == pytest.approx(-1 / 50)
    assert lead["low"] < -1 / 50
    assert not found["is_passed"]
    for allowed, is_passed in ((-lead["low"], True), (-lead["low"] - 1e-6, False)):
        lenient = rules.model_copy(update={"max_primary_drop": allowed})
        assert judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), lenient)["is_passed"] == is_passed


def test_beating_a_bad_champion_does_not_excuse_a_model_no_better_than_chance(rules):
    verdict = judge(contest(TARGET, np.full(15, 0.3), champion=1 - FLAWLESS), rules)
    assert verdict["challenger_minus_champion"]["auc_roc"]["value"] == 1 / 2
    assert not verdict["is_passed"]


def test_malignant_images_alone_are_refused_as_one_class(rules):
    verdict = judge(contest(np.ones(8), np.linspace(0, 1, 8)), rules)
    assert verdict["reasons"] == ["all compared images have the same class, so the models cannot be compared"]
    assert "challenger" not in verdict


@pytest.mark.parametrize("num_images", [0, 8])
def test_no_malignant_images_at_all_are_refused(rules, num_images):
    verdict = judge(contest(np.zeros(num_images), np.linspace(0, 1, num_images)), rules)
    assert verdict["is_passed"] is False
    assert "0 malignant groups" in verdict["reasons"][0]


def test_every_gate_that_failed_is_named(rules):
    target = np.array([1, 1, 0, 0, 0])
    verdict = judge(contest(target, np.full(5, 0.3), champion=target), rules)
    assert len(verdict["reasons"]) == 3


def test_the_same_contest_gives_the_same_verdict(rules):
    target, scores = good_scores(1)
    first, second = (judge(contest(target, scores, champion=1 - scores), rules) for _ in range(2))
    assert first == second


def part(value: str, auc: float | None) -> dict:
    entry = {"value": auc, "low": auc, "high": auc}
    return {"slice": "sex", "value": value, "num_images": 30, "is_too_small": auc is None, "auc_roc": entry}


@pytest.mark.parametrize("metric", ["average_precision", "partial_auc_above_80_sensitivity"])
def test_the_primary_metric_is_the_declared_one(rules, metric):
    other = rules.model_copy(update={"primary_metric": metric})
    verdict = judge(contest(TARGET, TWO_PAIRS_LOST, champion=FLAWLESS), other)
    assert verdict["primary_metric"] == metric
    assert metric in verdict["reasons"][0]


@pytest.mark.parametrize(("crop", "is_refused"), [("none", False), ("unet", False), ("mask", True)])
def test_a_model_of_pictures_cut_by_hand_drawn_masks_is_refused_whatever_it_reaches(rules, crop, is_refused):
    good = dataclasses.replace(contest(*good_scores(1)), crop=crop)
    verdict = judge(good, rules)
    assert verdict["is_passed"] is not is_refused
    assert any("hand-drawn masks" in reason for reason in verdict["reasons"]) is is_refused
