import numpy as np
import pandas as pd
import pytest

from melanoma.evaluation import overlap


@pytest.fixture
def table():
    """Three test images of one dataset, one of another, and one without a mask; training has one."""
    return pd.DataFrame(
        {
            "split": ["test"] * 5 + ["train"],
            "dataset": ["a", "a", "a", "b", "a", "a"],
            "group_id": ["g1", "g1", "g2", "g3", "g4", "g5"],
            "dice": [0.5, 0.7, 0.9, 0.1, np.nan, 1.0],
            "jaccard": [0.4, 0.5, 0.8, 0.05, np.nan, 1.0],
            "is_found": [True, True, True, False, False, True],
        }
    )


def test_means_are_over_images_with_a_mask_by_split_and_dataset(table):
    found = overlap.summarize(table, num_draws=200, seed=1)
    test = found["test"]
    assert (test["num_images"], test["num_with_mask"], test["num_nothing_found"]) == (5, 4, 2)
    assert test["dice"]["value"] == pytest.approx(2.2 / 4)
    assert test["datasets"]["a"]["dice"]["value"] == pytest.approx(2.1 / 3)
    assert test["datasets"]["a"]["jaccard"]["value"] == pytest.approx(1.7 / 3)
    assert test["datasets"]["b"]["num_nothing_found"] == 1
    assert found["train"]["dice"]["value"] == 1
    assert found["train"]["dice"]["undefined"] == "all draws of groups give the same value"


def test_a_split_without_masks_has_no_overlap(table):
    found = overlap.summarize(table, num_draws=200, seed=1)["validation"]
    assert found["num_images"] == 0
    assert np.isnan(
        [found[name][end] for name in ("dice", "jaccard") for end in ("value", "low", "high")]
    ).all()


def test_images_of_one_group_are_drawn_together(table):
    rows = table[table["dataset"] == "a"].query("split == 'test' and dice.notna()")
    draws = overlap.summarize(rows, num_draws=2000, seed=1)["test"]["dice"]
    # two groups: their means are 0.6 (two images) and 0.9 (one); a draw has one of them twice, or both
    assert draws["low"] == pytest.approx(0.6)
    assert draws["high"] == pytest.approx(0.9)
