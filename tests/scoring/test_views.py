import numpy as np
import pytest

from melanoma.scoring import views

IMAGE = np.array([[1, 2], [3, 4]])[None, :, :, None]  # one image of 2 x 2 pixels and one channel


def test_the_views_are_the_image_its_quarter_turns_and_those_of_its_mirror_image():
    found = views.views(IMAGE, 8)[0, ..., 0].tolist()
    turns = [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    mirrored = [[[2, 1], [4, 3]], [[1, 3], [2, 4]], [[3, 4], [1, 2]], [[4, 2], [3, 1]]]
    assert found == turns + mirrored
    assert views.views(IMAGE, 4)[0, ..., 0].tolist() == turns
    assert views.views(IMAGE, 1)[:, 0].tolist() == IMAGE.tolist()


@pytest.mark.parametrize("num_views", [1, 4, 8])
def test_views_keep_type_and_order_of_images(num_views):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    found = views.views(images, num_views)
    assert found.shape == (3, num_views, 4, 4, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, 0], images)
    assert views.views(images[:0], num_views).shape == (0, num_views, 4, 4, 3)


@pytest.mark.parametrize("num_views", [0, 2, 3, 5, 9])
def test_other_numbers_of_views_are_refused(num_views):
    with pytest.raises(ValueError, match=f"must be one of .* got {num_views}"):
        views.views(IMAGE, num_views)


def test_the_mean_of_scores_is_that_of_their_logits():
    scores = np.array([[0.5, 0.5, 0.5, 0.5], [0.9, 0.1, 0.5, 0.5], [0.8, 0.8, 0.8, 0.2]])
    # odds 4, 4, 4 and 1/4: their geometric mean is 2
    np.testing.assert_allclose(views.mean_score(scores), [0.5, 0.5, 2 / 3])
    assert np.isfinite(views.mean_score(np.array([[0.0, 1.0, 0.0, 1.0]]))).all()
    np.testing.assert_array_equal(views.mean_score(scores[:, :1]), scores[:, 0])


def test_the_order_of_views_changes_no_bit():
    generator = np.random.default_rng(1)
    scores = generator.uniform(size=(50, 8))
    softmax = generator.dirichlet(np.ones(5), size=(50, 8))
    for _ in range(20):
        order = generator.permutation(8)
        np.testing.assert_array_equal(views.mean_score(scores[:, order]), views.mean_score(scores))
        np.testing.assert_array_equal(views.mean_classes(softmax[:, order]), views.mean_classes(softmax))


def test_two_classes_are_the_score_and_what_is_left():
    scores = np.random.default_rng(2).uniform(0.01, 0.99, size=(20, 4))
    softmax = np.stack([scores, 1 - scores], axis=-1)
    found = views.mean_classes(softmax)
    np.testing.assert_allclose(found[:, 0], views.mean_score(scores))
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_array_equal(views.mean_classes(softmax[:, :1]), softmax[:, 0])
