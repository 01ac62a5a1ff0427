import numpy as np
import pytest

from melanoma.errors import DataError
from melanoma.study import transfer_results
from melanoma.study.repeats import Bootstrap, SeedPredictions

SETTINGS = Bootstrap(200, seed=1)
TARGET = np.array([0, 0, 0, 1, 1, 1])
GROUPS = np.array(list("abcdef"))
PERFECT = [[0.1, 0.2, 0.3, 0.7, 0.8, 0.9]] * 2
# One of nine pairs of a negative and a positive image is the wrong way round.
WORSE = [[0.1, 0.2, 0.6, 0.5, 0.8, 0.9]] * 2
IS_TESTED = np.array([True, True, False, True, True, False])


def networks(probabilities, is_in=slice(None)) -> SeedPredictions:
    return SeedPredictions(TARGET, GROUPS, np.array(probabilities), image_ids=np.arange(6).astype(str)).take(
        is_in
    )


def measure(seen, unseen, *, min_groups=1):
    return transfer_results.measure(
        networks(seen, IS_TESTED), networks(unseen), SETTINGS, min_groups=min_groups
    )


def test_the_source_left_out_is_measured_on_all_its_images_and_the_gap_on_its_test_images():
    # Of the test images 0.1 and 0.2 are negative, 0.5 and 0.8 positive: all four pairs are right.
    found = measure(PERFECT, WORSE)
    assert found["unseen"]["value"] == pytest.approx(8 / 9)
    assert found["unseen_on_test"]["value"] == 1
    assert found["seen_on_test"]["value"] == 1
    assert (found["gap"]["value"], found["gap"]["low"], found["gap"]["high"]) == (0, 0, 0)


def test_the_gap_is_what_having_seen_the_source_is_worth():
    upside_down = [[0.9, 0.8, 0.7, 0.3, 0.2, 0.1]] * 2
    found = measure(PERFECT, upside_down)
    assert (found["gap"]["value"], found["gap"]["by_seed"]) == (1, [1, 1])
    assert "no spread" in found["gap"]["undefined"]  # a difference of 1 in every pair of four images


def test_with_too_few_groups_of_a_class_it_is_undefined_and_with_as_many_it_is_not():
    found = measure(PERFECT, WORSE, min_groups=3)  # three of each class, two of them tested
    assert np.isfinite(found["unseen"]["value"])
    assert all(np.isnan(found[name]["value"]) for name in ("seen_on_test", "unseen_on_test", "gap"))
    assert np.isnan(measure(PERFECT, WORSE, min_groups=4)["unseen"]["value"])
    assert np.isfinite(measure(PERFECT, WORSE, min_groups=2)["gap"]["value"])


def test_the_mean_auc_is_the_mean_over_networks():
    mixed = [PERFECT[0], WORSE[0]]
    assert transfer_results.mean_auc(networks(mixed)) == pytest.approx((1 + 8 / 9) / 2)


def test_networks_are_compared_on_the_test_side_in_pairs_and_with_colours_alone():
    whole = {"baseline": networks(WORSE), "tuned": networks(PERFECT[:1])}
    whole["backbone"] = networks(PERFECT)
    colour = networks([[0.9, 0.8, 0.7, 0.3, 0.2, 0.1]])
    found = transfer_results.measure_on_test(whole, colour, SETTINGS)
    assert found["baseline"]["value"] == pytest.approx(8 / 9)
    assert found["colour"]["value"] == 0
    assert found["tuned_minus_baseline"]["value"] == pytest.approx(1 / 9)
    assert found["backbone_minus_baseline"]["value"] == pytest.approx(1 / 9)
    assert found["backbone_minus_colour"]["value"] == 1
    assert found["tuned_minus_colour"]["value"] == 1
    assert set(transfer_results.measure_on_test({"baseline": whole["baseline"]}, colour, SETTINGS)) == {
        "baseline",
        "colour",
        "baseline_minus_colour",
    }


def test_the_table_of_who_is_better_ends_with_figures_of_others_and_their_sources():
    whole = {"baseline": networks(WORSE), "tuned": networks(PERFECT)}
    test = transfer_results.measure_on_test(whole, networks(WORSE[:1]), SETTINGS)
    results = {"cohort": "toy", "num_seeds": {"baseline": 2, "tuned": 2}, "test": test}
    lines = transfer_results.comparison_table(results)
    assert lines["auc_roc"].iloc[1].startswith("1.000 (")
    assert lines["method"].iloc[3] == "best network of the search minus the paper's network (baseline)"
    assert lines["networks"].iloc[:6].tolist() == [2, 2, 1, 2, 2, 2]
    fewer = transfer_results.comparison_table(results | {"num_seeds": {"baseline": 1, "tuned": 2}})
    assert fewer["networks"].iloc[:6].tolist() == [1, 2, 1, 1, 2, 1]  # differences are paired
    others = lines[lines["reference"] != "measured here"]
    assert others["auc_roc"].tolist() == ["0.874", "0.73"]
    assert others["reference"].notna().all()


@pytest.fixture
def rows():
    counts = {"kind": "collection", "num_images": 6, "num_malignant": 3}
    unknown = {"num_images": 4, "num_malignant": 0, "why_not": "all its images are negative", "networks": {}}
    return [
        {
            "source": "A",
            **counts,
            "why_not": None,
            "networks": {"baseline": measure(PERFECT, WORSE), "tuned": measure(PERFECT, PERFECT)},
            "gain": {"tuned": {"value": 0.1, "low": -0.1, "high": 0.2}},
        },
        {"source": "B", "kind": "dataset", **unknown, "gain": {}},
    ]


def test_a_line_for_each_source_and_network_in_words(rows):
    lines = transfer_results.source_table(rows).to_dict("records")
    assert [line["source"] for line in lines] == ["A", "A", "B"]
    assert [line["network"] for line in lines] == ["baseline", "tuned", ""]
    assert lines[0]["unseen"].startswith("0.889 (")
    assert [line["minus_baseline"] for line in lines] == ["", "0.100 (-0.100 to 0.200)", ""]
    assert lines[2]["gap"] == "all its images are negative"


def test_what_the_best_has_over_the_baseline_on_an_unseen_source_is_of_as_many_networks_as_both_have():
    both = {name: networks(PERFECT) for name in ("tuned", "backbone")} | {"baseline": networks([WORSE[0]])}
    enough, too_few = (transfer_results.gain(both, SETTINGS, min_groups=number) for number in (3, 4))
    for kind in ("tuned", "backbone"):
        assert enough[kind]["value"] == pytest.approx(1 / 9)
        assert np.isnan(too_few[kind]["value"])
    assert set(enough) == {"tuned", "backbone"}
    assert transfer_results.gain({"tuned": both["tuned"]}, SETTINGS, min_groups=1) == {}


def test_an_empty_table_has_the_same_columns(rows):
    assert list(transfer_results.source_table([]).columns) == list(
        transfer_results.source_table(rows).columns
    )


def test_the_figure_has_a_line_for_each_source_that_was_left_out(rows):
    axes = transfer_results.figure(rows, title="t", note="n").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A (3 of 6)"]
    transfer_results.figure([], title="t", note="n")


def test_captions_say_what_was_measured_and_that_images_are_synthetic(rows):
    results = {"cohort": "toy", "is_synthetic": True, "num_seeds": {"baseline": 2}, "sources": rows}
    said = transfer_results.captions(results)
    assert set(said) == {"better.csv", "transfer.csv", "transfer.png"}
    assert "toy (SYNTHETIC images)" in said["transfer.png"]["caption"]
    assert "A: baseline 0.889 (" in said["transfer.png"]["alt"]


def test_seen_and_unseen_are_compared_image_by_image_whatever_their_order():
    upside_down = [[0.9, 0.8, 0.7, 0.3, 0.2, 0.1]] * 2
    expected = measure(PERFECT, upside_down)
    mixed = networks(upside_down).take(np.array([5, 0, 3, 1, 4, 2]))
    found = transfer_results.measure(networks(PERFECT, IS_TESTED), mixed, SETTINGS, min_groups=1)
    assert found["gap"] == expected["gap"]
    assert found["unseen"]["value"] == expected["unseen"]["value"]


def test_a_seen_image_that_the_others_were_not_asked_about_is_refused():
    with pytest.raises(DataError, match="1 of 6 images have no prediction of these networks: 2"):
        transfer_results.measure(
            networks(PERFECT), networks(PERFECT, np.arange(6) != 2), SETTINGS, min_groups=1
        )
