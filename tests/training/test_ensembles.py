import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from melanoma.training import ensembles
from melanoma.training.ensembles import Member


@pytest.fixture
def plan(params):
    """The networks of a model, as tuples (seed, fold, is served, is judge)."""

    def of(*, keep_epoch, ensemble, num_networks, num_seeds=3, num_folds=1):
        changes = {"ensemble": ensemble, "num_networks": 3, "num_seeds": num_seeds, "num_folds": num_folds}
        train = params.train.model_copy(update=changes | {"seed": 5})
        chosen = params.baseline.model_copy(update={"keep_epoch": keep_epoch})
        members = ensembles.members(chosen, train, num_networks=num_networks)
        return [(one.seed, one.fold, one.is_served, one.is_judge) for one in members]

    return of


def test_one_network_that_chose_its_epoch_is_the_first_judge(plan):
    found = plan(keep_epoch="best", ensemble="seeds", num_networks=1)
    assert found == [(5, 0, True, True), (6, 0, False, True), (7, 0, False, True)]


def test_networks_that_chose_their_epochs_are_served_without_their_hold_outs(plan):
    found = plan(keep_epoch="best", ensemble="seeds", num_networks=2, num_folds=3)
    assert found == [(5, 0, True, True), (6, 1, True, True), (7, 2, False, True)]


def test_networks_that_choose_nothing_learn_from_all_groups_and_others_judge_their_recipe(plan):
    found = plan(keep_epoch="last", ensemble="seeds", num_networks=2)
    served = [(5, None, True, False), (6, None, True, False)]
    assert found == [*served, (5, 0, False, True), (6, 0, False, True), (7, 0, False, True)]


@pytest.mark.parametrize("keep_epoch", ["best", "last"])
def test_over_folds_each_training_group_is_left_out_by_one_served_network(plan, keep_epoch):
    found = plan(keep_epoch=keep_epoch, ensemble="folds", num_networks=3, num_seeds=4)
    assert found[:3] == [(5, 0, True, True), (6, 1, True, True), (7, 2, True, True)]
    assert found[3:] == [(8, 0, False, True)]


@pytest.mark.parametrize("keep_epoch", ["best", "last"])
def test_the_judges_of_the_baseline_leave_out_the_same_folds_as_those_of_the_tuned_model(plan, keep_epoch):
    tuned = plan(keep_epoch=keep_epoch, ensemble="folds", num_networks=3)
    baseline = plan(keep_epoch="best", ensemble="folds", num_networks=1)
    judged = [[(seed, fold) for seed, fold, _, is_judge in one if is_judge] for one in (tuned, baseline)]
    assert judged[0] == judged[1]


def test_members_of_one_seed_have_checkpoints_of_their_own():
    whole = Member(1, None, is_served=True, is_judge=False)
    judge = Member(1, 0, is_served=False, is_judge=True)
    assert (whole.name, judge.name) == ("seed1-all", "seed1")


def test_the_mean_of_logits_of_one_output_is_counted_and_scipys():
    probabilities = np.array([[[0.5], [0.9]], [[0.5], [0.5]]])
    found = ensembles.mean_of_logits(probabilities)
    assert found[:, 0].tolist() == pytest.approx([0.5, 0.75])  # odds 9 and 1: the root of their product is 3
    np.testing.assert_allclose(found, expit(logit(probabilities).mean(axis=0)))


def test_the_mean_of_logits_of_several_classes_is_the_softmax_of_their_mean():
    logits = np.random.default_rng(0).normal(size=(3, 5, 4))
    expected = softmax(logits.mean(axis=0), axis=-1)
    np.testing.assert_allclose(ensembles.mean_of_logits(softmax(logits, axis=-1)), expected)


def test_a_single_network_keeps_its_probabilities_and_certainty_stays_finite():
    sure = np.array([[[0.0], [1.0], [0.3]]], np.float32)
    np.testing.assert_allclose(ensembles.mean_of_logits(sure), sure[0], atol=1e-6)
