from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.data.sampling import drawn_prevalence
from melanoma.training.epochs import (
    MAX_TURNS,
    Epoch,
    Sampling,
    count_turns,
    draw_classes,
)

TARGETS = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], np.float32)  # three positive, nine negative


# ---- which images, in which order -------------------------------------------------------------


def test_half_of_the_draws_are_of_each_class():
    order = draw_classes(TARGETS, np.random.default_rng(1), power=1)
    assert len(order) == 12
    assert TARGETS[order].sum() == 6


def test_every_malignant_image_of_three_is_drawn_twice_among_six():
    order = draw_classes(TARGETS, np.random.default_rng(1), power=1)
    counts = np.bincount(order, minlength=12)
    assert counts[TARGETS == 1].tolist() == [2, 2, 2]
    assert sorted(counts[TARGETS == 0]) == [0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_rare_benign_class_is_repeated_likewise():
    counts = np.bincount(draw_classes(1 - TARGETS, np.random.default_rng(1), power=1), minlength=12)
    assert counts[TARGETS == 1].tolist() == [2, 2, 2]


def test_the_frequent_class_loses_other_rows_in_other_draws():
    orders = [draw_classes(TARGETS, np.random.default_rng(seed), power=1) for seed in range(50)]
    times = np.bincount(np.concatenate(orders), minlength=12)[TARGETS == 0]
    # each of the nine is expected in 50 * 6/9 = 33 draws, with a standard deviation of 3.3
    assert ((times >= 20) & (times <= 46)).all()


def test_balanced_classes_are_only_shuffled():
    order = draw_classes(np.tile([0, 1], 6), np.random.default_rng(1), power=1)
    assert sorted(order) == list(range(12))
    assert order.tolist() != sorted(order)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_rows_of_a_class_are_drawn_equally_often_give_or_take_one(num_malignant, num_benign, seed):
    targets = np.repeat([1, 0], [num_malignant, num_benign])
    order = draw_classes(targets, np.random.default_rng(seed), power=1)
    assert len(order) == len(targets)
    assert targets[order].sum() == len(targets) // 2
    for value in (0, 1):
        counts = np.bincount(order, minlength=len(targets))[targets == value]
        assert counts.max() - counts.min() <= 1


def test_classes_are_mixed_within_the_order():
    targets = np.repeat([1, 0], 50)
    first_half = targets[draw_classes(targets, np.random.default_rng(1), power=1)[:50]]
    assert 15 <= first_half.sum() <= 35


def test_the_order_follows_from_the_seed_alone():
    orders = [draw_classes(TARGETS, np.random.default_rng(seed), power=1).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


# ---- several classes ---------------------------------------------------------------------------


def counts_of(targets, classes, *, seed: int = 1) -> dict[tuple[int, int], list[int]]:
    """How often each row is drawn, by target and class."""
    order = draw_classes(targets, np.random.default_rng(seed), power=1, classes=classes)
    times = np.bincount(order, minlength=len(targets))
    kinds = sorted(set(zip(targets.tolist(), classes.tolist(), strict=True)))
    return {kind: times[(targets == kind[0]) & (classes == kind[1])].tolist() for kind in kinds}


def test_half_is_malignant_and_the_benign_classes_share_the_other_half_equally():
    # four melanomas; eight nevi and four keratoses share eight draws
    targets, classes = np.repeat([1, 0, 0], [4, 8, 4]), np.repeat([0, 1, 2], [4, 8, 4])
    times = counts_of(targets, classes)
    assert times[1, 0] == [2, 2, 2, 2]
    assert times[0, 2] == [1, 1, 1, 1]
    assert sorted(times[0, 1]) == [0, 0, 0, 0, 1, 1, 1, 1]


def test_two_images_of_a_class_do_not_fill_a_third_of_an_epoch():
    targets, classes = np.repeat([1, 0, 0, 0], [50, 100, 48, 2]), np.repeat([0, 1, 2, 3], [50, 100, 48, 2])
    times = counts_of(targets, classes)
    assert times[0, 3] == [MAX_TURNS, MAX_TURNS] == [10, 10]
    assert (sum(times[0, 1]), sum(times[0, 2])) == (40, 40)  # what the two leave of 100
    assert sum(times[1, 0]) == 100


def test_a_malignant_lesion_of_another_class_counts_among_the_malignant():
    targets, classes = np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 2, 1, 1, 1])
    times = counts_of(targets, classes)
    assert (sum(times[1, 0]), sum(times[1, 2]), sum(times[0, 1])) == (2, 1, 3)


def test_two_classes_are_drawn_as_their_targets_are():
    order = draw_classes(TARGETS, np.random.default_rng(1), power=1, classes=1 - TARGETS.astype(int))
    assert order.tolist() == draw_classes(TARGETS, np.random.default_rng(1), power=1).tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=60), st.integers(0, 99))
def test_an_epoch_has_as_many_images_as_there_are_half_of_them_malignant(rows, seed):
    targets, classes = np.array([(0, 1), (1, 0), *rows]).T
    order = draw_classes(targets, np.random.default_rng(seed), power=1, classes=classes)
    assert len(order) == len(targets)
    assert targets[order].sum() == len(targets) // 2


# ---- any sampling power -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "num_positive"),
    [
        (1.0, 50),
        (0.5, 25),  # sqrt(10) of sqrt(10) + sqrt(90): a quarter
        (0.25, 16),  # 5.6 of 5.6 + 29.2: 0.161
        (1e-12, 10),  # as found
    ],
)
def test_a_class_is_drawn_in_proportion_to_its_size_to_the_power_of_one_less_the_sampling_power(
    power, num_positive
):
    targets = np.repeat([1, 0], [10, 90])
    order = draw_classes(targets, np.random.default_rng(1), power=power)
    assert len(order) == 100
    assert targets[order].sum() == num_positive
    assert drawn_prevalence(targets, power) == pytest.approx(num_positive / 100, abs=0.01)
    counts = np.bincount(order, minlength=100)
    for value in (0, 1):
        mine = counts[targets == value]
        assert mine.max() - mine.min() <= 1


def test_the_classes_of_a_target_are_drawn_by_the_root_of_their_inverse_frequency():
    # 36 and 64 images: 6/14 and 8/14 of 100 draws; of the 64: 16 and 48, by 4 to sqrt(48)
    targets, classes = np.repeat([1, 0, 0], [36, 16, 48]), np.repeat([0, 2, 1], [36, 16, 48])
    order = draw_classes(targets, np.random.default_rng(1), power=0.5, classes=classes)
    assert np.bincount(classes[order]).tolist() == [42, 37, 21]  # 58 * 4 / (4 + 6.93) = 21.2
    as_targets = draw_classes(targets, np.random.default_rng(1), power=0.5)
    assert targets[as_targets].sum() == targets[order].sum() == 42


@pytest.mark.parametrize(
    ("targets", "power", "prevalence"),
    [([1, 0, 0, 0], 0, 1 / 4), ([1, 0, 0, 0], 1, 1 / 2), ([1] + [0] * 9, 0.5, 1 / 4), ([1, 1], 1, 1)],
)
def test_the_prevalence_that_training_draws_follows_from_the_sampling_power(targets, power, prevalence):
    assert drawn_prevalence(np.array(targets), power) == pytest.approx(prevalence)


def test_labels_are_targets_or_a_one_at_the_class(params):
    classes = np.array([0, 2, 3])
    plain = Sampling(np.array([1, 0, 0], np.float32), 16, True, params.augment.paper, seed=1)
    assert plain.labels(np.array([2, 0])).tolist() == [0, 1]
    several = Sampling(
        np.array([1, 0, 0], np.float32),
        16,
        True,
        params.augment.paper,
        seed=1,
        classes=classes,
        num_classes=4,
    )
    labels = several.labels(np.array([2, 0, 0]))
    assert labels.argmax(axis=1).tolist() == [3, 0, 0]
    assert labels.sum(axis=1).tolist() == [1, 1, 1]
    assert labels.dtype == np.float32


@pytest.mark.parametrize(
    ("positions", "turns"),
    [([7, 3, 7, 7, 3], [0, 0, 1, 2, 1]), ([0, 1, 2], [0, 0, 0]), ([5], [0]), ([], [])],
)
def test_turns_count_how_often_an_image_came_before(positions, turns):
    assert count_turns(np.array(positions, np.int64)).tolist() == turns


# ---- how each is changed -----------------------------------------------------------------------


@pytest.fixture
def sampling(params):
    """Draws with and without changes of colour: `sampling(seed=4, hue_degrees=10.0)`."""

    def make(*, seed: int = 3, targets=TARGETS, sampling_power: float = 1, **amounts) -> Sampling:
        return Sampling(
            targets,
            image_size=48,
            sampling_power=sampling_power,
            amounts=params.augment.paper.model_copy(update=amounts),
            seed=seed,
        )

    return make


def test_the_papers_draws_are_those_of_earlier_versions(sampling):
    """Pinned before aspect, channels and other sampling powers were added."""
    amounts = {"brightness_fraction": 0.2, "contrast_fraction": 0.2, "saturation_fraction": 0.3}
    epoch = sampling(**amounts, hue_degrees=10.0).draw(2)
    assert epoch.positions.tolist() == [5, 4, 4, 9, 0, 3, 8, 10, 0, 6, 8, 11]
    first = [[0.684426, -0.802461, 25.294604], [-0.802461, -0.684426, 58.564357]]
    np.testing.assert_allclose(epoch.warps[0], first, atol=1e-6)
    assert epoch.colours is not None
    colours = [
        [1.162523, 0.012486, -0.090816, 1.638858],
        [-0.090816, 1.162523, 0.012486, 1.638858],
        [0.012486, -0.090816, 1.162523, 1.638858],
    ]
    np.testing.assert_allclose(epoch.colours[0], colours, atol=1e-6)
    assert sampling(sampling_power=0).draw(2).positions.tolist() == [7, 6, 10, 3, 2, 11, 0, 4, 9, 5, 8, 1]
    classes = np.array([0, 1, 1, 2, 0, 1, 1, 1, 0, 2, 3, 3])
    order = replace(sampling(), classes=classes).draw(2).positions
    assert order.tolist() == [10, 4, 4, 2, 0, 3, 8, 11, 0, 5, 8, 9]


def test_aspect_and_channels_change_nothing_else_that_is_drawn(sampling):
    plain = sampling(brightness_fraction=0.2).draw(0)
    more = sampling(brightness_fraction=0.2, aspect_fraction=0.1, channel_fraction=0.1).draw(0)
    np.testing.assert_array_equal(plain.positions, more.positions)
    zooms, others = (np.linalg.det(epoch.warps[:, :, :2]) for epoch in (plain, more))
    np.testing.assert_allclose(zooms, others, atol=1e-12)  # a stretch keeps the area
    assert (plain.warps[:, :, :2] != more.warps[:, :, :2]).any(axis=(1, 2)).all()


def assert_same(one: Epoch, other: Epoch) -> None:
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.warps, other.warps)
    assert (one.colours is None) == (other.colours is None)
    if one.colours is not None:
        np.testing.assert_array_equal(one.colours, other.colours)


def test_the_same_seed_and_number_give_the_same_epoch(sampling):
    for number in (0, 1, 7):
        assert_same(sampling(hue_degrees=9.0).draw(number), sampling(hue_degrees=9.0).draw(number))


def test_an_epoch_does_not_depend_on_those_drawn_before(sampling):
    one = sampling()
    for number in range(5):
        one.draw(number)
    assert_same(one.draw(5), sampling().draw(5))


@pytest.mark.parametrize(("seed", "number"), [(4, 0), (3, 1)])
def test_another_seed_or_number_gives_another_order_and_other_warps(sampling, seed, number):
    one, other = sampling().draw(0), sampling(seed=seed).draw(number)
    assert one.positions.tolist() != other.positions.tolist()
    assert not set(one.warps[:, 0, 0]) & set(other.warps[:, 0, 0])


def test_every_image_of_an_epoch_is_warped_differently_also_one_that_comes_twice(sampling):
    epoch = sampling().draw(0)
    assert len(set(epoch.positions)) < len(epoch) == len({warp.tobytes() for warp in epoch.warps})


def test_the_warp_of_an_image_does_not_depend_on_when_it_comes(sampling):
    shuffled, balanced = (sampling(sampling_power=power).draw(0) for power in (0, 1))
    first_turns = count_turns(balanced.positions) == 0
    warp_of = dict(zip(shuffled.positions, shuffled.warps, strict=True))
    for position, warp in zip(balanced.positions[first_turns], balanced.warps[first_turns], strict=True):
        np.testing.assert_array_equal(warp, warp_of[position])


def test_colours_are_drawn_only_when_some_are_wanted_and_change_nothing_else(sampling):
    plain, coloured = sampling().draw(0), sampling(brightness_fraction=0.1).draw(0)
    assert plain.colours is None
    assert coloured.colours is not None
    assert coloured.colours.shape == (12, 3, 4)
    np.testing.assert_array_equal(plain.positions, coloured.positions)
    np.testing.assert_array_equal(plain.warps, coloured.warps)


def test_a_slice_of_an_epoch_holds_the_same_images(sampling):
    epoch = sampling(hue_degrees=9.0).draw(0)
    part = epoch[4:7]
    assert len(part) == 3
    assert_same(part, Epoch(epoch.positions[4:7], epoch.warps[4:7], epoch.colours[4:7], epoch.rounds[4:7]))


def test_rounds_go_on_from_epoch_to_epoch_and_with_each_turn(sampling):
    epoch = sampling(sampling_power=1).draw(3)
    np.testing.assert_array_equal(epoch.rounds, 3 + count_turns(epoch.positions))
    assert set(sampling(sampling_power=0).draw(5).rounds) == {5}


def test_without_balance_every_image_comes_once(sampling):
    assert sorted(sampling(sampling_power=0).draw(0).positions) == list(range(12))
