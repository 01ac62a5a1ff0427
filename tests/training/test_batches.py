from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.sections import Augment
from melanoma.training.batches import TrainingBatches, draw_balanced

AMOUNTS = Augment(
    rotation_degrees=180.0,
    horizontal_shift_fraction=0.1,
    vertical_shift_fraction=0.1,
    zoom_fraction=0.15,
    flips=True,
)
STILL = Augment(
    rotation_degrees=0.0,
    horizontal_shift_fraction=0.0,
    vertical_shift_fraction=0.0,
    zoom_fraction=0.0,
    flips=False,
)
TARGETS = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], np.float32)  # three malignant, nine benign


@pytest.fixture
def images():
    """Twelve pictures of noise, each of a brightness of its own."""
    noise = np.random.default_rng(1).integers(0, 60, size=(12, 16, 16, 3))
    return (noise + 15 * np.arange(12)[:, None, None, None]).astype(np.uint8)


def make(images, targets=TARGETS, **changes) -> TrainingBatches:
    chosen: dict[str, Any] = {
        "batch_size": 5,
        "balance_classes": True,
        "amounts": AMOUNTS,
        "seed": 3,
    } | changes
    return TrainingBatches(images, targets, **chosen)


def read_all(batches: TrainingBatches) -> tuple[np.ndarray, np.ndarray]:
    parts = [batches[number] for number in range(len(batches))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def rows_of(batches: TrainingBatches, images: np.ndarray) -> list[int]:
    """Which image each position of an epoch without augmentation holds."""
    drawn, _ = read_all(batches)
    return [int(np.flatnonzero((images == image).all((1, 2, 3)))[0]) for image in drawn]


def test_half_of_the_draws_are_of_each_class():
    order = draw_balanced(TARGETS, np.random.default_rng(1))
    assert len(order) == 12
    assert TARGETS[order].sum() == 6


def test_every_malignant_image_of_three_is_drawn_twice_among_six():
    order = draw_balanced(TARGETS, np.random.default_rng(1))
    counts = np.bincount(order, minlength=12)
    assert counts[TARGETS == 1].tolist() == [2, 2, 2]
    assert sorted(counts[TARGETS == 0]) == [0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_rare_benign_class_is_repeated_likewise():
    counts = np.bincount(draw_balanced(1 - TARGETS, np.random.default_rng(1)), minlength=12)
    assert counts[TARGETS == 1].tolist() == [2, 2, 2]


def test_the_frequent_class_loses_other_rows_in_other_draws():
    orders = [draw_balanced(TARGETS, np.random.default_rng(seed)) for seed in range(50)]
    times = np.bincount(np.concatenate(orders), minlength=12)[TARGETS == 0]
    # each of the nine is expected in 50 * 6/9 = 33 draws, with a standard deviation of 3.3
    assert ((times >= 20) & (times <= 46)).all()


def test_balanced_classes_are_only_shuffled():
    order = draw_balanced(np.tile([0, 1], 6), np.random.default_rng(1))
    assert sorted(order) == list(range(12))
    assert order.tolist() != sorted(order)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_rows_of_a_class_are_drawn_equally_often_give_or_take_one(num_malignant, num_benign, seed):
    targets = np.repeat([1, 0], [num_malignant, num_benign])
    order = draw_balanced(targets, np.random.default_rng(seed))
    assert len(order) == len(targets)
    assert targets[order].sum() == len(targets) // 2
    for value in (0, 1):
        counts = np.bincount(order, minlength=len(targets))[targets == value]
        assert counts.max() - counts.min() <= 1


def test_classes_are_mixed_within_the_order():
    targets = np.repeat([1, 0], 50)
    first_half = targets[draw_balanced(targets, np.random.default_rng(1))[:50]]
    assert 15 <= first_half.sum() <= 35


def test_the_order_follows_from_the_seed_alone():
    orders = [draw_balanced(TARGETS, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5, 5, 2]), (4, [4, 4, 4]), (12, [12]), (50, [12])])
def test_an_epoch_has_as_many_images_as_there_are_and_a_smaller_last_batch(images, batch_size, sizes):
    batches = make(images, batch_size=batch_size)
    assert len(batches) == len(sizes)
    assert [len(batches[number][0]) for number in range(len(batches))] == sizes
    assert [len(batches[number][1]) for number in range(len(batches))] == sizes


def test_a_batch_holds_uint8_images_and_float_targets(images):
    pixels, targets = make(images)[0]
    assert pixels.shape == (5, 16, 16, 3)
    assert pixels.dtype == np.uint8
    assert targets.shape == (5,)
    assert targets.dtype == np.float32


def test_an_epoch_holds_each_class_equally_often(images):
    _, targets = read_all(make(images))
    assert targets.sum() == 6


def test_without_balance_every_image_comes_once(images):
    batches = make(images, balance_classes=False, amounts=STILL)
    assert sorted(rows_of(batches, images)) == list(range(12))


def test_every_image_keeps_its_own_target(images):
    batches = make(images, amounts=STILL)
    _, targets = read_all(batches)
    assert targets.tolist() == TARGETS[rows_of(batches, images)].tolist()


def test_the_same_seed_gives_the_same_epochs(images):
    first, second = make(images), make(images)
    for _ in range(3):
        for one, other in zip(read_all(first), read_all(second), strict=True):
            np.testing.assert_array_equal(one, other)
        first.on_epoch_end()
        second.on_epoch_end()


def test_another_seed_gives_another_epoch(images):
    assert (read_all(make(images, seed=3))[0] != read_all(make(images, seed=4))[0]).any()


def test_another_epoch_draws_anew(images):
    batches = make(images, amounts=STILL)
    order = rows_of(batches, images)
    batches.on_epoch_end()
    assert rows_of(batches, images) != order


def test_another_epoch_warps_anew(images):
    batches = make(np.repeat(images[:1], 12, axis=0))  # one picture, so that the order shows nothing
    before, _ = read_all(batches)
    batches.on_epoch_end()
    after, _ = read_all(batches)
    assert (before != after).any((1, 2, 3)).all()


def test_a_repeated_image_is_warped_differently_each_time(images):
    rows = np.array(rows_of(make(images, amounts=STILL), images))
    drawn, _ = read_all(make(images))  # the same order: it does not depend on the amounts
    first, second = drawn[rows == np.flatnonzero(TARGETS == 1)[0]]
    assert (first != second).any()


def test_a_batch_is_the_same_in_whatever_order_batches_are_asked_for(images):
    forward = make(images)
    expected = [forward[number] for number in range(3)]
    backward = make(images)
    for number in (2, 0, 1, 0, 2):
        np.testing.assert_array_equal(backward[number][0], expected[number][0])
        np.testing.assert_array_equal(backward[number][1], expected[number][1])


def test_the_batch_size_does_not_change_what_stands_at_a_position(images):
    np.testing.assert_array_equal(
        read_all(make(images, batch_size=5))[0], read_all(make(images, batch_size=1))[0]
    )


def test_drawing_leaves_the_images_as_they_were(images):
    before = images.copy()
    read_all(make(images))
    np.testing.assert_array_equal(images, before)
