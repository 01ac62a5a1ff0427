import pandas as pd
import pytest

from melanoma.study import comparison_tables, paper_figures
from tests.study.toys import entry, network, result, view

FIGURES = paper_figures.load()
STUDIED = {
    "ph2": result("ph2", {f"conv_blocks_{depth}": network(depth) for depth in (1, 3)}),
    "isic": result("isic", {"conv_blocks_3": network(), "vgg16_5": network(5, family="vgg16", ours=0.8)}),
}


def test_table_1_has_the_printed_row_and_one_for_each_protocol_of_each_depth():
    table = comparison_tables.table_1(FIGURES, STUDIED)
    assert table[table["layers"] == 1]["source"].tolist() == [
        "the paper",
        "ours, paper's protocol",
        "ours, leak-free",
    ]
    assert table[table["layers"] == 2]["source"].tolist() == ["the paper"]  # not trained
    three = table[table["layers"] == 3].set_index("source")
    assert three.loc["the paper", "sensitivity (recall)"] == "0.9700"
    assert three.loc["ours, leak-free", "F1"] == "0.700 (0.650 to 0.750)"
    assert three.loc["ours, leak-free", "test images"] == "40 (8 positive)"


def test_table_2_keeps_the_papers_datasets_in_its_order():
    table = comparison_tables.table_2(FIGURES, STUDIED)
    assert table["dataset"].drop_duplicates().tolist() == ["isic", "ph2", "joint"]
    assert table[table["dataset"] == "joint"]["source"].tolist() == ["the paper"]


def test_table_3_sets_both_networks_beside_each_other_with_their_loss():
    table = comparison_tables.table_3(FIGURES, STUDIED).set_index(["network", "source"])
    assert table.loc[("VGG-16", "the paper"), "loss"] == "0.4723"
    assert table.loc[("VGG-16", "ours, leak-free"), "AUC"] == "0.800 (0.750 to 0.850)"


def test_without_results_the_tables_hold_what_was_printed():
    for table in (comparison_tables.table_1, comparison_tables.table_2, comparison_tables.table_3):
        assert set(table(FIGURES, {})["source"]) == {"the paper"}


def test_confusion_matrices_are_of_the_first_seed():
    table = comparison_tables.confusion(FIGURES, STUDIED).set_index(["dataset", "source"])
    assert table.loc[("ph2", "ours, leak-free"), "true positives"] == 5
    assert table.loc[("joint", "the paper"), "true negatives"] == 274


def test_what_the_protocol_adds_has_a_row_for_each_test_and_each_difference():
    rows = comparison_tables.protocols({"ph2": result("ph2")})
    assert rows["tested on"].tolist() == [
        "test set of the paper's protocol",
        "of it, images with a relative in another split",
        "of it, images without such a relative",
        "leak-free test set, balanced by copies afterwards",
        "leak-free test set",
        "difference: paper's minus leak-free test set",
        "difference: paper's minus leak-free test set, balanced by copies afterwards",
    ]
    assert rows["AUC"].iloc[5] == "0.200 (0.150 to 0.250)"


@pytest.mark.parametrize(
    ("printed", "of_paper", "of_leak_free"),
    [
        (0.9, "within our interval", "ours is lower"),
        (0.85, "within our interval", "ours is lower"),
        (0.84, "ours is higher", "ours is lower"),
        (0.96, "ours is lower", "ours is lower"),
        (0.72, "ours is higher", "within our interval"),
    ],
)
def test_a_figure_is_held_against_our_interval_under_both_protocols(printed, of_paper, of_leak_free):
    figures = FIGURES | {"table_1": [], "table_3": {}, "table_2": {"ph2": {"accuracy": printed}}}
    [row] = comparison_tables.verdicts(figures, STUDIED).to_dict("records")
    assert (row["paper_verdict"], row["leak_free_verdict"]) == (of_paper, of_leak_free)


def test_a_perfect_rate_has_an_exact_interval_and_a_missing_end_gives_no_verdict():
    certain = network()
    found = certain["protocols"]["paper"]["views"]["test"]
    figures = FIGURES | {"table_1": [], "table_3": {}, "table_2": {"ph2": {"sensitivity": 0.97}}}
    for low, verdict in ((0.82, "within our interval"), (0.98, "ours is higher"), (None, "undefined")):
        found["sensitivity"] = {"value": 1.0, "low": low, "high": 1.0}
        [row] = comparison_tables.verdicts(
            figures, {"ph2": result("ph2", {"conv_blocks_3": certain})}
        ).to_dict("records")
        assert row["paper"] == found["sensitivity"]
        assert row["paper_verdict"] == verdict


def test_a_protocol_that_was_not_trained_has_no_verdict():
    alone = network()
    del alone["protocols"]["leak_free"]
    figures = FIGURES | {"table_1": [], "table_3": {}, "table_2": {"ph2": {"accuracy": 0.9}}}
    [row] = comparison_tables.verdicts(figures, {"ph2": result("ph2", {"conv_blocks_3": alone})}).to_dict(
        "records"
    )
    assert row["paper_verdict"] == "within our interval"
    assert pd.isna(row["leak_free_verdict"])


@pytest.mark.parametrize(
    ("num_images", "num_malignant", "too_few"),
    [
        (20, 15, {"specificity", "F1", "precision (ppv)", "AUC"}),  # five negative images of four groups
        (20, 5, {"sensitivity (recall)", "F1", "precision (ppv)", "AUC"}),
        (20, 6, set()),
    ],
)
def test_what_rests_on_too_few_groups_of_a_class_is_not_shown(num_images, num_malignant, too_few):
    some = network()
    some["protocols"]["paper"]["views"] = {
        "test": some["protocols"]["paper"]["views"]["test"],
        "test_with_relatives": view(0.9, num_images=num_images, num_malignant=num_malignant),
    }
    row = comparison_tables.protocols({"ph2": result("ph2", {"conv_blocks_3": some})}).iloc[1]
    assert set(row[row == "n too small"].index) == too_few
    assert row["accuracy"] == "0.900 (0.850 to 0.950)"


def test_what_was_kept_by_validation_stands_beside_what_came_out_on_test():
    table = comparison_tables.validation({"ph2": result("ph2")})
    assert table["source"].tolist() == ["ours, paper's protocol", "ours, leak-free"]
    assert table["epochs kept"].tolist() == ["10, 20, 30"] * 2
    assert table["AUC on validation"].tolist() == ["0.800", "0.500"]
    assert table["AUC on test, of each network"].iloc[0] == "0.900, 0.900, 0.900"


def test_epochs_stand_in_the_order_of_seeds_as_the_aucs_on_test_do():
    entry = network()
    for found in entry["protocols"].values():
        found["runs"] = found["runs"][::-1]  # as they are where params.yaml names the last seed first
    table = comparison_tables.validation({"ph2": result("ph2", {"conv_blocks_3": entry})})
    assert table["epochs kept"].tolist() == ["10, 20, 30"] * 2


def test_one_validation_auc_that_is_undefined_makes_their_mean_so():
    some = network()
    some["protocols"]["paper"]["runs"][0]["best_val_auc_roc"] = None
    table = comparison_tables.validation({"ph2": result("ph2", {"conv_blocks_3": some})})
    assert table["AUC on validation"].tolist() == ["undefined", "0.500"]


def test_other_networks_are_compared_with_the_published_one():
    table = comparison_tables.against_main(STUDIED)
    assert table["network"].drop_duplicates().tolist() == [
        "vgg16_5 minus conv_blocks_3",
        "conv_blocks_1 minus conv_blocks_3",
    ]
    assert table.iloc[1]["AUC"] == "0.100 (0.050 to 0.150)"  # VGG-16, leak-free
    assert comparison_tables.against_main({"ph2": result("ph2")}).empty


def test_what_is_undefined_is_no_verdict_of_ours():
    lacking = network()
    lacking["protocols"]["paper"]["views"]["test"]["ppv"] = entry(None)
    figures = FIGURES | {"table_1": [], "table_3": {}, "table_2": {"ph2": {"ppv": 0.9}}}
    [row] = comparison_tables.verdicts(figures, {"ph2": result("ph2", {"conv_blocks_3": lacking})}).to_dict(
        "records"
    )
    assert row["paper_verdict"] == "undefined"


def test_no_verdict_is_given_on_what_was_not_trained():
    assert comparison_tables.verdicts(FIGURES, {}).empty


def test_every_check_is_a_row():
    checked = paper_figures.check(FIGURES, tolerance=1e-4)
    table = comparison_tables.contradictions(checked)
    assert len(table) == len(checked["checks"])
    assert set(table["agrees"]) == {"yes", "no"}
    assert table["assumes"].tolist() == [check["assumes"] for check in checked["checks"]]


def test_shares_of_checks_have_four_decimals_and_counts_none():
    table = comparison_tables.contradictions(paper_figures.check(FIGURES, tolerance=1e-4)).set_index("claim")
    shares = table.loc["ppv of isic: Tables II and III, and its own confusion matrix"]
    assert (shares["printed"], shares["follows"]) == ("0.9735", "0.9740")
    counts = table.loc["images of both datasets: in the abstract, and the sum of the datasets"]
    assert (counts["printed"], counts["follows"]) == ("2650", "2850")


def test_images_are_counted_by_split_and_protocol():
    table = comparison_tables.images({"ph2": result("ph2")})
    assert len(table) == 2 * 3
    pd.testing.assert_series_equal(
        table.groupby("protocol", sort=False)["copies"].max(),
        pd.Series(
            [12, 0],
            index=pd.Index(["ours, paper's protocol", "ours, leak-free"], name="protocol"),
            name="copies",
        ),
    )
