"""Folds of groups: parts of some images with whole groups and about the same share of each class."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from melanoma.errors import DataError

NUM_FOLDS_OF_HOLDOUT = 5  # a single hold-out is one of five folds


def assign(target: np.ndarray, group_ids: np.ndarray, *, num_folds: int, seed: int, what: str) -> np.ndarray:
    """The fold of each image, shape `(num_images,)`, from 0 to `num_folds - 1`; each has both classes.

    Args:
        target: Shape `(num_images,)`, 1 = positive, 0 = negative.
        group_ids: Shape `(num_images,)`; the images of a group are in one fold.
        num_folds: At least 2.
        seed: Seed of the order of groups.
        what: Whose images, for errors: `The training split`.

    Raises:
        DataError: A class has fewer groups than there are folds, or a group has more than half of the images.
    """
    fold_of = _split(target, group_ids, num_folds=num_folds, seed=seed, what=what)
    _, sizes = np.unique(group_ids, return_counts=True)
    if sizes.max() > len(target) / 2:
        raise DataError(
            f"{what} has a group with {sizes.max()} of {len(target)} images; folds of whole groups need "
            "every group to have at most half of them. Add images."
        )
    lacking = [str(fold) for fold in range(num_folds) if not _has_both(target[fold_of == fold])]
    if lacking:
        raise _too_unequal(what, f"{len(lacking)} of {num_folds} folds have images of one class only")
    return fold_of


def hold_out(
    target: np.ndarray, group_ids: np.ndarray, *, num_folds: int, fold: int, seed: int, what: str
) -> np.ndarray:
    """Which images are held out: those of a fold, shape `(num_images,)`, bool.

    Args:
        target: As in `assign`.
        group_ids: As in `assign`.
        num_folds: Number of folds; 1 means a single hold-out of about a fifth of the images.
        fold: Which of the folds, below `num_folds`.
        seed: As in `assign`.
        what: As in `assign`.

    Raises:
        DataError: As in `assign`; a single hold-out needs five groups of each class, but leaves a large group
            to the other images.
    """
    if num_folds > 1:
        fold_of = assign(target, group_ids, num_folds=num_folds, seed=seed, what=what)
        return np.asarray(fold_of == fold)
    fold_of = _split(target, group_ids, num_folds=NUM_FOLDS_OF_HOLDOUT, seed=seed, what=what)
    candidates = [fold_of == one for one in range(NUM_FOLDS_OF_HOLDOUT)]
    usable = [held for held in candidates if _has_both(target[held]) and _has_both(target[~held])]
    if not usable:
        raise _too_unequal(what, "no fold has both classes, and leaves both to the others")
    # The first fold has the largest group, which may be most of the images.
    return min(usable, key=lambda held: abs(held.mean() - 1 / NUM_FOLDS_OF_HOLDOUT))


def _split(target: np.ndarray, group_ids: np.ndarray, *, num_folds: int, seed: int, what: str) -> np.ndarray:
    num_of = {
        name: len(np.unique(group_ids[target == value])) for name, value in (("positive", 1), ("negative", 0))
    }
    if min(num_of.values()) < num_folds:
        raise DataError(
            f"{what} has {num_of['positive']} positive and {num_of['negative']} negative groups; {num_folds} "
            f"folds need at least {num_folds} groups of each class. Add images, or use fewer folds."
        )
    fold_of = np.empty(len(target), dtype=np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(splitter.split(target, target, group_ids)):
        fold_of[held] = fold
    return fold_of


def _has_both(target: np.ndarray) -> bool:
    return len(np.unique(target)) == 2


def _too_unequal(what: str, problem: str) -> DataError:
    return DataError(f"The groups of {what[0].lower()}{what[1:]} are too unequal: {problem}. Add images.")
