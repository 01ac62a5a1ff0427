import dataclasses

import numpy as np
import pytest

from melanoma.evaluation import comparisons
from melanoma.evaluation.bootstrap import Draws
from melanoma.evaluation.calibration_measures import FitError
from melanoma.evaluation.contest import Contest, Served
from melanoma.evaluation.gate import judge
from melanoma.scoring.operating_point import Calibration, OperatingPoint
from tests.simulations import gates as simulation

pytestmark = pytest.mark.filterwarnings("error")


def served(probability, threshold: float = 0.5) -> Served:
    point = OperatingPoint(Calibration(), threshold, refer_from=threshold, refer_to=threshold)
    return Served(np.asarray(probability, dtype=float), point)


def contest(
    target, challenger, *, champion=None, anchor=None, groups=None, threshold=0.5, references=None, **others
) -> Contest:
    """Every image is a group of its own unless `groups` says otherwise; colours tell nothing."""
    names = np.arange(len(target)) if groups is None else groups
    told = {"colour": np.full(len(target), 0.5)} | (references or {})
    return Contest(
        target=np.asarray(target),
        group_ids=np.array([f"group_{name}" for name in names]),
        challenger=served(challenger, threshold),
        champion=None if champion is None else served(champion),
        anchor=None if anchor is None else served(anchor),
        references={name: np.asarray(scores, dtype=float) for name, scores in told.items()},
        draws=Draws(num=200, seed=5),
        **others,
    )


def good_scores(seed: int, num_images: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Classes whose scores lie two standard deviations apart: an AUC of about 0.92."""
    target = np.arange(num_images) % 2
    return target, 1 / (1 + np.exp(-np.random.default_rng(seed).normal(2 * target, 1)))


def gate_named(verdict: dict, name: str) -> dict:
    (found,) = [gate for gate in verdict["gates"] if gate["name"] == name]
    return found


# Ten positive and ten negative images: 100 pairs, so that each lost pair costs an AUC of 1/100.
TARGET = np.array([1] * 10 + [0] * 10)
FLAWLESS = np.array([0.9] * 10 + [0.1] * 10)
ONE_PAIR_LOST = np.array([0.9] * 9 + [0.2] + [0.3] + [0.1] * 9)
TWO_PAIRS_LOST = np.array([0.9] * 9 + [0.2] + [0.3] * 2 + [0.1] * 8)


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


def test_constant_scores_are_refused(rules):
    verdict = judge(contest(TARGET, np.full(20, 0.3)), rules)
    assert verdict["challenger"]["auc_roc"]["value"] == 0.5
    assert verdict["reasons"][0].endswith("the lower end of the interval must be above 0.5")
    assert verdict["is_acceptable"] is False  # no person may accept a model no better than chance


@pytest.mark.parametrize(("num", "is_passed"), [(5, False), (6, True)])
def test_scores_that_separate_the_classes_need_six_pairs_to_be_shown_better_than_chance(
    rules, num, is_passed
):
    # six pairs in order have a probability of 1/64 at chance, five of 1/32, which is above 0.025
    verdict = judge(contest([1] * num + [0] * num, [0.9] * num + [0.1] * num), rules)
    assert verdict["is_passed"] is is_passed
    assert f"at least {0.025 ** (1 / num):.3f} by an exact bound" in verdict["gates"][1]["words"]


def test_a_challenger_that_is_not_shown_to_be_as_good_as_the_champion_is_refused_with_the_figure(rules):
    verdict = judge(contest(TARGET, TWO_PAIRS_LOST, champion=FLAWLESS), rules)
    assert verdict["is_passed"] is False
    (reason,) = verdict["reasons"]
    assert reason.startswith(
        "not shown to be not worse than the champion: auc_roc, challenger minus champion on the same images: "
        "-0.020 ("
    )
    assert "it must exclude a loss of more than 0.02; differences from" in reason
    assert reason.endswith("on are shown with 80 % power")
    assert verdict["champion"]["auc_roc"]["value"] == 1
    assert verdict["challenger_minus_champion"]["auc_roc"]["value"] == pytest.approx(-2 / 100)


def test_the_drop_that_is_allowed_is_that_of_the_interval_and_not_of_the_difference(rules):
    """A loss of 1/100 is not shown to be less than 1/100: the interval reaches further down."""
    found = judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), rules)
    lead = found["challenger_minus_champion"]["auc_roc"]
    assert lead["value"] == pytest.approx(-1 / 100)
    assert lead["low"] < -2 / 100
    assert not found["is_passed"]
    for allowed, is_passed in ((-lead["low"], True), (-lead["low"] - 1e-6, False)):
        lenient = rules.model_copy(update={"max_primary_drop": allowed})
        assert judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), lenient)["is_passed"] == is_passed


def test_a_challenger_that_ranks_all_images_as_the_champion_does_is_not_worse(rules):
    strict = rules.model_copy(update={"max_primary_drop": 0.0})
    verdict = judge(contest(TARGET, ONE_PAIR_LOST / 2, champion=ONE_PAIR_LOST), strict)
    assert verdict["is_passed"]
    assert verdict["challenger_minus_champion"]["auc_roc"]["low"] == 0


def test_a_challenger_shown_to_be_worse_by_more_than_the_margin_can_be_accepted_by_nobody(rules):
    target, scores = good_scores(1)
    shown = judge(contest(target, 1 - scores, champion=scores), rules)
    gate = gate_named(shown, "max_primary_drop")
    assert gate["words"].startswith("worse than the champion by more than 0.02: ")
    assert not gate["is_acceptable"]
    noisy = np.where(np.arange(100) < 90, scores, scores[::-1])  # a little worse: nothing is shown
    unclear = judge(contest(target, noisy, champion=scores), rules)
    assert gate_named(unclear, "max_primary_drop")["is_acceptable"]
    assert unclear["is_acceptable"]


def test_beating_a_bad_champion_does_not_excuse_a_model_no_better_than_chance(rules):
    verdict = judge(contest(TARGET, np.full(20, 0.3), champion=1 - FLAWLESS), rules)
    assert verdict["challenger_minus_champion"]["auc_roc"]["value"] == 1 / 2
    assert not verdict["is_passed"]


def test_five_malignant_groups_are_enough_to_be_judged_and_four_are_not(rules):
    lenient = rules.model_copy(update={"min_auc_roc_lower_bound": 0.3})
    five = [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, *range(10, 20)]
    four = [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, *range(10, 20)]
    assert judge(contest(TARGET, FLAWLESS, groups=five), lenient)["is_passed"]
    verdict = judge(contest(TARGET, FLAWLESS, groups=four), lenient)
    assert verdict["reasons"] == ["4 positive groups among the 20 test images; at least 5 are required"]
    assert verdict["challenger"]["auc_roc"]["value"] == 1  # told all the same
    assert verdict["is_acceptable"] is False


def test_not_worse_needs_more_groups_and_a_person_may_accept_fewer(rules):
    target, scores = good_scores(1)
    for least, is_passed in ((50, True), (51, False)):
        strict = rules.model_copy(update={"min_groups_not_worse": least})
        verdict = judge(contest(target, scores, champion=scores), strict)
        assert verdict["is_passed"] is is_passed
        assert gate_named(verdict, "min_groups_not_worse")["measured"] == 50
        assert judge(contest(target, scores), strict)["is_passed"]  # the first model is compared with none
    (reason,) = verdict["reasons"]
    assert "cannot be shown with 50 positive groups, at least 51 are required (both models rank all" in reason
    assert reason.endswith("a person may accept this with `python -m pipelines.accept`")
    assert verdict["is_acceptable"] is True


def test_every_gate_that_failed_is_named(rules):
    target = np.array([1, 1, 0, 0, 0])
    verdict = judge(contest(target, np.full(5, 0.3), champion=target), rules)
    assert [gate["name"] for gate in verdict["gates"] if not gate["is_passed"]] == [
        "min_malignant_groups",
        "min_auc_roc_lower_bound",
        "min_groups_not_worse",
        "max_primary_drop",
    ]
    assert len(verdict["reasons"]) == 4


# ---- attempts and the anchor -----------------------------------------------------------------


def test_the_errors_of_all_attempts_add_to_five_per_cent():
    spent = [comparisons.alpha_of(attempt) for attempt in range(1, 10_000)]
    assert spent[0] == pytest.approx(0.05 * 6 / np.pi**2)
    assert spent[1] == pytest.approx(spent[0] / 4)
    assert 0.0499 < sum(spent) < 0.05
    assert comparisons.level_of(1) == pytest.approx(1 - 2 * spent[0])


def test_each_attempt_widens_the_interval_and_the_middle_stays(rules):
    target, scores = good_scores(1)
    other = good_scores(2)[1]
    leads = [
        judge(contest(target, scores, champion=other, attempt=attempt), rules)["challenger_minus_champion"][
            "auc_roc"
        ]
        for attempt in (1, 2, 20)
    ]
    assert leads[0]["low"] > leads[1]["low"] > leads[2]["low"]
    assert len({lead["value"] for lead in leads}) == 1


def test_a_challenger_must_also_hold_against_the_anchor(rules):
    target, best = good_scores(1)
    generator = np.random.default_rng(3)
    champion = np.where(generator.random(100) < 0.8, best, generator.random(100))
    lenient = rules.model_copy(update={"max_primary_drop": 0.05})
    alone = judge(contest(target, champion, champion=champion), lenient)
    assert alone["is_passed"]
    both = judge(contest(target, champion, champion=champion, anchor=best), lenient)
    (reason,) = both["reasons"]
    assert "than the anchor" in reason
    assert not gate_named(both, "max_primary_drop: anchor")["is_passed"]
    assert "challenger_minus_anchor" not in alone
    assert judge(contest(target, best, champion=champion, anchor=best), lenient)["is_passed"]


# ---- references ------------------------------------------------------------------------------


def test_a_network_that_is_not_shown_to_beat_a_reference_is_refused_and_one_that_does_passes(rules):
    strict = rules.model_copy(update={"must_beat_references": ["colour"]})
    equal = {"colour": ONE_PAIR_LOST}
    refused = judge(contest(TARGET, ONE_PAIR_LOST, references=equal), strict)
    (reason,) = refused["reasons"]
    assert reason.startswith("not shown to be better than a logistic regression on colours alone, whose AUC")
    assert refused["is_acceptable"]
    # 0.01 better is better, but not shown by twenty images
    assert not judge(contest(TARGET, FLAWLESS, references=equal), strict)["is_passed"]
    blind = {"colour": np.tile([0.1, 0.9], 10)}
    assert judge(contest(TARGET, FLAWLESS, references=blind), strict)["is_passed"]
    assert judge(contest(TARGET, ONE_PAIR_LOST, references=equal), rules)["is_passed"]  # the gate is off


def test_a_later_attempt_must_beat_a_reference_by_more_with_and_without_a_champion(rules):
    strict = rules.model_copy(update={"must_beat_references": ["colour"]})
    target, scores = good_scores(1)
    weaker = {"colour": np.where(np.arange(100) < 60, scores, scores[::-1])}
    for champion in (None, scores):
        found = [
            judge(contest(target, scores, references=weaker, champion=champion, attempt=attempt), strict)
            for attempt in (1, 9)
        ]
        leads = [verdict["challenger_minus_colour"]["auc_roc"] for verdict in found]
        assert leads[0]["low"] > leads[1]["low"]
        assert leads[0]["value"] == leads[1]["value"]
        assert [lead["level"] for lead in leads] == [comparisons.level_of(1), comparisons.level_of(9)]
        words = gate_named(found[1], "must_beat_references: colour")["words"]
        assert f"interval of level {comparisons.level_of(9):.4g} for attempt 9" in words


def test_a_network_shown_to_be_worse_than_a_reference_can_be_accepted_by_nobody(rules):
    strict = rules.model_copy(update={"must_beat_references": ["file_facts"]})
    target, scores = good_scores(1)
    verdict = judge(contest(target, scores, references={"file_facts": 5.0 * target + scores}), strict)
    assert verdict["reasons"][0].startswith("worse than a logistic regression on facts of the file alone")
    assert verdict["is_acceptable"] is False


def test_the_size_of_the_lesion_is_judged_where_masks_are_and_not_measured_without(rules):
    strict = rules.model_copy(update={"must_beat_references": ["lesion_size"]})
    some = np.where(np.arange(20) % 10 < 8, FLAWLESS, np.nan)
    verdict = judge(contest(TARGET, FLAWLESS, references={"lesion_size": some}), strict)
    assert verdict["lesion_size"]["num_images"] == 16
    assert not verdict["is_passed"]
    without = judge(contest(TARGET, FLAWLESS, references={"lesion_size": np.full(20, np.nan)}), strict)
    assert without["is_passed"]
    gate = gate_named(without, "must_beat_references: lesion_size")
    assert not gate["is_judged"]
    assert "not measured" in gate["words"]


# ---- the model as it is served ---------------------------------------------------------------


def test_the_sensitivity_is_that_of_the_threshold_with_which_the_model_is_served(rules):
    """At 0.5 the model finds half of the positive images, at the served 0.2 all forty."""
    target = np.array([1] * 40 + [0] * 40)
    scores = np.array([0.9] * 20 + [0.3] * 20 + [0.1] * 40)
    strict = rules.model_copy(update={"min_sensitivity": 0.9})
    served_low = judge(contest(target, scores, threshold=0.2), strict)
    assert served_low["is_passed"]
    assert served_low["challenger"]["sensitivity"]["value"] == 1
    served_high = judge(contest(target, scores, threshold=0.5), strict)
    (reason,) = served_high["reasons"]
    assert reason.startswith("sensitivity 0.500 (")
    assert "at the threshold 0.500 with which the model is served" in reason
    assert served_high["is_acceptable"] is False
    assert judge(contest(target, scores, threshold=0.5), rules)["is_passed"]  # off by default


@pytest.mark.parametrize(
    ("threshold", "num_spared", "is_passed"), [(0.5, 12, False), (0.5, 40, True), (0.2, 40, False)]
)
def test_the_specificity_at_the_served_threshold_must_be_shown_to_exceed_the_minimum(
    rules, threshold, num_spared, is_passed
):
    """Of 80 benign images some lie at 0.3, the others at 0.6; at 0.2 all of them are called malignant."""
    target = np.array([1] * 40 + [0] * 80)
    scores = np.array([0.9] * 40 + [0.3] * num_spared + [0.6] * (80 - num_spared))
    strict = rules.model_copy(update={"min_specificity_at_threshold": 0.2})
    verdict = judge(contest(target, scores, threshold=threshold), strict)
    gate = gate_named(verdict, "min_specificity_at_threshold")
    assert gate["is_passed"] is verdict["is_passed"] is is_passed
    assert f"at the threshold {threshold:.3f} with which the model is served" in gate["words"]
    assert "where its sensitivity is 1.000 (" in gate["words"]
    assert gate["words"].endswith("the lower end of the interval must be above 0.2")
    assert verdict["challenger"]["specificity"] == gate["measured"]
    assert verdict["is_acceptable"] is False  # no person may accept it
    assert judge(contest(target, scores, threshold=threshold), rules)["is_passed"]  # off


def test_a_specificity_above_the_minimum_that_may_be_chance_is_refused_and_groups_count(rules):
    """Half of 20 benign images are spared, at least 0.27 of others; in groups of five, at least 0.07."""
    target = np.array([1] * 20 + [0] * 20)
    scores = np.array([0.9] * 20 + [0.1] * 10 + [0.6] * 10)
    strict = rules.model_copy(update={"min_specificity_at_threshold": 0.2})
    assert judge(contest(target, scores), strict)["is_passed"]
    groups = np.r_[np.arange(20), 20 + np.arange(20) // 5]
    gate = gate_named(judge(contest(target, scores, groups=groups), strict), "min_specificity_at_threshold")
    assert not gate["is_passed"]
    assert gate["words"].startswith("specificity 0.500 (0.068 to 0.932)")


def test_challenger_and_champion_are_each_measured_at_their_own_threshold(rules):
    scores = np.array([0.9] * 5 + [0.3] * 5 + [0.1] * 10)
    verdict = judge(contest(TARGET, scores, threshold=0.2, champion=scores), rules)
    assert verdict["challenger"]["sensitivity"]["value"] == 1
    assert verdict["champion"]["sensitivity"]["value"] == 1 / 2


def calibrated_scores(shift: float, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """400 images whose log odds are normal; then multiplied by `factor` and raised by `shift`."""
    generator = np.random.default_rng(7)
    odds = generator.normal(-0.5, 1.5, 400)
    target = (generator.random(400) < 1 / (1 + np.exp(-odds))).astype(int)
    return target, 1 / (1 + np.exp(-(factor * odds + shift)))


def test_a_calibration_that_may_be_off_by_chance_of_its_own_images_stays_in_the_band(rules):
    """From 400 test images alone the intercept lies outside; 60 calibration images cannot tell."""
    target, scores = calibrated_scores(-0.9)
    strict = rules.model_copy(update={"calibration_intercept_band": [-0.5, 0.5]})
    judged = contest(target, scores)
    assert not judge(judged, strict)["is_passed"]
    fitted = FitError.of(target[:60], scores[:60], np.arange(60), method="logistic")
    challenger = dataclasses.replace(judged.challenger, fitted=fitted)
    verdict = judge(dataclasses.replace(judged, challenger=challenger), strict)
    assert verdict["is_passed"]
    assert verdict["challenger"]["calibration_intercept"]["low"] < 0.5


@pytest.mark.parametrize(
    ("name", "shift", "factor", "is_passed"),
    [
        ("calibration_intercept", 0.0, 1.0, True),
        ("calibration_intercept", 2.0, 1.0, False),
        ("calibration_intercept", -2.0, 1.0, False),
        ("calibration_slope", 0.0, 1.0, True),
        ("calibration_slope", 0.0, 4.0, False),
    ],
)
def test_a_calibration_whose_whole_interval_lies_outside_its_band_is_refused(
    rules, name, shift, factor, is_passed
):
    bands = {"calibration_intercept_band": [-0.5, 0.5], "calibration_slope_band": [0.5, 2.0]}
    strict = rules.model_copy(update={f"{name}_band": bands[f"{name}_band"]})
    verdict = judge(contest(*calibrated_scores(shift, factor)), strict)
    assert verdict["is_passed"] is is_passed
    if not is_passed:
        assert verdict["reasons"][0].startswith(name.replace("_", " "))
        assert verdict["is_acceptable"] is False
    assert judge(contest(*calibrated_scores(shift, factor)), rules)["is_passed"]  # off


def test_a_model_that_always_says_the_same_has_no_skill(rules):
    """The old gate, an expected calibration error of at most 0.2, passed 0.3 for every image."""
    target, scores = calibrated_scores(0.0)
    lenient = rules.model_copy(update={"min_auc_roc_lower_bound": 0.0, "min_brier_skill": 0.0})
    silent = np.full(400, 0.3) + 1e-6 * np.arange(400)
    refused = judge(contest(target, silent), lenient)
    assert "Brier skill" in refused["reasons"][-1]
    assert refused["challenger"]["expected_calibration_error"]["value"] < 0.2
    assert judge(contest(target, scores), lenient)["is_passed"]


def test_a_slope_that_separation_leaves_undefined_is_not_judged(rules):
    strict = rules.model_copy(update={"calibration_slope_band": [0.5, 2.0]})
    verdict = judge(contest(TARGET, FLAWLESS), strict)
    assert verdict["is_passed"]
    assert not gate_named(verdict, "calibration_slope_band")["is_judged"]


# ---- slices ----------------------------------------------------------------------------------


def part(value: str, auc: float | None, high: float | None = None) -> dict:
    entry = {"value": auc, "low": auc, "high": auc}
    found = {"slice": "sex", "value": value, "num_images": 30, "is_too_small": auc is None, "auc_roc": entry}
    return found if auc is None else found | {"auc_roc_simultaneous": entry | {"high": high}}


def test_a_slice_fails_if_its_interval_for_all_slices_together_lies_below_the_bound(rules):
    strict = rules.model_copy(update={"min_worst_slice_auc_roc": 0.6})
    parts = [part("female", 0.9, 0.95), part("male", 0.45, 0.59), part("not recorded", None)]
    verdict = judge(contest(TARGET, FLAWLESS, slices=parts), strict)
    (reason,) = verdict["reasons"]
    assert "of 2 slices, sex = male with 30 images has the lowest upper end: AUC 0.450" in reason
    assert verdict["is_acceptable"] is False
    parts[1] = part("male", 0.45, 0.6)  # a low value that may well be chance
    assert judge(contest(TARGET, FLAWLESS, slices=parts), strict)["is_passed"]
    parts[1] = part("male", 0.0, None)  # the wrong way round, which leaves no spread and no upper end
    assert not judge(contest(TARGET, FLAWLESS, slices=parts), strict)["is_passed"]


def test_where_no_slice_is_large_enough_the_gate_says_so_and_does_not_refuse(rules):
    strict = rules.model_copy(update={"min_worst_slice_auc_roc": 0.6})
    for parts in ([part("female", None)], [part("female", 0.1, None)], []):
        verdict = judge(contest(TARGET, FLAWLESS, slices=parts), strict)
        assert verdict["is_passed"]
        assert "no slice has enough test images of both classes" in verdict["gates"][-1]["words"]


# ---- other metrics and bad input -------------------------------------------------------------


def test_specificity_at_95_sensitivity_has_a_gate_of_its_own(rules):
    lenient = rules.model_copy(update={"max_primary_drop": 1.0})
    strict = lenient.model_copy(update={"max_specificity_drop": 0.0})
    # one positive image below a negative one: 9 of 10 negative ones are left at the sensitivity of all ten
    assert judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), lenient)["is_passed"]
    verdict = judge(contest(TARGET, ONE_PAIR_LOST, champion=FLAWLESS), strict)
    assert len(verdict["reasons"]) == 1
    assert "specificity_at_95_sensitivity" in verdict["reasons"][0]


def test_the_interval_of_another_metric_is_its_bootstrap_error_times_the_quantile_of_t():
    target, scores = good_scores(1)
    other = good_scores(2)[1]
    groups = np.arange(100)
    found, wide = (
        comparisons.difference(
            target, scores, other, groups, metric="average_precision", level=level, draws=Draws(400, 1)
        )
        for level in (0.95, 0.999)
    )
    half = (found["high"] - found["low"]) / 2
    assert half == pytest.approx(2.0096 * found["standard_error"], rel=1e-4)  # t of 50 positive groups
    assert wide["high"] - wide["low"] > 2 * half
    same = comparisons.difference(
        target, scores, scores, groups, metric="average_precision", level=0.95, draws=Draws(100, 1)
    )
    assert (same["low"], same["high"]) == (0, 0)
    with pytest.raises(ValueError, match="metric must be one of"):
        comparisons.difference(
            target, scores, other, groups, metric="sensitivity", level=0.95, draws=Draws(100, 1)
        )


@pytest.mark.parametrize("which", ["challenger", "champion", "anchor", "colour"])
def test_probabilities_that_are_no_numbers_pass_no_gate(rules, which):
    scored = {"challenger": FLAWLESS, "champion": FLAWLESS, "anchor": FLAWLESS, "colour": FLAWLESS}

    def verdict() -> dict:
        models = {name: scored[name] for name in ("challenger", "champion", "anchor")}
        return judge(contest(TARGET, references={"colour": scored["colour"]}, **models), rules)

    assert verdict()["is_passed"]
    scored[which] = np.where(np.arange(20) == 3, np.nan, FLAWLESS)
    assert verdict()["reasons"] == ["some probabilities are not finite, so the models cannot be compared"]


def test_malignant_images_alone_are_refused_as_one_class(rules):
    verdict = judge(contest(np.ones(8), np.linspace(0, 1, 8)), rules)
    assert verdict["reasons"] == ["all compared images have the same class, so the models cannot be compared"]
    assert "challenger" not in verdict


@pytest.mark.parametrize("num_images", [0, 8])
def test_no_malignant_images_at_all_are_refused(rules, num_images):
    verdict = judge(contest(np.zeros(num_images), np.linspace(0, 1, num_images)), rules)
    assert verdict["is_passed"] is False
    assert "0 positive groups" in verdict["reasons"][0]


def test_the_same_contest_gives_the_same_verdict(rules):
    target, scores = good_scores(1)
    first, second = (judge(contest(target, scores, champion=1 - scores), rules) for _ in range(2))
    assert first == second


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


# ---- what the rules promise, by simulation ---------------------------------------------------


@pytest.fixture(scope="module")
def simulated():
    """Rows by rule, from a few of the promotions of `make bench-statistics`."""
    return {row.rule: row for row in simulation.simulate(40, 1)}


def fraction(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


def test_a_challenger_worse_by_the_margin_passes_at_most_one_time_in_twenty(simulated):
    for rule in (simulation.PASSES_ONCE, simulation.NEAR_ONE, simulation.PASSES_EVER):
        assert fraction(simulated[rule].after) <= 0.05 + 0.07  # two standard errors of 40 promotions
    assert fraction(simulated[simulation.PASSES_EVER].before) > 0.15


def test_challengers_in_turn_do_not_creep_downhill(simulated):
    row = simulated[simulation.CREEPS]
    assert fraction(row.before) > simulation.MARGIN
    assert fraction(row.after) <= simulation.MARGIN


def test_a_network_equal_to_a_reference_hardly_ever_passes(simulated):
    row = simulated[simulation.EQUAL_REFERENCE]
    assert fraction(row.before) > 0.4
    assert fraction(row.after) <= 0.030 + 0.05


def test_many_networks_equal_to_a_reference_in_turn_hardly_ever_pass(simulated):
    row = simulated[simulation.EQUAL_REFERENCE_EVER]
    assert fraction(row.before) > 0.7
    assert fraction(row.after) <= 0.05 + 0.1  # two standard errors of 20 series


def test_a_model_equally_good_everywhere_is_hardly_ever_refused_for_a_slice(simulated):
    row = simulated[simulation.SLICES]
    assert fraction(row.before) > 0.2
    assert fraction(row.after) <= 0.05


def test_cross_fitted_decisions_are_judged_at_the_threshold_of_each_image(rules):
    """Half of the images at 0.95 and half at 0.15: at their own threshold all are decided rightly."""
    scores = np.where(TARGET == 1, 0.97, 0.9)
    scores[5:15] = np.where(TARGET[5:15] == 1, 0.2, 0.1)
    thresholds = np.full(20, 0.95)
    thresholds[5:15] = 0.15
    single = contest(TARGET, scores, threshold=0.5, images="labelled images")
    crossed = dataclasses.replace(
        single, challenger=dataclasses.replace(single.challenger, crossed=thresholds)
    )
    rules = rules.model_copy(update={"min_specificity_at_threshold": 0.6})
    verdicts = [judge(one, rules) for one in (single, crossed)]
    for name in ("sensitivity", "specificity"):
        assert [verdict["challenger"][name]["value"] for verdict in verdicts] == [0.5, 1]
    judged = [gate_named(verdict, "min_specificity_at_threshold") for verdict in verdicts]
    assert [gate["is_passed"] for gate in judged] == [False, True]
    assert "at the threshold 0.500 with which the model is served" in judged[0]["words"]
    assert "at cross-fitted thresholds (served: 0.500)" in judged[1]["words"]
    assert "among the 20 labelled images" in gate_named(verdicts[1], "min_malignant_groups")["words"]
