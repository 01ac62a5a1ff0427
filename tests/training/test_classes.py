"""Fitting networks that tell several classes apart."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from melanoma.errors import TrainingError
from melanoma.training import checkpoints, fit, scores
from melanoma.training.recipe import Arrays, Recipe
from tests.training.test_fit import EndAfter, change


@pytest.fixture(scope="module")
def three_levels(bright_or_dark):
    """`bright_or_dark` with classes: dark is melanoma, and of the bright ones those below are keratoses."""

    def classified(part, split_at):
        classes = np.where(part.targets == 1, 0, np.where(np.arange(len(part)) < split_at, 2, 1))
        # What tells keratoses from nevi: they are grey in between.
        images = np.where((classes == 2)[:, None, None, None], part.images // 2 + 25, part.images)
        names = ("melanoma", "nevus", "benign keratosis")
        images = images.astype(np.uint8)
        return replace(part, images=images, classes=classes, class_names=names, positive_classes=(0,))

    return Arrays(classified(bright_or_dark.train, 12), classified(bright_or_dark.holdout, 6))


@pytest.fixture
def of_classes(recipe) -> Recipe:
    return change(
        recipe,
        model={"target": "diagnosis"},
        hyperparameters={"filters": 8, "dense_units": 16, "learning_rate": 5e-3},
        train={"patience": 30},
    )


def test_classes_are_learnt_and_the_score_is_that_of_the_positive_class(three_levels, of_classes):
    result = fit.train(three_levels, of_classes, num_epochs=30, seed=3)
    part = three_levels.holdout
    softmax = scores.predict_all(result.model, part)
    np.testing.assert_allclose(softmax.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(scores.predict(result.model, part), softmax[:, 0])
    assert np.mean(softmax.argmax(1) == part.classes) >= 0.75  # guessing gets a third
    best = result.best_epoch
    assert best["val_auc_roc"] == roc_auc_score(part.targets, softmax[:, 0])
    weights = np.where(part.targets == 1, 2, 1)  # as for a network of two answers
    assert best["val_loss"] == pytest.approx(log_loss(part.targets, softmax[:, 0], sample_weight=weights))
    assert result.history["loss"].iloc[-1] < result.history["loss"].iloc[0]


def test_the_score_of_two_positive_classes_is_their_sum(three_levels, of_classes):
    part = replace(three_levels.holdout, positive_classes=(0, 2))
    arrays = Arrays(replace(three_levels.train, positive_classes=(0, 2)), part)
    result = fit.train(arrays, of_classes, num_epochs=1, seed=3)
    softmax = scores.predict_all(result.model, part)
    np.testing.assert_array_equal(scores.predict(result.model, part), softmax[:, 0] + softmax[:, 2])
    assert result.best_epoch["val_auc_roc"] == roc_auc_score(part.targets, softmax[:, [0, 2]].sum(1))


def test_vgg16_learns_classes_with_smoothed_labels_too(three_levels, of_classes):
    images = Arrays(*(replace(part, images=np.tile(part.images, (1, 2, 2, 1)))
                      for part in (three_levels.train, three_levels.holdout)))  # fmt: skip
    vgg16 = change(
        of_classes,
        hyperparameters={"family": "vgg16", "frozen_stages": 0, "label_smoothing": 0.1},
    )
    result = fit.train(images, vgg16, num_epochs=1, seed=1)
    assert scores.predict_all(result.model, images.train).shape[1] == 3


def test_a_network_of_two_answers_does_not_see_the_classes(three_levels, recipe):
    without = Arrays(*(replace(part, classes=None) for part in (three_levels.train, three_levels.holdout)))
    both = [fit.train(arrays, recipe, num_epochs=2, seed=1) for arrays in (three_levels, without)]
    for one, other in zip(*(result.model.get_weights() for result in both), strict=True):
        np.testing.assert_array_equal(one, other)
    digests = {
        checkpoints.problem_digest(arrays, recipe, num_epochs=2, seed=1) for arrays in (three_levels, without)
    }
    assert len(digests) == 1


def test_other_classes_are_another_problem(three_levels, of_classes):
    turned = replace(three_levels, train=replace(three_levels.train, classes=2 - three_levels.train.classes))
    digests = {
        checkpoints.problem_digest(arrays, of_classes, num_epochs=2, seed=1)
        for arrays in (three_levels, turned)
    }
    assert len(digests) == 2


def test_a_killed_training_goes_on_with_its_classes(three_levels, of_classes, tmp_path):
    arguments = {"num_epochs": 3, "seed": 1, "checkpoint": tmp_path / "state.npz"}
    with pytest.raises(KeyboardInterrupt):
        fit.train(three_levels, of_classes, **arguments, callbacks=[EndAfter(2, KeyboardInterrupt())])
    after = EndAfter(99)
    fit.train(three_levels, of_classes, **arguments, callbacks=[after])
    assert after.seen == [3]


def test_images_that_were_packed_without_classes_are_refused_with_how_to_mend_it(bright_or_dark, of_classes):
    with pytest.raises(TrainingError, match=r"packed the images without diagnoses.*dvc repro --force pack"):
        fit.train(bright_or_dark, of_classes, num_epochs=1, seed=1)


@pytest.mark.parametrize(("only", "found"), [(0, r"\['melanoma'\]"), (1, r"\['nevus'\]")])
def test_training_images_of_one_class_are_refused(three_levels, of_classes, only, found):
    train = replace(three_levels.train, classes=np.full(24, only))
    with pytest.raises(TrainingError, match=f"only have the classes {found}; expected a positive and"):
        fit.train(replace(three_levels, train=train), of_classes, num_epochs=1, seed=1)
