import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from melanoma.errors import DataError
from melanoma.study import crop_results
from melanoma.study.repeats import Bootstrap

SETTINGS = Bootstrap(200, 1)


def scored(crop: str, seed: int, *, shift: float) -> pd.DataFrame:
    """Forty images, each a group of its own; positive ones score higher by `shift`."""
    target = np.arange(40) % 2
    score = np.random.default_rng(seed).normal(shift * target, 1)
    return pd.DataFrame(
        {
            "image_id": [f"i{number:02}" for number in range(40)],
            "group_id": [f"g{number:02}" for number in range(40)],
            "target": target,
            "crop": crop,
            "seed": seed,
            "probability": 1 / (1 + np.exp(-score)),
        }
    )


@pytest.fixture(scope="module")
def predictions():
    """Networks on lesions are good, those on whole pictures guess."""
    kinds = {"none": 0.0, "mask": 3.0}
    return pd.concat(
        [scored(crop, seed, shift=shift) for crop, shift in kinds.items() for seed in (1, 2)],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def compared(predictions):
    compared = crop_results.compare(predictions, SETTINGS)
    for crop, num_whole in (("none", 24), ("mask", 3)):
        compared[crop]["num_whole"] = {"train": num_whole, "validation": 1, "test": 0}
    return compared


def test_each_crop_has_the_mean_of_its_networks(compared, predictions):
    rows = predictions[predictions["crop"] == "mask"]
    aucs = [roc_auc_score(part["target"], part["probability"]) for _, part in rows.groupby("seed")]
    assert compared["mask"]["metrics"]["auc_roc"]["by_seed"] == pytest.approx(aucs)
    assert compared["mask"]["metrics"]["auc_roc"]["value"] == pytest.approx(np.mean(aucs))
    assert "minus_none" not in compared["none"]


def test_a_difference_is_that_of_the_two_means_with_an_interval_around_it(compared):
    lead = compared["mask"]["minus_none"]["auc_roc"]
    whole, cut = (compared[crop]["metrics"]["auc_roc"]["value"] for crop in ("none", "mask"))
    assert lead["value"] == pytest.approx(cut - whole)
    assert lead["low"] < lead["value"] < lead["high"]


def test_the_order_of_images_does_not_matter(predictions, compared):
    shuffled = predictions.sample(frac=1, random_state=3)
    again = crop_results.compare(shuffled.sort_values("crop", ascending=False, kind="stable"), SETTINGS)
    assert repr(again["mask"]["minus_none"]) == repr(compared["mask"]["minus_none"])  # nan is not nan


def test_a_crop_whose_networks_were_asked_about_other_images_is_refused(predictions):
    lacking = predictions.drop(predictions.index[(predictions["crop"] == "mask")][0])
    with pytest.raises(DataError, match=r"rows belong to other images \(i00\)"):
        crop_results.compare(lacking, SETTINGS)
    fewer = predictions[predictions["image_id"] != "i00"]
    assert crop_results.compare(fewer, SETTINGS)["mask"]["metrics"]["auc_roc"]["value"] > 0.9


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.2, "significantly better"),
        (-0.2, -0.01, "significantly worse"),
        (-0.1, 0.1, "not significant"),
    ],
)
def test_a_sentence_says_what_the_interval_says(low, high, said):
    lead = {"auc_roc": {"value": (low + high) / 2, "low": low, "high": high}}
    entry = {"minus_none": lead, "metrics": {"auc_roc": {"by_seed": [0.7, 0.6, 0.8]}}}
    assert said in crop_results.finding("unet", entry)
    lead["auc_roc"]["by_seed"] = [low, high]
    assert f", by network {low:+.3f}, {high:+.3f}; {said}" in crop_results.finding("unet", entry)


def test_the_table_has_a_row_a_crop_with_intervals_in_words(compared):
    table = crop_results.table(compared)
    assert table["crop"].tolist() == ["none", "mask"]
    assert table.loc[0, "auc_roc minus none"] == ""
    assert table["not cropped, train"].tolist() == [24, 3]
    assert table["auc_roc"].str.fullmatch(r"0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\)").all()


def test_the_figure_shows_every_network_and_every_interval(compared):
    left, right = crop_results.figure(compared, note="toy").axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "whole image",
        "lesion, by a manual mask",
    ]
    assert sum(np.shape(dots.get_offsets())[0] for dots in left.collections) == 4
    assert len(right.lines) == 3  # zero, and the interval of one difference with its value
