import numpy as np
import pytest

from melanoma.scoring.diagnosis import beside_probability


def test_the_others_share_what_the_calibrated_melanoma_leaves_as_the_softmax_shares_it():
    softmax = np.array([[0.6, 0.3, 0.1, 0.0]])  # of the others nevus has three parts of four
    found = beside_probability(softmax, np.array([0.2]), positive=[0])
    np.testing.assert_allclose(found, [[0.2, 0.6, 0.2, 0.0]])
    np.testing.assert_array_equal(softmax, [[0.6, 0.3, 0.1, 0.0]])  # the input stays


def test_positive_classes_share_the_probability_and_the_others_the_rest():
    softmax = np.array([[0.3, 0.4, 0.1, 0.2]])  # the first and third: 3 to 1; the others: 2 to 1
    found = beside_probability(softmax, np.array([0.8]), positive=[0, 2])
    np.testing.assert_allclose(found, [[0.6, 0.2 * 2 / 3, 0.2, 0.2 / 3]])


def test_an_unchanged_probability_changes_nothing():
    softmax = np.random.default_rng(1).dirichlet(np.ones(4), size=20)
    np.testing.assert_allclose(beside_probability(softmax, softmax[:, 0], positive=[0]), softmax)


def test_where_the_softmax_leaves_the_others_nothing_they_share_equally():
    found = beside_probability(np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([0.7]), positive=[0])
    np.testing.assert_allclose(found, [[0.7, 0.1, 0.1, 0.1]])


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_rows_add_to_one_and_lie_in_0_to_1(probability):
    softmax = np.random.default_rng(2).dirichlet(np.full(4, 0.1), size=50)
    found = beside_probability(softmax, np.full(50, probability), positive=[0])
    np.testing.assert_allclose(found.sum(1), 1)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, 0] == probability).all()


def test_no_images_give_no_rows():
    assert beside_probability(np.empty((0, 4)), np.empty(0), positive=[0]).shape == (0, 4)
