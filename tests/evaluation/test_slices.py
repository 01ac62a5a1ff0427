import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from melanoma.evaluation import intervals, slices

pytestmark = pytest.mark.filterwarnings("error")


def images(num: int = 12, **columns: object) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dataset": ["toy"] * num,
            "source_collection": ["clinic"] * num,
            "sex": ["female", "male", None] * (num // 3),
            "anatom_site": ["torso"] * num,
            "diagnosis": ["nevus"] * num,
            "skin_type": [None] * num,
            "age_years": [29.0, 30.0, 44.9, 45.0, 75.0, None] * (num // 6),
            "sharpness": np.arange(num, dtype=float),
            "ita_degrees": [60.0, 20.0, None] * (num // 3),
            **columns,
        }
    )


def label(frame: pd.DataFrame, is_train: np.ndarray | None = None) -> pd.DataFrame:
    everyone = np.ones(len(frame), dtype=bool)
    return slices.label(frame, is_train=everyone if is_train is None else is_train, age_bands=[30, 45, 75])


def test_ages_fall_into_bands_closed_below():
    expected = ["0 to 29 years", "30 to 44 years", "30 to 44 years", "45 to 74 years"]
    assert label(images())["age"].tolist()[:6] == [*expected, "75 years and older", "not recorded"]


def test_what_is_not_recorded_is_a_part_of_its_own():
    assert label(images())["sex"].tolist()[:3] == ["female", "male", "not recorded"]


def test_skin_type_is_a_part_only_where_any_image_has_one():
    assert "skin_type" not in label(images())
    recorded = label(images(skin_type=["II"] + [None] * 11))
    assert recorded["skin_type"].tolist()[:2] == ["II", "not recorded"]


def test_skin_tone_is_estimated_where_no_type_is_recorded():
    tones = label(images())["skin_tone"].tolist()[:3]
    assert tones == ["estimated from pixels: 1 very light", "estimated from pixels: 4 tan", "not measurable"]
    some = label(images(skin_type=["II"] + [None] * 11))["skin_tone"].tolist()[:2]
    assert some == ["recorded: see skin_type", "estimated from pixels: 4 tan"]
    assert "skin_tone" not in label(images(skin_type=["II"] * 12))


def test_quarters_of_quality_are_those_of_the_training_images():
    is_train = np.arange(12) < 4  # sharpness 0 to 3: quartiles 0.75, 1.5 and 2.25
    found = label(images(), is_train)["quality"].tolist()
    assert found == ["quartile 1 (least sharp)", "quartile 2", "quartile 3", *["quartile 4 (sharpest)"] * 9]


def test_other_images_than_those_of_training_do_not_move_the_quarters():
    is_train = np.arange(12) < 4
    changed = images(sharpness=[0, 1, 2, 3, *range(1000, 1008)])
    assert (
        label(changed, is_train)["quality"].tolist()[:4] == label(images(), is_train)["quality"].tolist()[:4]
    )


@pytest.fixture
def measured(settings):
    """Of women four positive and four negative images, of men one and three."""
    rows = pd.DataFrame(
        {"target": [1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0], "group_id": [f"g{n}" for n in range(12)]}
    )
    labels = pd.DataFrame({"sex": ["female"] * 8 + ["male"] * 4})
    probability = np.array([0.9, 0.8, 0.4, 0.7, 0.6, 0.3, 0.2, 0.1, 0.9, 0.6, 0.2, 0.1])
    entries = slices.measure(rows, labels, probability, threshold=0.5, settings=settings)
    return {entry["value"]: entry for entry in entries}, rows, probability


def test_counts_and_metrics_of_a_large_part(measured):
    entry, rows, probability = measured[0]["female"], measured[1][:8], measured[2][:8]
    assert (entry["num_images"], entry["num_groups"], entry["num_malignant"]) == (8, 8, 4)
    assert entry["sensitivity"]["value"] == entry["specificity"]["value"] == 3 / 4
    assert entry["auc_roc"]["value"] == roc_auc_score(rows["target"], probability)
    assert entry["mean_probability"] == pytest.approx(4 / 8)
    assert entry["prevalence"] == 4 / 8
    assert not entry["is_too_small"]


def test_a_metric_with_too_few_images_of_its_class_is_undefined_and_counts_are_told(measured):
    entry = measured[0]["male"]  # at least two of a class are wanted
    assert (entry["num_images"], entry["num_malignant"]) == (4, 1)
    assert np.isnan(entry["sensitivity"]["value"])
    assert np.isnan(entry["auc_roc"]["low"])
    assert entry["specificity"]["value"] == 2 / 3
    assert not entry["is_too_small"]


def test_a_part_in_which_nothing_can_be_measured_says_so(measured, settings):
    strict = settings.model_copy(update={"min_slice_groups": 5})
    rows, probability = measured[1], measured[2]
    labels = pd.DataFrame({"sex": ["female"] * 8 + ["male"] * 4})
    entries = slices.measure(rows, labels, probability, threshold=0.5, settings=strict)
    assert [entry["is_too_small"] for entry in entries] == [True, True]
    assert entries[0]["brier_score"]["value"] == pytest.approx(
        np.mean((probability[:8] - rows["target"][:8]) ** 2)
    )


def test_the_interval_for_all_slices_together_is_that_of_bonferroni_and_wider(settings):
    generator = np.random.default_rng(4)
    rows = pd.DataFrame({"target": np.arange(80) % 2, "group_id": [f"g{n}" for n in range(80)]})
    probability = 1 / (1 + np.exp(-generator.normal(rows["target"], 1)))
    labels = pd.DataFrame({"sex": ["female"] * 40 + ["male"] * 39 + ["not recorded"]})
    found = slices.measure(rows, labels, probability, threshold=0.5, settings=settings)
    assert ["auc_roc_simultaneous" in entry for entry in found] == [True, True, False]
    target, groups = rows["target"].to_numpy()[:40], rows["group_id"].to_numpy()[:40]
    expected = intervals.auc(target, probability[:40], groups, level=1 - 0.05 / 2)
    assert found[0]["auc_roc_simultaneous"] == expected
    assert found[0]["auc_roc_simultaneous"]["high"] > found[0]["auc_roc"]["high"]
    assert found[0]["auc_roc_simultaneous"]["value"] == found[0]["auc_roc"]["value"]
