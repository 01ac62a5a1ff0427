"""The test for shift: effects that can be counted, invariances, refusals, and its level over groups."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from melanoma.monitoring import shift
from tests.simulations import colour_cast
from tests.simulations import shift as simulation

pytestmark = pytest.mark.filterwarnings("error")
ONE_WINDOW = {"alpha": 0.2, "num_windows": 1, "min_effect": 0.0, "seed": 1}  # 100 permutations


def ids(side: str, num: int) -> list[str]:
    """Names of groups of one row."""
    return [f"{side}{number}" for number in range(num)]


def compare(reference, window, groups_reference=None, groups_window=None, **changed) -> shift.Shift:
    """`shift.compare` of columns; each row is a group by default."""
    first, second = pd.DataFrame(reference), pd.DataFrame(window)
    return shift.compare(
        first,
        second,
        ids("r", len(first)) if groups_reference is None else groups_reference,
        ids("w", len(second)) if groups_window is None else groups_window,
        **(ONE_WINDOW | changed),
    )


def drawn(num: int, seed: int, *, num_features: int = 3) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(num, num_features))
    return pd.DataFrame(values, columns=[f"f{number}" for number in range(num_features)])


def by_name(found: shift.Shift) -> dict[str, shift.Feature]:
    return {feature.name: feature for feature in found.features}


def test_the_effect_of_a_counted_example():
    # Of 4 * 3 pairs the window is higher in 7 and equal in 2: (7 + 2 / 2) / 12 - 1 / 2.
    (feature,) = compare({"sharpness": [1, 2, 3, 4]}, {"sharpness": [2, 3, 9]}).features
    assert feature.effect == pytest.approx((7 + 2 / 2) / 12 - 1 / 2)


def test_the_effect_of_a_rate_is_half_the_difference_of_the_rates():
    reference, window = {"refer": [True] + 9 * [False]}, {"refer": 3 * [True] + 2 * [False]}
    assert compare(reference, window).features[0].effect == pytest.approx((3 / 5 - 1 / 10) / 2)


def test_the_effect_is_that_of_mann_and_whitney():
    reference, window = drawn(30, 1).round(), drawn(20, 2).round()
    for name, feature in by_name(compare(reference, window)).items():
        pairs = stats.mannwhitneyu(window[name], reference[name]).statistic
        assert feature.effect == pytest.approx(pairs / (30 * 20) - 0.5)


def test_the_p_value_is_that_of_all_permutations():
    reference, window, num = [3, 1, 4, 1, 5], [5, 9, 2, 6], 20_000
    exact = stats.permutation_test(
        (window, reference),
        lambda first, second: abs(stats.mannwhitneyu(first, second).statistic - 10),
        n_resamples=np.inf,
        alternative="greater",
    ).pvalue
    found = compare({"a": reference}, {"a": window}, num_permutations=num)
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / num))


def test_the_standardised_difference_is_that_of_the_rank_sum_test():
    # Wilcoxon: without ties, the variance of the effect is (m + n + 1) / (12 m n).
    (feature, *_) = compare(drawn(30, 1), drawn(20, 2), num_permutations=20_000).features
    expected = feature.effect / math.sqrt(51 / (12 * 30 * 20))
    assert feature.standardised_difference == pytest.approx(expected, rel=0.03)


def test_a_p_value_is_never_zero():
    found = compare({"a": range(50)}, {"a": range(100, 130)})
    assert (found.p_value, found.num_permutations) == (1 / 101, 100)


def test_adjusted_p_values_account_for_all_features():
    reference, window = drawn(40, 1, num_features=10), drawn(30, 2, num_features=10)
    found = compare(reference, window, num_permutations=5_000)
    assert found.p_value == min(feature.adjusted_p_value for feature in found.features)
    for name, feature in by_name(found).items():
        alone = compare(reference[[name]], window[[name]], num_permutations=5_000)
        assert feature.adjusted_p_value >= alone.p_value
        assert feature.effect == alone.features[0].effect


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda column: 5 * column - 3])
def test_a_monotone_transform_changes_nothing(transform):
    reference, window = drawn(30, 1), drawn(20, 2)
    assert compare(transform(reference), transform(window)) == compare(reference, window)


def test_the_order_of_rows_and_columns_changes_nothing_but_the_permutations():
    reference, window = drawn(30, 1), drawn(21, 2) + 0.5
    groups, groups_window = np.repeat(ids("r", 10), 3), np.repeat(ids("w", 7), 3)
    order = np.random.default_rng(3).permutation(30)
    given = compare(reference, window, groups, groups_window, num_permutations=20_000)
    other = compare(
        reference.iloc[order, ::-1],
        window.iloc[::-1, [1, 0, 2]],
        groups[order],
        groups_window[::-1],
        num_permutations=20_000,
    )
    assert [feature.name for feature in other.features] == ["f2", "f1", "f0"]
    for name, feature in by_name(other).items():
        assert feature.effect == by_name(given)[name].effect
        assert feature.adjusted_p_value == pytest.approx(by_name(given)[name].adjusted_p_value, abs=0.02)


def test_a_planted_shift_is_found_and_named():
    reference, window = drawn(100, 1), drawn(60, 2)
    rules = {"alpha": 0.05, "num_windows": 12, "min_effect": 0.1}
    assert not compare(reference, window, **rules).is_alarm
    window["f1"] += 1
    found = compare(reference, window, **rules)
    assert found.is_alarm
    assert (found.level, found.num_permutations) == (0.05 / 12, 20 * 12 / 0.05)
    assert [feature.name for feature in found.features if feature.is_shifted] == ["f1"]
    assert by_name(found)["f1"].effect == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)) - 0.5, abs=0.1)


def test_a_shift_below_the_minimum_effect_is_no_alarm():
    reference, window = {"a": np.arange(2_000.0)}, {"a": np.arange(1_000.0) + 700}
    found = compare(reference, window, min_effect=0.15)
    assert found.features[0].effect == pytest.approx(0.1, abs=0.001)
    assert found.p_value <= found.level
    assert not found.is_alarm
    assert compare(reference, window, min_effect=0.05).is_alarm


def test_missing_values_are_left_out_of_their_feature_only():
    reference = {"a": [1.0, 2.0, np.nan, 3.0], "b": [1.0, 2.0, 3.0, 4.0]}
    window = {"a": [2.0, np.nan, 4.0], "b": [5.0, 6.0, 7.0]}
    found = by_name(compare(reference, window))
    assert found["a"].effect == pytest.approx((1 + 1 / 2 + 3) / 6 - 0.5)
    assert found["b"].effect == 0.5


def test_nullable_columns_are_read_as_others():
    reference, window = [0, 1, None, 0], [1, 1, 0]
    nullable = [pd.DataFrame({"refer": side}).astype("boolean") for side in (reference, window)]
    plain = [pd.DataFrame({"refer": side}, dtype=float) for side in (reference, window)]
    assert compare(*nullable) == compare(*plain)


def test_a_feature_that_cannot_be_tested_says_why_and_does_not_disturb_the_others():
    empty, constant = {"empty": 4 * [np.nan]}, {"constant": 4 * [1.0]}
    reference, window = {"a": [1.0, 2.0, 3.0, 4.0]}, {"a": [5.0, 6.0, 7.0, 8.0]}
    found = compare(reference | {"empty": range(4)} | constant, window | empty | constant)
    assert by_name(found)["a"] == compare(reference, window).features[0]
    assert by_name(found)["empty"].undefined == "no values in the window"
    assert by_name(found)["constant"].undefined == "no variation between groups"
    assert not found.undefined
    assert compare(window | empty, reference | {"empty": range(4)}).features[1].undefined == (
        "no values in the reference"
    )


@pytest.mark.parametrize(
    ("num_reference", "num_window", "reason"),
    [
        (4, 0, "the window has no rows"),
        (0, 4, "the reference has no rows"),
        (0, 0, "the reference has no rows"),
        (3, 2, "too few groups: 10 arrangements cannot reach the level 0.1"),
    ],
)
def test_a_comparison_that_cannot_be_made_says_why(num_reference, num_window, reason):
    rules = {"alpha": 0.1, "num_windows": 1}
    found = compare({"a": np.arange(num_reference)}, {"a": np.arange(num_window)}, **rules)
    assert found.undefined == found.features[0].undefined == reason
    assert math.isnan(found.p_value)
    assert not found.is_alarm
    assert found.num_permutations == 0
    assert not compare({"a": range(4)}, {"a": range(3)}, **rules).undefined  # 35 arrangements


def test_features_that_do_not_vary_give_no_p_value():
    found = compare({"a": 5 * [1.0], "b": 5 * [0.0]}, {"a": 4 * [1.0], "b": 4 * [0.0]})
    assert found.undefined == "no feature varies between groups"
    assert math.isnan(found.p_value)
    assert found.features[0].effect == 0


def test_many_rows_of_few_groups_are_too_few():
    found = compare({"a": np.arange(300)}, {"a": np.arange(300)}, 300 * ["one"], 300 * ["two"])
    assert found.undefined == "too few groups: 2 arrangements cannot reach the level 0.2"


def test_the_result_fits_json():
    found = compare({"a": [1.0, 2.0]}, {"a": []}).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["p_value"] is None
    assert found["features"][0]["effect"] is None
    assert found["num_rows_reference"] == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"alpha": 0}, "alpha must be in"),
        ({"alpha": 1}, "alpha must be in"),
        ({"num_windows": 0}, "num_windows must be at least 1"),
        ({"min_effect": -0.1}, "min_effect must be from 0 to 0.5"),
        ({"min_effect": math.nan}, "min_effect must be from 0 to 0.5"),
        ({"num_permutations": 99}, "num_permutations must be at least 100"),
        ({"groups_reference": ids("r", 4)}, "the reference has 5 rows, but 4 groups"),
        ({"groups_window": ids("w", 5)}, "the window has 4 rows, but 5 groups"),
        ({"groups_window": ["a", None, "b", math.nan]}, "2 rows have no group"),
        ({"window": {"b": range(4)}}, "columns differ"),
        ({"window": {"a": range(4), "b": range(4)}}, "columns differ"),
        ({"window": {"a": list("abcd")}}, r"columns of the window are not numeric: \['a'\]"),
        ({"reference": {}, "groups_reference": []}, "needs columns"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed, words):
    given = {"reference": {"a": range(5)}, "window": {"a": range(4)}}
    with pytest.raises(ValueError, match=words):
        compare(**(given | changed))
    legal = {"num_permutations": 100, "groups_reference": ids("r", 5), "groups_window": [1, 2, 2, "b"]}
    assert not compare(**given, **legal).undefined


def test_a_patient_on_both_sides_is_counted_on_both():
    found = compare({"a": range(6)}, {"a": range(4)}, list("aabbcd"), list("abcx"))
    assert (found.num_groups_reference, found.num_groups_window, found.num_groups_in_both) == (4, 4, 3)
    assert (found.num_rows_reference, found.num_rows_window) == (6, 4)


def test_patients_on_both_sides_are_compared_with_themselves():
    # Patients differ by 10, each is higher by 1 in the window: only the order within patients tells.
    patients = 10.0 * np.arange(12)
    names = ids("p", 12)
    paired = compare({"a": patients}, {"a": patients + 1}, names, names, num_permutations=20_000)
    assert paired.p_value == pytest.approx(2 / 2**12, abs=4 * math.sqrt(2 / 2**12 / 20_000))
    assert compare({"a": patients}, {"a": patients + 1}).p_value > 0.5


def p_values(num: int, draw) -> np.ndarray:
    """P-values of `num` comparisons at a level of 0.05; `draw(generator)` gives the arguments."""
    generator = np.random.default_rng(1)
    return np.array([compare(*draw(generator), alpha=0.05, seed=at).p_value for at in range(num)])


def test_copies_of_an_image_do_not_make_a_shift_but_would_if_they_were_permuted_as_images():
    num, copies = 200, 10
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / num)

    def clustered(generator, *, is_by_patient: bool):
        values = [np.repeat(generator.normal(size=(size, 2)), copies, axis=0) for size in (40, 20)]
        groups = [np.repeat(ids(side, size), copies) for side, size in (("r", 40), ("w", 20))]
        return (*values, *(groups if is_by_patient else (None, None)))

    by_patient = p_values(num, lambda generator: clustered(generator, is_by_patient=True))
    by_image = p_values(num // 4, lambda generator: clustered(generator, is_by_patient=False))
    assert (by_patient <= 0.05).mean() <= most
    assert (by_image <= 0.05).mean() > 0.5


def test_patients_who_return_make_no_shift():
    """Half of the patients of the window were there before, with up to three times as many images."""
    num = 200

    def returning(generator):
        of_reference = np.repeat(np.arange(40), generator.integers(1, 4, 40))
        of_window = np.arange(20, 60)
        patients = generator.normal(size=(60, 2))
        sides = [patients[rows] + generator.normal(size=(len(rows), 2)) for rows in (of_reference, of_window)]
        return (*sides, of_reference, of_window)

    assert (p_values(num, returning) <= 0.05).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / num)


def test_groups_have_as_many_rows_on_both_sides():
    """Reference: a group of 1 row, one of 2 and one of 3; window: 1 and 5 rows."""
    found = compare({"a": range(6)}, {"a": range(6)}, list("abbccc"), list("vwwwww"))
    assert (found.num_rows_reference, found.num_rows_window) == (6, 6)
    assert found.num_rows_left_out == 1 + 2  # of b, as v has one row; of w, as c has three
    same = compare({"a": range(6)}, {"a": range(6)}, list("abbccc"), list("vwwxxx"))
    assert same.num_rows_left_out == 0


def test_a_group_on_both_sides_keeps_the_smaller_number_of_its_rows():
    found = compare({"a": range(6)}, {"a": range(5)}, list("aaaabb"), list("abbbb"))
    assert found.num_rows_left_out == 3 + 2  # three of a in the reference, two of b in the window
    assert found.num_groups_in_both == 2


def test_which_rows_are_left_out_depends_on_the_seed_alone():
    sides = (drawn(60, 1), drawn(10, 2), np.repeat(ids("r", 6), 10), ids("w", 10))
    assert compare(*sides) == compare(*sides)
    effects = {compare(*sides, seed=seed).features[0].effect for seed in range(5)}
    assert len(effects) == 5


@pytest.mark.parametrize(
    ("rows_of_reference", "rows_of_window", "returns"),
    [((10, 20), (1, 1), False), ((6, 12), (1, 3), False), ((1, 3), (6, 12), False), ((10, 20), (1, 1), True)],
)
def test_groups_of_unlike_sizes_make_no_shift_and_hide_none(rows_of_reference, rows_of_window, returns):
    num = 200

    def sides(generator, *, shifted_by: float):
        patients = generator.normal(size=(120, 2))
        of_reference = np.repeat(np.arange(80), generator.integers(*rows_of_reference, 80, endpoint=True))
        first = 40 if returns else 80
        of_window = np.repeat(
            np.arange(first, first + 40), generator.integers(*rows_of_window, 40, endpoint=True)
        )
        values = [
            patients[rows] + generator.normal(size=(len(rows), 2)) for rows in (of_reference, of_window)
        ]
        return (values[0], values[1] + shifted_by, of_reference, of_window)

    quiet = p_values(num, lambda generator: sides(generator, shifted_by=0))
    assert 0.005 < (quiet <= 0.05).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / num)
    shifted = p_values(num // 4, lambda generator: sides(generator, shifted_by=1))
    assert (shifted <= 0.05).mean() > 0.9


def test_histories_without_a_shift_seldom_alarm_and_those_with_one_soon_do():
    mine, *others = np.array([simulation.quiet_alarms((1, at)) for at in range(10)]).T
    assert np.isfinite(mine).sum() <= 2
    assert np.isfinite(others[0]).mean() > 0.5
    for shifted in simulation.SHIFTS:
        found = [simulation.shifted_alarms(shifted, 1, (1, at))[0] for at in range(2)]
        assert max(found) <= 2


def test_the_simulation_screens_windows_with_few_permutations_without_losing_an_alarm():
    """By the declared number of permutations alone, the first alarms are the same."""
    reference, windows = simulation.history((1, 0), shifted="score", strength=0.6)
    found = [
        shift.compare(
            reference.features,
            window.features,
            reference.patient_ids,
            window.patient_ids,
            alpha=simulation.ALPHA,
            num_windows=simulation.NUM_WINDOWS,
            min_effect=simulation.MIN_EFFECT,
            seed=0,
        ).is_alarm
        for window in windows[:6]
    ]
    assert any(found)
    assert [simulation.permutation_rule(reference, window) for window in windows[:6]] == found


def test_a_red_cast_changes_red_and_blue():
    squares = [np.full((64, 64, 3), level, np.uint8) for level in (100, 250)]
    assert (colour_cast.tinted(squares[0], 0.1) == (110, 100, 90)).all()
    assert (colour_cast.tinted(squares[1], 0.1) == (255, 250, 225)).all()
    assert (colour_cast.tinted(squares[0], 0) == squares[0]).all()
