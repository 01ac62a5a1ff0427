from typing import Any

import numpy as np
import pytest

from melanoma.data.groups import folds
from melanoma.errors import DataError

WHAT: dict[str, Any] = {"seed": 3, "what": "The training split"}


def groups(num: int, *, largest: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Targets and group ids of `num` groups of 1 to `largest` images, a third of them positive."""
    sizes = np.random.default_rng(7).integers(1, largest + 1, num)
    names = np.repeat([f"g{number}" for number in range(num)], sizes)
    return np.repeat((np.arange(num) % 3 == 0).astype(np.float32), sizes), names


def test_a_group_is_in_one_fold_and_each_fold_has_its_share_of_both_classes():
    target, group_ids = groups(90)
    fold_of = folds.assign(target, group_ids, num_folds=4, **WHAT)
    assert all(len(set(fold_of[group_ids == name])) == 1 for name in set(group_ids))
    assert sorted(set(fold_of)) == [0, 1, 2, 3]
    for fold in range(4):
        assert np.mean(fold_of == fold) == pytest.approx(0.25, abs=0.02)
        assert target[fold_of == fold].mean() == pytest.approx(target.mean(), abs=0.03)


def test_the_seed_alone_decides_whatever_the_order_of_the_images():
    target, group_ids = groups(60)
    backwards = folds.assign(target[::-1], group_ids[::-1], num_folds=3, **WHAT)[::-1]
    assert folds.assign(target, group_ids, num_folds=3, **WHAT).tolist() == backwards.tolist()
    other = folds.assign(target, group_ids, num_folds=3, **(WHAT | {"seed": 4}))
    assert other.tolist() != backwards.tolist()


def test_one_fold_holds_out_a_fifth_and_several_hold_out_each_image_once():
    target, group_ids = groups(90)
    single = folds.hold_out(target, group_ids, num_folds=1, fold=0, **WHAT)
    assert single.mean() == pytest.approx(0.2, abs=0.02)
    held = [folds.hold_out(target, group_ids, num_folds=3, fold=fold, **WHAT) for fold in range(3)]
    assert np.sum(held, axis=0).tolist() == [1] * len(target)


def test_five_groups_of_each_class_are_enough_for_a_hold_out_and_four_are_not():
    target, group_ids = np.array([1.0] * 5 + [0.0] * 20), np.arange(25).astype(str)
    held = folds.hold_out(target, group_ids, num_folds=1, fold=0, **WHAT)
    assert (held.sum(), target[held].sum()) == (5, 1)
    with pytest.raises(DataError, match="The training split has 4 positive and 20 negative groups; 5"):
        folds.hold_out(target[1:], group_ids[1:], num_folds=1, fold=0, **WHAT)
    assert folds.hold_out(target[1:], group_ids[1:], num_folds=4, fold=0, **WHAT).sum() == 6


@pytest.mark.parametrize("kind", [0, 1])
def test_images_of_one_class_are_refused(kind):
    with pytest.raises(DataError, match=f"has {20 * kind} positive and {20 * (1 - kind)} negative groups"):
        folds.assign(np.full(20, float(kind)), np.arange(20).astype(str), num_folds=2, **WHAT)


def test_a_group_above_half_is_refused_for_folds_and_stays_in_training_for_a_hold_out():
    target, group_ids = groups(40, largest=1)
    target, group_ids = np.r_[target, np.zeros(60)], np.r_[group_ids, ["huge"] * 60]
    with pytest.raises(DataError, match="has a group with 60 of 100 images; folds of whole groups need"):
        folds.assign(target, group_ids, num_folds=2, **WHAT)
    held = folds.hold_out(target, group_ids, num_folds=1, fold=0, **WHAT)
    assert "huge" not in group_ids[held]
    assert len(set(target[held])) == len(set(target[~held])) == 2
