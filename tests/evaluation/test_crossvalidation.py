import math

import numpy as np
import pandas as pd
import pytest

from melanoma.errors import DataError
from melanoma.evaluation import crossvalidation
from melanoma.evaluation.crossvalidation import FIGURES
from melanoma.evaluation.resampling import corrected_resampled_t
from melanoma.scoring.operating_point import Calibration, OperatingPoint
from tests.simulations import crossvalidation as simulation


def cohort(num_groups: int = 60) -> pd.DataFrame:
    """Groups of two images, a quarter of them positive; 60 / 20 / 20 % of them on the three fixed sides."""
    group = np.repeat(np.arange(num_groups), 2)
    split = np.select([group % 5 == 0, group % 5 == 1], ["test", "validation"], "train")
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(group))],
            "dataset": "one source",
            "group_id": [f"g{number}" for number in group],
            "target": (group % 4 == 0).astype(int),
            "split": split,
        }
    )


def test_every_image_is_tested_once_and_the_rest_has_the_proportions_of_the_fixed_plan():
    index = cohort()
    planned = crossvalidation.plan(index, num_folds=5, seed=2)
    tested = np.sum([one["split"] == "test" for one in planned], axis=0)
    assert tested.tolist() == [1] * len(index)
    for one in planned:
        assert one["image_id"].tolist() == index["image_id"].tolist()
        assert len(one.drop_duplicates(["group_id", "split"])) == 60
        share = one["split"].value_counts(normalize=True)
        assert share["train"] == pytest.approx(0.6, abs=0.05)
        assert share["validation"] == pytest.approx(0.2, abs=0.05)
        assert set(one.groupby("split")["target"].nunique()) == {2}


def test_a_cohort_of_one_class_with_a_huge_group_or_without_validation_is_refused():
    index = cohort()
    with pytest.raises(DataError, match="The cohort has 0 positive and 60 negative groups; 5 folds need"):
        crossvalidation.plan(index.assign(target=0), num_folds=5, seed=2)
    huge = index.assign(group_id=np.where(index.index < 70, "huge", index["group_id"]))
    with pytest.raises(DataError, match="The cohort has a group with 70 of 120 images"):
        crossvalidation.plan(huge, num_folds=2, seed=2)
    with pytest.raises(DataError, match="the cohort has no validation split"):
        crossvalidation.plan(index[index["split"] != "validation"], num_folds=5, seed=2)
    with pytest.raises(DataError, match="15 positive and 45 negative groups; 16 folds need at least 16"):
        crossvalidation.plan(index, num_folds=16, seed=2)
    assert len(crossvalidation.plan(index, num_folds=3, seed=2)) == 3


def test_a_fold_is_measured_at_its_own_operating_point():
    rows = pd.DataFrame({"target": [1, 1, 0, 0, 0], "group_id": list("abcde")})
    point = OperatingPoint(Calibration(), 0.5, 0.35, 0.65)
    found = crossvalidation.measure(rows, np.array([0.9, 0.4, 0.6, 0.3, 0.2]), point)
    assert found["auc_roc"] == 5 / 6
    assert (found["sensitivity"], found["specificity"], found["referred_fraction"]) == (1 / 2, 2 / 3, 2 / 5)
    assert set(found) == set(FIGURES)


def folds_with(*auc: float) -> list[dict]:
    others = dict.fromkeys(FIGURES, 0.5) | {"num_test_groups": 20, "num_training_groups": 60}
    return [others | {"auc_roc": value} for value in auc]


def test_the_interval_of_a_mean_is_that_of_the_corrected_variance_and_stays_within_0_and_1():
    found = crossvalidation.average(folds_with(0.8, 0.9, 0.7))["auc_roc"]
    expected = corrected_resampled_t([0.8, 0.9, 0.7], num_test=20, num_train=60)
    assert found["standard_error"] == pytest.approx(0.1 * math.sqrt(1 / 3 + 20 / 60))
    assert (found["value"], found["low"]) == pytest.approx((0.8, expected["low"]))
    assert (found["high"], expected["high"] > 1) == (1.0, True)


@pytest.mark.parametrize(
    ("auc", "reason"),
    [((0.8, 0.8), "it is the same in all folds"), ((0.8, math.nan), "it is undefined in fold 2")],
)
def test_folds_that_are_equal_or_undefined_give_no_interval(auc, reason):
    found = crossvalidation.average(folds_with(*auc))["auc_roc"]
    assert found["undefined"] == reason
    assert math.isnan(found["low"])
    assert math.isnan(found["high"])


def test_the_fixed_side_is_compared_with_the_spread_of_single_sides():
    found = crossvalidation.against_fixed([0.7, 0.8, 0.9], 1.0)
    assert found["z"] == pytest.approx(0.2 / (0.1 * math.sqrt(4 / 3)))
    assert 0.05 < found["p_value"] < 0.3
    assert math.isnan(crossvalidation.against_fixed([0.8, 0.8], 0.9)["z"])


def test_the_mean_is_shown_beside_the_fixed_side_only_where_it_was_measured_on_these_images():
    headline = {"data_digest": "d", "metrics": {"baseline": {"auc_roc": {"value": 0.9}}}}
    assert crossvalidation.beside(headline) == "not measured"
    by_fold = folds_with(0.7, 0.8, 0.9)
    means = crossvalidation.average(by_fold)
    measured = {"data_digest": "d", "model": "baseline", "folds": by_fold, "means": means}
    assert crossvalidation.beside(headline | {"crossvalidation": measured}) == (
        f"baseline 0.800 ({means['auc_roc']['low']:.3f} to 1.000), z +0.9"
    )
    older = measured | {"data_digest": "other"}
    assert crossvalidation.beside(headline | {"crossvalidation": older}) == "not measured on these images"


def test_the_corrected_interval_covers_and_an_ordinary_test_side_is_seldom_called_unusual():
    coverage, unusual = simulation.simulate(160, 3)[:2]
    assert float(coverage.after) >= 0.9
    assert float(coverage.after) >= float(coverage.before)
    assert float(unusual.after) <= 0.1
    assert float(unusual.after) <= float(unusual.before)
