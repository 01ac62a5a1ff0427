"""A challenger needs enough answers in shadow, and is refused where labels show it to be worse."""

import dataclasses
import re

import numpy as np
import pytest

from melanoma.evaluation import shadow_evidence
from melanoma.evaluation.bootstrap import Draws
from melanoma.evaluation.contest import ShadowRows
from melanoma.evaluation.gate import judge
from tests.evaluation.test_gate import contest, gate_named, good_scores

DRAWS = Draws(num=200, seed=5)
HOW = "Serve both"


def shadow_rows(champion, challenger, *, target=None, groups=None, differs=None):
    num = len(champion)
    return ShadowRows(
        champion=np.asarray(champion, dtype=float),
        challenger=np.asarray(challenger, dtype=float),
        differs=np.zeros(num, dtype=bool) if differs is None else np.asarray(differs),
        group_ids=np.arange(num).astype(str) if groups is None else np.asarray(groups),
        target=np.full(num, np.nan) if target is None else np.asarray(target, dtype=float),
        how_to_get_more=HOW,
    )


def in_use(seed, *, champion_noise, challenger_noise, num=300):
    """Labelled images whose classes both models tell apart, the one with less noise better."""
    generator = np.random.default_rng(seed)
    target = np.arange(num) % 2
    champion, challenger = (
        1 / (1 + np.exp(-(2 * target - 1 + generator.normal(0, noise, num))))
        for noise in (champion_noise, challenger_noise)
    )
    return shadow_rows(champion, challenger, target=target)


@pytest.fixture
def strict(rules):
    """Gates that need ten answers in shadow, and look at labels."""
    return rules.model_copy(
        update={"min_shadow_rows": 10, "shadow_records": "records", "shadow_labels": ["labels.csv"]}
    )


def judged(rules, shadow):
    """A verdict on a good challenger that is as good as the champion on the test images."""
    target, scores = good_scores(1)
    given = contest(target, scores, champion=scores)
    return judge(dataclasses.replace(given, shadow=shadow), rules)


# ---- enough rows -----------------------------------------------------------------------------


@pytest.mark.parametrize(("num", "is_passed"), [(0, False), (9, False), (10, True)])
def test_too_few_answers_in_shadow_are_refused_with_the_number_that_is_missing(strict, num, is_passed):
    verdict = judged(strict, shadow_rows([0.5] * num, [0.25] * num))
    found = gate_named(verdict, "min_shadow_rows")
    assert (verdict["is_passed"], found["is_passed"], found["measured"]) == (is_passed, is_passed, num)
    assert (f"{10 - num} are missing. {HOW}" in found["words"]) is not is_passed
    assert verdict["is_acceptable"] is not is_passed


def test_the_gate_is_off_by_default(rules):
    assert not [gate for gate in judged(rules, None)["gates"] if "shadow" in gate["name"]]
    assert "shadow" not in judged(rules, None)


def test_without_a_champion_there_is_nothing_to_judge(strict):
    verdict = judge(contest(*good_scores(1)), strict)
    found = gate_named(verdict, "min_shadow_rows")
    assert (verdict["is_passed"], found["is_judged"]) == (True, False)


def test_the_disagreement_is_counted_by_groups(strict):
    rows = shadow_rows(
        [0.5, 0.5, 0.5, 0.5], [0.5, 0.75, 0.25, 1.0], groups=["a", "a", "b", "c"], differs=[0, 1, 0, 1]
    )
    found = judged(strict, rows)["shadow"]
    assert (found["num_rows"], found["num_groups"], found["decisions_differ"]["value"]) == (4, 3, 2 / 4)
    assert found["mean_absolute_difference"] == pytest.approx((0 + 0.25 + 0.25 + 0.5) / 4)
    alone = judged(strict, dataclasses.replace(rows, group_ids=np.array(list("abcd"))))["shadow"]
    width, narrower = (
        one["decisions_differ"]["high"] - one["decisions_differ"]["low"] for one in (found, alone)
    )
    assert width > narrower


# ---- labels ----------------------------------------------------------------------------------


def test_a_challenger_that_labels_show_to_be_worse_is_refused(strict):
    verdict = judged(strict, in_use(1, champion_noise=0.5, challenger_noise=3))
    found = gate_named(verdict, "shadow_labels: auc_roc")
    assert not verdict["is_passed"]
    assert not verdict["is_acceptable"]  # the opposite was shown
    assert found["measured"]["high"] < 0
    assert "150 positive and 150 negative images answered in shadow show a loss" in found["words"]
    assert verdict["shadow"]["challenger_minus_champion"]["log_loss"]["low"] > 0


def test_a_gain_is_told_and_a_tie_decides_nothing(strict):
    better = judged(strict, in_use(1, champion_noise=3, challenger_noise=0.5))
    found = gate_named(better, "shadow_labels: auc_roc")
    assert (better["is_passed"], found["is_judged"], "show a gain" in found["words"]) == (True, True, True)
    tie = judged(strict, in_use(1, champion_noise=1, challenger_noise=1))
    found = gate_named(tie, "shadow_labels: auc_roc")
    assert (tie["is_passed"], found["is_judged"]) == (True, False)
    assert "neither gain nor loss" in found["words"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([np.nan] * 12, "0 positive and 0 negative .* no answer in shadow has a label that counts"),
        ([1, 0] + [np.nan] * 10, "1 positive and 1 negative .* all positive images are of one group"),
        ([1] * 12, "12 positive and 0 negative .* no image is negative"),
    ],
)
def test_too_few_labels_decide_nothing_and_are_counted(strict, target, words):
    verdict = judged(strict, shadow_rows(np.linspace(0.1, 0.9, 12), np.linspace(0.9, 0.1, 12), target=target))
    found = gate_named(verdict, "shadow_labels: auc_roc")
    assert (verdict["is_passed"], found["is_judged"]) == (True, False)
    assert re.search(words, found["words"])


def test_without_label_files_no_gate_looks_at_labels(strict):
    rules = strict.model_copy(update={"shadow_labels": []})
    verdict = judged(rules, in_use(1, champion_noise=0.5, challenger_noise=3))
    assert verdict["is_passed"]
    assert not [gate for gate in verdict["gates"] if gate["name"].startswith("shadow_labels")]


def test_a_true_tie_is_seldom_called_a_loss(strict):
    shown = 0
    for seed in range(200):
        rows = in_use(seed, champion_noise=1, challenger_noise=1, num=80)
        lead = shadow_evidence.measure(rows, Draws(num=1, seed=0))["challenger_minus_champion"]["auc_roc"]
        shown += lead["high"] < 0
    assert shown <= 12  # 2.5 % of 200 are 5; 12 and fewer have a probability of 0.998
