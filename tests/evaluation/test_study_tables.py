import pandas as pd
import pytest

from melanoma.evaluation import published, study_tables
from tests.evaluation.study_toys import entry, network, result

FIGURES = published.load()
STUDIED = {
    "ph2": result("ph2", {f"conv_blocks_{depth}": network(depth) for depth in (1, 3)}),
    "isic": result("isic", {"conv_blocks_3": network(), "vgg16_5": network(5, family="vgg16", ours=0.8)}),
}


def test_table_1_has_the_printed_row_and_one_for_each_protocol_of_each_depth():
    table = study_tables.table_1(FIGURES, STUDIED)
    assert table[table["layers"] == 1]["whose"].tolist() == [
        "the paper",
        "ours, protocol of the paper",
        "ours, leak-free",
    ]
    assert table[table["layers"] == 2]["whose"].tolist() == ["the paper"]  # not trained
    three = table[table["layers"] == 3].set_index("whose")
    assert three.loc["the paper", "sensitivity (recall)"] == "0.9700"
    assert three.loc["ours, leak-free", "F1"] == "0.700 (0.650 to 0.750)"
    assert three.loc["ours, leak-free", "test images"] == "40 (8 malignant)"


def test_table_2_keeps_the_papers_datasets_in_its_order():
    table = study_tables.table_2(FIGURES, STUDIED)
    assert table["dataset"].drop_duplicates().tolist() == ["isic", "ph2", "joint"]
    assert table[table["dataset"] == "joint"]["whose"].tolist() == ["the paper"]


def test_table_3_sets_both_networks_beside_each_other_with_their_loss():
    table = study_tables.table_3(FIGURES, STUDIED).set_index(["network", "whose"])
    assert table.loc[("VGG-16", "the paper"), "loss"] == "0.4723"
    assert table.loc[("VGG-16", "ours, leak-free"), "AUC"] == "0.800 (0.750 to 0.850)"


def test_without_results_the_tables_hold_what_was_printed():
    for table in (study_tables.table_1, study_tables.table_2, study_tables.table_3):
        assert set(table(FIGURES, {})["whose"]) == {"the paper"}


def test_confusion_matrices_are_of_the_first_seed():
    table = study_tables.confusion(FIGURES, STUDIED).set_index(["dataset", "whose"])
    assert table.loc[("ph2", "ours, leak-free"), "true positives"] == 5
    assert table.loc[("joint", "the paper"), "true negatives"] == 274


def test_what_the_protocol_adds_has_a_row_for_each_test_and_each_difference():
    rows = study_tables.protocols({"ph2": result("ph2")})
    assert rows["tested on"].tolist() == [
        "test of the paper's protocol",
        "of it, images with a relative in training or validation",
        "of it, images without one",
        "leak-free test, balanced by copies afterwards",
        "leak-free test, as found",
        "difference: paper's less leak-free test, as found",
        "difference: paper's less leak-free test, balanced by copies afterwards",
    ]
    assert rows["AUC"].iloc[5] == "0.200 (0.150 to 0.250)"


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [(0.9, "reproduced"), (0.85, "reproduced"), (0.84, "ours is higher"), (0.96, "ours is lower")],
)
def test_a_figure_is_reproduced_when_it_lies_in_our_interval(printed, verdict):
    figures = FIGURES | {"table_1": [], "table_3": {}, "table_2": {"ph2": {"accuracy": printed}}}
    [row] = study_tables.verdicts(figures, STUDIED).to_dict("records")
    assert row["verdict"] == verdict


def test_what_is_undefined_is_no_verdict_of_ours():
    lacking = network()
    lacking["protocols"]["paper"]["views"]["test"]["ppv"] = entry(None)
    figures = FIGURES | {"table_1": [], "table_3": {}, "table_2": {"ph2": {"ppv": 0.9}}}
    [row] = study_tables.verdicts(figures, {"ph2": result("ph2", {"conv_blocks_3": lacking})}).to_dict(
        "records"
    )
    assert row["verdict"] == "undefined"


def test_no_verdict_is_given_on_what_was_not_trained():
    assert study_tables.verdicts(FIGURES, {}).empty


def test_every_check_is_a_row():
    checked = published.check(FIGURES, tolerance=1e-4)
    table = study_tables.contradictions(checked)
    assert len(table) == len(checked["checks"])
    assert set(table["agrees"]) == {"yes", "no"}


def test_images_are_counted_by_side_and_protocol():
    table = study_tables.images({"ph2": result("ph2")})
    assert len(table) == 2 * 3
    pd.testing.assert_series_equal(
        table.groupby("protocol", sort=False)["copies"].max(),
        pd.Series(
            [12, 0],
            index=pd.Index(["ours, protocol of the paper", "ours, leak-free"], name="protocol"),
            name="copies",
        ),
    )
