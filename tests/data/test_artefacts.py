import numpy as np
import pytest

from melanoma.data import artefacts

SIZE = 60


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(120, 220, size=(SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture
def mask():
    """A lesion of 20 by 30 pixels."""
    lesion = np.zeros((SIZE, SIZE), dtype=bool)
    lesion[20:40, 10:40] = True
    return lesion


def test_a_blacked_lesion_is_black_and_the_skin_stays(image, mask):
    changed = artefacts.blacked(image, mask)
    assert (changed[mask] == 0).all()
    assert (changed[~mask] == image[~mask]).all()
    assert changed.dtype == np.uint8


def test_a_filled_lesion_has_the_mean_colour_of_the_skin(image, mask):
    changed = artefacts.filled(image, mask)
    expected = image[~mask].mean(0).round()
    assert (changed[mask] == expected).all()
    assert (changed[~mask] == image[~mask]).all()


def test_a_lesion_that_covers_everything_is_filled_with_its_own_mean(image):
    changed = artefacts.filled(image, np.ones((SIZE, SIZE), dtype=bool))
    assert (changed == image.reshape(-1, 3).mean(0).round()).all()


def test_border_only_keeps_a_frame_of_the_declared_width(image):
    changed = artefacts.border_only(image, border_fraction=0.1)  # six pixels
    assert (changed[:6] == image[:6]).all()
    assert (changed[:, -6:] == image[:, -6:]).all()
    inside = changed[6:-6, 6:-6].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) == 1


@pytest.mark.parametrize("name", artefacts.ADDED)
def test_what_is_added_depends_on_the_id_alone_and_leaves_the_input(image, name):
    before = image.copy()
    draw = artefacts.ADDED[name]
    first, again = (draw(image, artefacts.generator_of("A")) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert (first != image).any()
    assert (first == image).mean() > 0.4  # most of the picture is as it was


@pytest.mark.parametrize("name", ["hair", "ink"])
def test_another_id_is_drawn_elsewhere(image, name):
    draws = {artefacts.ADDED[name](image, artefacts.generator_of(f"image {n}")).tobytes() for n in range(8)}
    assert len(draws) > 1


def test_a_ruler_stands_at_one_edge_only(image):
    for number in range(8):
        changed = (artefacts.with_ruler(image, artefacts.generator_of(str(number))) != image).any(axis=2)
        edges = [changed[0].any(), changed[-1].any(), changed[:, 0].any(), changed[:, -1].any()]
        middle = changed[10:-10, 10:-10]
        assert sum(edges) >= 1
        assert not middle.any()
        assert 30 * 3 <= changed.sum() <= 30 * 6  # marks of three and of five pixels


def test_dark_corners_leave_the_middle(image):
    changed = artefacts.with_dark_corners(image, artefacts.generator_of("A"))
    assert (changed[0, 0] == 0).all()
    assert (changed[-1, -1] == 0).all()
    assert (changed[15:45, 15:45] == image[15:45, 15:45]).all()
