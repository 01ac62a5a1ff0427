import numpy as np
import pytest

from melanoma.evaluation.gate import Contest, judge

pytestmark = pytest.mark.filterwarnings("error")


def contest(target, challenger, champion=None, groups=None) -> Contest:
    """Every image is a group of its own unless `groups` says otherwise."""
    names = np.arange(len(target)) if groups is None else groups
    return Contest(
        target=np.asarray(target),
        group_ids=np.array([f"group_{name}" for name in names]),
        challenger=np.asarray(challenger, dtype=float),
        champion=None if champion is None else np.asarray(champion, dtype=float),
    )


def good_scores(seed: int, num_images: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Classes whose scores lie two standard deviations apart: an AUC of about 0.92."""
    target = np.arange(num_images) % 2
    return target, np.random.default_rng(seed).normal(2 * target, 1)


# Five malignant and ten benign images: 50 pairs, so that each lost pair costs an AUC of 1/50.
TARGET = np.array([1] * 5 + [0] * 10)
FLAWLESS = np.array([0.9] * 5 + [0.1] * 10)
ONE_PAIR_LOST = np.array([0.9] * 4 + [0.2] + [0.3] + [0.1] * 9)
TWO_PAIRS_LOST = np.array([0.9] * 4 + [0.2] + [0.3] * 2 + [0.1] * 8)


def test_the_first_good_model_passes(rules):
    verdict = judge(contest(*good_scores(1)), rules)
    assert verdict["is_passed"] is True
    assert verdict["reasons"] == []
    assert verdict["challenger_auc_roc"]["low"] > 0.8
    assert "champion_auc_roc" not in verdict


def test_the_verdict_counts_images_and_groups(rules):
    verdict = judge(contest([1, 1, 0, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.3], groups=[1, 1, 2, 2, 3]), rules)
    assert (verdict["num_images"], verdict["num_groups"], verdict["num_malignant_groups"]) == (5, 3, 1)


def test_a_model_of_shuffled_labels_is_refused(rules):
    target, scores = good_scores(1)
    shuffled = np.random.default_rng(1).permutation(target)
    verdict = judge(contest(shuffled, scores), rules)
    assert verdict["is_passed"] is False
    assert "must lie above 0.5" in verdict["reasons"][0]


def test_models_of_shuffled_labels_hardly_ever_pass(rules):
    # a 95 % interval lies above chance by chance alone in one case of 40
    num_passed = 0
    for seed in range(80):
        target, scores = good_scores(seed)
        shuffled = np.random.default_rng(seed).permutation(target)
        num_passed += judge(contest(shuffled, scores), rules)["is_passed"]
    assert num_passed <= 7


def test_constant_scores_are_refused_at_the_bound_itself(rules):
    # AUC is exactly 1/2 in every draw: not above 0.5
    verdict = judge(contest(TARGET, np.full(15, 0.3)), rules)
    assert verdict["challenger_auc_roc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert verdict["reasons"] == ["AUC 0.500 has a 95 % interval from 0.500; it must lie above 0.5"]


def test_constant_scores_pass_a_bound_just_below_them(rules):
    lenient = rules.model_copy(update={"min_auc_roc_lower_bound": 0.499})
    assert judge(contest(TARGET, np.full(15, 0.3)), lenient)["is_passed"]


def test_a_challenger_that_the_champion_beats_is_refused_with_the_figure(rules):
    verdict = judge(contest(TARGET, TWO_PAIRS_LOST, champion=FLAWLESS), rules)
    assert verdict["is_passed"] is False
    assert verdict["reasons"] == [
        "AUC is 0.040 below the champion's on the same images; at most 0.02 is allowed"
    ]
    assert verdict["champion_auc_roc"]["value"] == 1
    assert verdict["auc_roc_difference"]["value"] == pytest.approx(-2 / 50)


def test_a_challenger_behind_by_exactly_the_allowed_drop_passes(rules):
    # 49/50 - 1 is -0.020000000000000018
    verdict = judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), rules)
    assert verdict["auc_roc_difference"]["value"] == pytest.approx(-1 / 50)
    assert verdict["is_passed"]


def test_a_challenger_behind_by_more_than_a_lesser_drop_is_refused(rules):
    strict = rules.model_copy(update={"max_auc_roc_drop": 0.0199})
    assert not judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), strict)["is_passed"]


@pytest.mark.parametrize("champion", [FLAWLESS, ONE_PAIR_LOST], ids=["equal", "worse"])
def test_a_challenger_as_good_as_the_champion_or_better_passes(rules, champion):
    strict = rules.model_copy(update={"max_auc_roc_drop": 0.0})
    assert judge(contest(TARGET, FLAWLESS, champion=champion), strict)["is_passed"]


def test_beating_a_bad_champion_does_not_excuse_a_model_no_better_than_chance(rules):
    verdict = judge(contest(TARGET, np.full(15, 0.3), champion=1 - FLAWLESS), rules)
    assert verdict["auc_roc_difference"]["value"] == 1 / 2
    assert not verdict["is_passed"]


def test_five_malignant_groups_are_enough_and_four_are_not(rules):
    five = [0, 1, 2, 3, 4, *range(5, 15)]
    four = [0, 1, 2, 3, 3, *range(5, 15)]
    assert judge(contest(TARGET, FLAWLESS, groups=five), rules)["is_passed"]
    verdict = judge(contest(TARGET, FLAWLESS, groups=four), rules)
    assert verdict["reasons"] == [
        "only 4 malignant groups among the 15 images; at least 5 are needed to judge"
    ]
    assert verdict["challenger_auc_roc"]["value"] == 1  # told all the same


def test_malignant_images_alone_are_refused_as_one_class(rules):
    verdict = judge(contest(np.ones(8), np.linspace(0, 1, 8)), rules)
    assert verdict["reasons"] == ["the images to judge by hold one class only, so AUC is undefined"]
    assert "challenger_auc_roc" not in verdict


@pytest.mark.parametrize("num_images", [0, 8])
def test_no_malignant_images_at_all_are_refused(rules, num_images):
    verdict = judge(contest(np.zeros(num_images), np.linspace(0, 1, num_images)), rules)
    assert verdict["is_passed"] is False
    assert "only 0 malignant groups" in verdict["reasons"][0]


def test_every_gate_that_failed_is_named(rules):
    target = np.array([1, 1, 0, 0, 0])
    verdict = judge(contest(target, np.full(5, 0.3), champion=target), rules)
    assert len(verdict["reasons"]) == 3


def test_the_same_contest_gives_the_same_verdict(rules):
    target, scores = good_scores(1)
    first, second = (judge(contest(target, scores, champion=-scores), rules) for _ in range(2))
    assert first == second
