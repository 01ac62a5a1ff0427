import numpy as np
import pandas as pd
import pytest

from melanoma.errors import DataError
from melanoma.study import protocol_results
from melanoma.study.repeats import Bootstrap

SETTINGS = Bootstrap(num_draws=100, seed=1)


def rows(protocol: str, view: str, seed: int, probability: list[float], **columns: object) -> pd.DataFrame:
    """Two positive and two negative images."""
    return pd.DataFrame(
        {
            "network": "conv_blocks_3",
            "protocol": protocol,
            "view": view,
            "seed": seed,
            "picture_id": ["a", "b", "c", "d"],
            "image_id": ["a", "b", "c", "d"],
            "group_id": ["a", "b", "c", "d"],
            "target": [1, 1, 0, 0],
            "is_copy": False,
            "has_relative": False,
            "probability": probability,
        }
        | columns
    )


RIGHT, WRONG = [0.9, 0.8, 0.2, 0.1], [0.1, 0.2, 0.8, 0.9]
LEAKING = {"is_copy": [True, False, False, False], "has_relative": [True, True, False, False]}


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Two networks a protocol: the paper's are right, one of the leak-free ones is wrong throughout."""
    return pd.concat(
        [
            rows("paper", "test", 1, RIGHT, **LEAKING),
            rows("paper", "test", 2, RIGHT, **LEAKING),
            rows("leak_free", "test", 1, RIGHT),
            rows("leak_free", "test", 2, WRONG),
        ]
    )


def test_each_protocol_is_measured_and_the_difference_is_the_paper_less_ours(predictions):
    found = protocol_results.measure_network(predictions, SETTINGS)
    views = {name: entry["views"]["test"] for name, entry in found["protocols"].items()}
    assert views["paper"]["accuracy"]["value"] == 1
    assert views["leak_free"]["accuracy"]["by_seed"] == [1, 0]
    assert found["paper_minus_leak_free"]["test"]["accuracy"]["value"] == 1 / 2


def test_a_leaking_test_is_measured_in_parts(predictions):
    views = protocol_results.measure_network(predictions, SETTINGS)["protocols"]["paper"]["views"]
    assert {name: view["num_images"] for name, view in views.items()} == {
        "test": 4,
        "test_without_copies": 3,
        "test_without_relatives": 2,
        "test_with_relatives": 2,
    }
    assert np.isnan(views["test_without_relatives"]["sensitivity"]["value"])  # no positive image is left


def test_a_test_without_relatives_has_no_parts(predictions):
    views = protocol_results.measure_network(predictions, SETTINGS)["protocols"]["leak_free"]["views"]
    assert list(views) == ["test"]


def test_confusion_is_counted_for_each_seed(predictions):
    confusion = protocol_results.measure_network(predictions, SETTINGS)["protocols"]["leak_free"]["confusion"]
    assert confusion["1"] == {
        "true_positives": 2,
        "false_negatives": 0,
        "false_positives": 0,
        "true_negatives": 2,
    }
    assert confusion["2"]["false_positives"] == 2


def test_one_protocol_alone_has_no_difference(predictions):
    alone = predictions[predictions["protocol"] == "leak_free"]
    assert "paper_minus_leak_free" not in protocol_results.measure_network(alone, SETTINGS)


def test_roc_curves_lie_on_a_grid_and_end_at_one(predictions):
    points = protocol_results.roc_points(predictions)
    assert set(points.groupby(["protocol", "seed"]).size()) == {101}
    wrong = points[(points["protocol"] == "leak_free") & (points["seed"] == 2)]
    assert wrong["sensitivity"].iloc[0] == 0
    assert wrong["sensitivity"].iloc[-1] == 1
    assert points[points["protocol"] == "paper"]["sensitivity"].eq(1).all()


def test_images_of_a_lesion_are_one_group_of_its_class():
    several = pd.concat(
        [
            rows("leak_free", "test", 1, RIGHT),
            rows(
                "leak_free", "test", 1, RIGHT, picture_id=["e", "f", "g", "h"], group_id=["a", "b", "c", "x"]
            ),
        ]
    )
    view = protocol_results.measure_network(several, SETTINGS)["protocols"]["leak_free"]["views"]["test"]
    assert (view["num_images"], view["num_malignant"]) == (8, 4)
    assert (view["num_malignant_groups"], view["num_benign_groups"]) == (2, 3)


def test_another_network_is_held_against_the_published_one_on_the_same_images():
    other = {"network": "vgg16_5"}
    predictions = pd.concat(
        [
            rows("paper", "test", 1, WRONG),
            rows("paper", "test", 1, RIGHT, **other),
            rows("leak_free", "test", 1, RIGHT, **other),  # the published one was not trained so
        ]
    )
    found = protocol_results.difference_from_main(predictions, "vgg16_5", SETTINGS)
    assert list(found) == ["paper"]
    assert found["paper"]["accuracy"]["value"] == 1  # all right less all wrong
    assert protocol_results.difference_from_main(predictions, "conv_blocks_3", SETTINGS) == {}


def test_the_order_of_the_predictions_does_not_matter_and_copies_are_told_apart():
    """Two warped copies of one image have its image_id and its group."""
    copies = {
        "picture_id": ["a", "a#1", "a#2", "d"],
        "image_id": ["a", "a", "a", "d"],
        "group_id": ["a", "a", "a", "d"],
        "target": [1, 1, 1, 0],
        "is_copy": [False, True, True, False],
        "has_relative": [True, True, True, False],
    }
    predictions = pd.concat(
        [
            rows("paper", "test", 1, [0.9, 0.8, 0.1, 0.2], **copies),
            rows("paper", "test", 2, [0.1, 0.8, 0.9, 0.2], **copies),
            rows("leak_free", "test", 1, RIGHT),
            rows("leak_free", "test", 2, WRONG),
        ]
    )
    found = protocol_results.measure_network(predictions, SETTINGS)
    for seed in range(5):
        shuffled = predictions.sample(frac=1, random_state=seed)
        again = protocol_results.measure_network(shuffled, SETTINGS)
        for protocol, entry in found["protocols"].items():
            for name, view in entry["views"].items():
                assert again["protocols"][protocol]["views"][name]["accuracy"] == view["accuracy"]
        kind = protocol_results.to_seed_predictions(shuffled[shuffled["protocol"] == "paper"])
        first, second = (dict(zip(kind.image_ids, row, strict=True)) for row in kind.probabilities)
        assert (first["a#2"], second["a#2"]) == (0.1, 0.9)


def test_a_network_that_was_asked_about_other_pictures_is_refused(predictions):
    with pytest.raises(DataError, match=r"seed 2 .* 1 images have no row \(a\)"):
        protocol_results.measure_network(predictions.reset_index(drop=True).drop(4), SETTINGS)
