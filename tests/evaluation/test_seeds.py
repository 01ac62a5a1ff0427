import json
import math

import pandas as pd
import pytest

from melanoma import files
from melanoma.errors import DataError
from melanoma.evaluation import seeds

ONE = {"seeds": [1], "learned_from": seeds.ALL_BUT_ONE, "scored_on": seeds.HOLDOUT, "num_folds": 1}
NETWORKS = {"baseline": ONE, "tuned": ONE}
CHANGED = {"learning_rate": (0.0005, 0.000409), "depth": (3, 4)}

pytestmark = pytest.mark.filterwarnings("error")


def table(baseline: list[float], tuned: list[float], first: int = 1) -> pd.DataFrame:
    """One row per network; losses are 1 - AUC."""
    rows = [
        {"model": model, "seed": seed, "val_loss": 1 - auc, "val_auc_roc": auc}
        for model, values in (("baseline", baseline), ("tuned", tuned))
        for seed, auc in enumerate(values, start=first)
    ]
    return pd.DataFrame(rows)


def compare(baseline: list[float], tuned: list[float], *, same: bool = False) -> dict:
    return seeds.compare(table(baseline, tuned), changed={} if same else CHANGED, networks=NETWORKS)


def test_mean_spread_and_bounds_of_scores_one_can_count():
    described = compare([0.5, 0.7, 0.9], [0.75, 0.75, 0.75])["baseline"]["val_auc_roc"]
    assert described["by_seed"] == {"1": 0.5, "2": 0.7, "3": 0.9}
    assert described["mean"] == pytest.approx(0.7)
    assert described["standard_deviation"] == pytest.approx(0.2)  # sqrt((0.04 + 0 + 0.04) / 2)
    assert (described["min"], described["max"]) == (0.5, 0.9)


def test_the_difference_is_taken_seed_by_seed():
    comparison = compare([0.5, 0.7, 0.9], [0.75, 0.75, 0.75])
    difference = comparison["tuned_minus_baseline"]["val_auc_roc"]
    assert list(difference["by_seed"].values()) == pytest.approx([0.25, 0.05, -0.15])
    assert difference["mean"] == pytest.approx(0.05)
    assert difference["standard_deviation"] == pytest.approx(0.2)
    assert (difference["min"], difference["max"]) == pytest.approx((-0.15, 0.25))
    assert comparison["tuned_minus_baseline"]["val_loss"]["mean"] == pytest.approx(-0.05)


def test_a_few_seeds_have_no_interval():
    found = compare([0.5, 0.6, 0.7], [0.6, 0.71, 0.8])["tuned_minus_baseline"]["val_auc_roc"]
    assert not {"low", "high"} & set(found)


def test_a_common_rise_of_both_models_changes_no_difference():
    before = compare([0.5, 0.6], [0.55, 0.7])["tuned_minus_baseline"]["val_auc_roc"]
    after = compare([0.7, 0.8], [0.75, 0.9])["tuned_minus_baseline"]["val_auc_roc"]
    assert before["mean"] == pytest.approx(after["mean"])
    assert before["max"] == pytest.approx(after["max"])


def test_the_spread_of_one_seed_is_undefined_not_zero(tmp_path):
    comparison = compare([0.7], [0.8])
    assert math.isnan(comparison["baseline"]["val_auc_roc"]["standard_deviation"])
    difference = comparison["tuned_minus_baseline"]["val_auc_roc"]
    assert difference["mean"] == pytest.approx(0.1)
    assert math.isnan(difference["standard_deviation"])
    files.write_json(comparison, tmp_path / "seeds.json")
    stored = json.loads((tmp_path / "seeds.json").read_text())
    assert stored["baseline"]["val_auc_roc"]["standard_deviation"] is None
    assert "baseline 0.700, tuned 0.800; difference by seed +0.100 (1 seed is no evi" in seeds.summary_line(
        stored
    )


def test_the_kept_seed_is_the_first_one_not_the_best():
    comparison = seeds.compare(table([0.5, 0.9], [0.6, 0.7], first=4), changed=CHANGED, networks=NETWORKS)
    assert comparison["seeds"] == [4, 5]
    assert comparison["kept_seed"] == 4


@pytest.mark.parametrize(
    ("baseline", "tuned", "selected"),
    [
        ([0.5, 0.7], [0.65, 0.6], "tuned"),  # 0.6 and 0.625
        ([0.5, 0.7], [0.5, 0.69], "baseline"),
        ([0.5, 0.75], [0.75, 0.5], "baseline"),  # a tie
        ([0.9, 0.5], [0.95, 0.4], "baseline"),  # the first seed alone would call it progress
    ],
)
def test_the_higher_mean_is_selected_and_the_baseline_on_a_tie(baseline, tuned, selected):
    assert seeds.select(compare(baseline, tuned)) == selected


def test_the_same_hyperparameters_are_no_progress_however_they_come_out():
    better = ([0.5, 0.6], [0.7, 0.8])
    assert seeds.select(compare(*better, same=True)) == "baseline"
    assert seeds.select(compare(*better, same=False)) == "tuned"


def test_the_summary_line_says_means_ranges_and_every_difference():
    line = seeds.summary_line(compare([0.5, 0.7, 0.9], [0.75, 0.75, 0.75]))
    assert line == (
        "hold-out AUC, mean of seeds 1, 2, 3: baseline 0.700 (range 0.500 to 0.900), tuned 0.750 "
        "(range 0.750 to 0.750); difference by seed +0.250, +0.050, -0.150 "
        "(3 seeds are no evidence that one is better); "
        "tuned has learning_rate 0.00041, depth 4 instead of learning_rate 0.0005, depth 3"
    )


def test_the_summary_line_says_when_both_networks_have_the_same_hyperparameters():
    same, other = (seeds.summary_line(compare([0.5, 0.6], [0.5, 0.6], same=same)) for same in (True, False))
    assert same.endswith("both have the same hyperparameters")
    assert "the same hyperparameters" not in other


def test_metrics_for_the_tracker_are_mean_and_spread_of_each_score():
    flat = seeds.flat_metrics(compare([0.5, 0.7, 0.9], [0.75, 0.75, 0.75]), "baseline")
    assert flat == pytest.approx(
        {
            "seeds/loss_mean": 0.3,
            "seeds/loss_standard_deviation": 0.2,
            "seeds/auc_roc_mean": 0.7,
            "seeds/auc_roc_standard_deviation": 0.2,
        }
    )


def test_networks_are_paired_by_seed_whatever_the_order_of_the_rows():
    rows = table([0.5, 0.7, 0.9], [0.75, 0.85, 0.75])
    by_seed = [
        seeds.compare(given, changed=CHANGED, networks=NETWORKS)["tuned_minus_baseline"]["val_auc_roc"][
            "by_seed"
        ]
        for given in (rows, rows.iloc[[5, 0, 4, 2, 1, 3]])
    ]
    assert by_seed[0] == pytest.approx(by_seed[1])


@pytest.mark.parametrize("wrong", [[1, 2, 3, 1, 2, 4], [1, 2, 2, 1, 2, 2]], ids=["others", "twice"])
def test_models_of_other_seeds_are_refused(wrong):
    rows = table([0.5, 0.7, 0.9], [0.75, 0.85, 0.75])
    with pytest.raises(DataError, match=r"once with each seed; the baseline has the seeds \[1, 2"):
        seeds.compare(rows.assign(seed=wrong), changed=CHANGED, networks=NETWORKS)


def test_the_table_has_a_row_for_each_network():
    score = {"val_auc_roc": {"by_seed": {"1": 0.5, "2": 0.75}}}
    found = seeds.table({"baseline": score, "tuned": score})
    assert found["network"].tolist() == [
        "baseline, seed 1",
        "baseline, seed 2",
        "tuned, seed 1",
        "tuned, seed 2",
    ]
    assert found["val_auc_roc"].tolist() == [0.5, 0.75, 0.5, 0.75]


SEVERAL = {"seeds": [1, 2], "learned_from": seeds.ALL, "scored_on": seeds.OUT_OF_FOLD, "num_folds": 1}


def of_kinds(**networks):
    rows = table([0.5, 0.7, 0.9], [0.75, 0.85, 0.65])
    return seeds.compare(rows, changed=CHANGED, networks=NETWORKS | networks)


def test_a_network_that_is_served_alone_has_its_own_score():
    assert seeds.score_of_served(of_kinds(), "baseline") == 0.5
    alone_on_all = of_kinds(tuned=SEVERAL | {"seeds": [1]})
    assert seeds.score_of_served(alone_on_all, "tuned") == 0.75  # the mean: it learned from all groups


def test_several_networks_are_never_scored_on_training_groups_but_their_recipe_is():
    found = of_kinds(tuned=SEVERAL)
    assert seeds.score_of_served(found, "tuned") == pytest.approx(0.75)  # of 0.75, 0.85 and 0.65
    assert "is not scored there" in found["rule"]


def test_what_is_served_and_what_judged_it_is_said():
    found = of_kinds(tuned=SEVERAL)
    assert seeds.provenance(found, "tuned") == (
        "The tuned model is the mean of the logits of 2 networks, seeds 1, 2. Each of them learned from all "
        "training groups. Its recipe was judged by networks of the seeds 1, 2, 3 on training groups that "
        "they did not learn from (out of fold), on which nothing was chosen: AUC 0.750 on average (0.650 to "
        "0.850)."
    )
    assert seeds.provenance(found, "baseline") == (
        "The baseline model is the network of seed 1. It learned from all training groups but those of one "
        "fold. Its recipe was judged by networks of the seeds 1, 2, 3 on training groups that they did not "
        "learn from (hold-out inside training), which chose their epochs: AUC 0.700 on average (0.500 to "
        "0.900)."
    )


def test_results_of_older_versions_have_one_network_that_chose_its_epoch_on_a_hold_out():
    older = of_kinds()
    del older["networks"], older["rule"]
    assert seeds.provenance(older, "tuned").startswith("The tuned model is the network of seed 1. Its recipe")
    assert seeds.summary_line(older).startswith("hold-out AUC, mean of seeds 1, 2, 3: baseline 0.700")


def test_the_summary_line_says_which_kind_of_score_each_model_has():
    line = seeds.summary_line(of_kinds(tuned=SEVERAL))
    assert line.startswith(
        "held-out AUC, mean of seeds 1, 2, 3: baseline 0.700 (range 0.500 to 0.900) (hold-"
    )
    assert "tuned 0.750 (range 0.650 to 0.850) (out of fold);" in line
    both = seeds.summary_line(of_kinds(tuned=SEVERAL, baseline=ONE | {"scored_on": seeds.OUT_OF_FOLD}))
    assert both.startswith("out-of-fold AUC, mean of seeds")


def test_a_hyperparameter_is_told_for_each_model_also_where_both_have_the_same():
    changed = {"changed": {"sampling_power": [1.0, 0.5]}}
    assert seeds.hyperparameter(changed, "sampling_power", 1.0) == {"baseline": 1.0, "tuned": 0.5}
    assert seeds.hyperparameter({"changed": {}}, "sampling_power", 1.0) == {"baseline": 1.0, "tuned": 1.0}
