import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from melanoma.evaluation import ensemble_comparison
from melanoma.evaluation.bootstrap import Draws

DRAWS = Draws(200, 1)


def table(*, seeds_noise: float, folds_noise: float, num: int = 60) -> pd.DataFrame:
    """Two networks of each kind on images of two outer folds; less noise ranks better."""
    generator = np.random.default_rng(0)
    target = np.arange(num) % 3 == 0
    parts = []
    for kind, noise in (("seeds", seeds_noise), ("folds", folds_noise)):
        singles = np.clip(target + noise * generator.normal(size=(2, num)), 0, 1)
        parts.append(
            pd.DataFrame(
                {
                    "outer": np.arange(num) % 2 + 1,
                    "kind": kind,
                    "image_id": [f"i{one:02}" for one in range(num)],
                    "group_id": [f"g{one // 2:02}" for one in range(num)],
                    "target": target.astype(int),
                    "score": singles.mean(axis=0),
                    "singles": list(singles.T),
                }
            )
        )
    return pd.concat(parts).sample(frac=1, random_state=1)


def test_the_mean_of_each_kind_is_measured_on_all_outer_folds_together():
    rows = table(seeds_noise=1.0, folds_noise=0.3)
    found = ensemble_comparison.compare(rows, draws=DRAWS)
    for kind in ensemble_comparison.KINDS:
        part = rows[rows["kind"] == kind]
        expected = roc_auc_score(part["target"], part["score"])
        assert found[kind]["auc_roc"]["value"] == pytest.approx(expected)
        singles = np.stack(part["singles"].to_list()).T
        mean = np.mean([roc_auc_score(part["target"], one) for one in singles])
        assert found[kind]["single"]["auc_roc"]["value"] == pytest.approx(mean)
    difference = found["folds"]["auc_roc"]["value"] - found["seeds"]["auc_roc"]["value"]
    assert found["folds_minus_seeds"]["auc_roc"]["value"] == pytest.approx(difference)
    assert (
        found["folds_minus_seeds"]["auc_roc"]["low"]
        < difference
        < found["folds_minus_seeds"]["auc_roc"]["high"]
    )
    assert (found["outer_folds"], found["num_images"], found["num_positive"], found["num_groups"]) == (
        [1, 2],
        60,
        20,
        30,
    )
    assert found["better"] == "folds"


def test_the_kind_with_the_higher_mean_is_better_and_seeds_on_a_tie():
    worse = ensemble_comparison.compare(table(seeds_noise=0.3, folds_noise=1.0), draws=DRAWS)
    tie = ensemble_comparison.compare(table(seeds_noise=0.0, folds_noise=0.0), draws=DRAWS)
    assert (worse["better"], tie["better"]) == ("seeds", "seeds")


def test_the_line_says_that_nothing_was_learned_from_what_is_scored():
    found = ensemble_comparison.compare(table(seeds_noise=0.0, folds_noise=0.0), draws=DRAWS)
    line = ensemble_comparison.summary_line(found | {"num_networks": 2})
    assert line.startswith("mean of 2 networks on 60 training images, out of fold: over seeds AUC 1.000 (")
    assert line.endswith("The higher is train.ensemble: seeds")
