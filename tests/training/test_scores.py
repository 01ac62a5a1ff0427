import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve

from melanoma.config.tuning import Objective
from melanoma.training import scores
from melanoma.training.scores import OBJECTIVES, specificity_at_95_sensitivity

TARGETS = np.array([1, 1, 0, 0, 0, 0], np.float32)
PROBABILITY = np.array([0.9, 0.4, 0.8, 0.3, 0.2, 0.1])  # one of four negative images lies above 0.4


def test_the_table_of_objectives_is_the_one_of_the_parameters():
    assert set(OBJECTIVES) == set(get_args(Objective))


def test_specificity_is_taken_where_all_of_two_malignant_images_are_found():
    assert specificity_at_95_sensitivity(TARGETS, PROBABILITY) == 3 / 4


@pytest.mark.parametrize(("num_below", "specificity"), [(1, 1.0), (2, 0.5)])
def test_one_of_twenty_malignant_images_may_be_missed_but_not_two(num_below, specificity):
    targets = np.repeat([1, 0], [20, 2])
    positive = np.r_[np.full(20 - num_below, 0.9), np.linspace(0.1, 0.2, num_below)]
    probability = np.r_[positive, 0.5, 0.05]
    assert specificity_at_95_sensitivity(targets, probability) == specificity


def test_a_benign_image_with_the_score_of_the_threshold_is_called_malignant():
    assert specificity_at_95_sensitivity(np.array([1, 0, 0]), np.array([0.5, 0.5, 0.4])) == 1 / 2


def test_the_other_objectives_of_a_case_that_can_be_counted():
    assert OBJECTIVES["auc_roc"](TARGETS, PROBABILITY) == 7 / 8  # one of 2 x 4 pairs is the wrong way round
    assert OBJECTIVES["average_precision"](TARGETS, PROBABILITY) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("seed", range(20))
def test_they_agree_with_scikit_learn_also_where_scores_tie(seed):
    generator = np.random.default_rng(seed)
    targets = np.r_[0, 1, generator.integers(0, 2, 60)]
    probability = generator.integers(0, 25, 62) / 25
    false_positives, sensitivity, _ = roc_curve(targets, probability, drop_intermediate=False)
    expected = {
        "auc_roc": roc_auc_score(targets, probability),
        "average_precision": average_precision_score(targets, probability),
        "specificity_at_95_sensitivity": (1 - false_positives[sensitivity >= 0.95]).max(),
    }
    found = {name: score(targets, probability) for name, score in OBJECTIVES.items()}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_does_not_change_under_a_monotone_map(name):
    score = OBJECTIVES[name]
    assert score(TARGETS, PROBABILITY) == score(TARGETS, PROBABILITY**3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_of_one_class_an_objective_is_undefined_not_perfect(name, value):
    assert math.isnan(OBJECTIVES[name](np.full(6, value), PROBABILITY))


def test_loss_and_accuracy_weigh_images_or_classes_equally():
    found = scores.score_holdout(TARGETS, PROBABILITY, sampling_power=0)
    assert found["val_accuracy"] == 4 / 6  # a positive one at 0.4 and a negative one at 0.8 are wrong
    assert found["val_loss"] == pytest.approx(log_loss(TARGETS, PROBABILITY))
    balanced = scores.score_holdout(TARGETS, PROBABILITY, sampling_power=1)
    assert balanced["val_accuracy"] == (1 / 2 + 3 / 4) / 2
    surprise = -np.log(np.where(TARGETS == 1, PROBABILITY, 1 - PROBABILITY))
    assert balanced["val_loss"] == pytest.approx((surprise[:2].mean() + surprise[2:].mean()) / 2)


def test_a_sampling_power_of_a_half_weighs_classes_by_the_root_of_their_inverse_frequency():
    found = scores.score_holdout(TARGETS, PROBABILITY, sampling_power=0.5)
    weights = np.sqrt([2, 4])  # of two positive and four negative images
    assert found["val_accuracy"] == pytest.approx((weights @ [1 / 2, 3 / 4]) / weights.sum())


def test_how_classes_are_drawn_changes_no_objective():
    both = [scores.score_holdout(TARGETS, PROBABILITY, sampling_power=power) for power in (1, 0)]
    for name, score in OBJECTIVES.items():
        assert both[0][f"val_{name}"] == both[1][f"val_{name}"] == score(TARGETS, PROBABILITY)


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "val_loss": [3.0, 1.0, 2.0, 1.0],
        "val_auc_roc": [0.5, np.nan, 0.9, 0.9],
        "val_average_precision": [np.nan] * 4,
    }
)


def test_the_best_epoch_is_the_lowest_loss_and_the_highest_score_first_of_equals():
    assert scores.best_epoch(HISTORY, "val_loss")["epoch"] == 2
    assert scores.best_epoch(HISTORY, "val_auc_roc")["epoch"] == 3


def test_an_undefined_score_is_never_the_best_unless_all_are():
    assert scores.best_epoch(HISTORY.iloc[:2], "val_auc_roc")["epoch"] == 1
    assert scores.best_epoch(HISTORY, "val_average_precision")["epoch"] == 1


def test_epochs_since_the_best_one_are_counted():
    assert scores.num_epochs_since_best(HISTORY, "val_loss") == 2
    assert scores.num_epochs_since_best(HISTORY.iloc[:2], "val_loss") == 0
