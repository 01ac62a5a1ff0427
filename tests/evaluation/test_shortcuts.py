import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from melanoma.evaluation import shortcuts
from melanoma.evaluation.shortcuts import FACT_SETS, FactSet, Shortcut

SETTINGS = {"seed": 3, "num_folds": 5, "num_bootstrap_draws": 100}
SOURCE, SIZE, SHAPE, BORDER, PATIENT, ALL = range(6)


def images_of(num_images: int = 200, **columns: object) -> pd.DataFrame:
    """One group an image, every fourth positive, no fact but `columns`."""
    return pd.DataFrame(
        {
            "target": pd.Series([1, 0, 0, 0] * (num_images // 4), dtype="Int64"),
            "group_id": [f"group-{number}" for number in range(num_images)],
        }
        | columns
    )


def random_numbers(num_images: int = 200, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=num_images)


def find(images: pd.DataFrame, **changes: int) -> list[Shortcut]:
    return shortcuts.find_shortcuts(images, **(SETTINGS | changes))


# ---- what is found ---------------------------------------------------------------------------


def test_every_set_is_judged_in_its_order():
    assert [found.facts for found in find(images_of())] == list(FACT_SETS)


@pytest.mark.parametrize(
    ("number", "columns"),
    [
        (SOURCE, {"source_collection": ["north", "south", "south", "east"] * 50}),
        (SIZE, {"num_bytes": pd.Series([900, 100, 110, 120] * 50, dtype="Int64")}),
        (SHAPE, {"width": [600, 400, 400, 400] * 50, "height": 300}),
        (BORDER, {"hair_fraction": pd.Series([0.5, 0.0, 0.1, None] * 50, dtype="Float64")}),
        (PATIENT, {"sex": pd.Series([None, "male", "female", "male"] * 50, dtype="string")}),
        (ALL, {"format": ["PNG", "JPEG", "JPEG", "JPEG"] * 50}),
    ],
)
def test_a_planted_shortcut_is_found_in_its_set(number, columns):
    found = find(images_of(**columns))[number]
    assert found.problem is None
    assert found.auc_roc == pytest.approx(1, abs=0.01)
    assert found.low > 0.95


def test_a_middle_that_is_malignant_is_found_too():
    size = np.abs(random_numbers(400))
    order = np.argsort(size)
    target = np.zeros(400, int)
    target[order[150:250]] = 1
    found = find(images_of(400, num_bytes=size).assign(target=target))[SIZE]
    assert found.low > 0.9


def test_facts_that_tell_nothing_leave_chance_within_the_interval():
    found = find(images_of(num_bytes=random_numbers()))[SIZE]
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.3


def test_what_copies_tell_of_each_other_does_not_count():
    """Each group has four copies with a size of their own: known, it gives the label away."""
    size = np.repeat(random_numbers(100), 4)
    target = np.repeat(np.random.default_rng(1).permutation([1] * 50 + [0] * 50), 4)
    copies = images_of(400, num_bytes=size).assign(target=target)
    by_image = find(copies)[SIZE]
    by_group = find(copies.assign(group_id=np.repeat(np.arange(100), 4)))[SIZE]
    assert by_image.auc_roc > 0.9
    assert by_group.low < 0.5 < by_group.high


def test_the_interval_counts_groups_and_not_images():
    size = np.repeat(random_numbers(100) + np.tile([1, 0, 0, 0], 25), 4)
    copies = images_of(400, num_bytes=size).assign(
        target=np.repeat(np.tile([1, 0, 0, 0], 25), 4), group_id=np.repeat(np.arange(100), 4)
    )
    score = shortcuts.out_of_fold_ranks(
        copies[["num_bytes"]],
        copies["target"].to_numpy(),
        copies["group_id"].to_numpy(str),
        num_folds=5,
        seed=0,
    )
    target, groups = copies["target"].to_numpy(), copies["group_id"].to_numpy(str)
    one_each = np.arange(400).astype(str)
    by_group = shortcuts._interval(target, score, groups, num_draws=200, seed=0)
    by_image = shortcuts._interval(target, score, one_each, num_draws=200, seed=0)
    assert by_group[1] - by_group[0] > 1.5 * (by_image[1] - by_image[0])


def test_the_auc_is_that_of_scikit_learn():
    images = images_of(num_bytes=random_numbers() + np.tile([1, 0, 0, 0], 50))
    target, groups = images["target"].to_numpy(int), images["group_id"].to_numpy(str)
    score = shortcuts.out_of_fold_ranks(images[["num_bytes"]], target, groups, num_folds=5, seed=3)
    found = find(images)[SIZE]
    assert found.auc_roc == pytest.approx(roc_auc_score(target, score))
    assert found.low < found.auc_roc < found.high


def test_folds_that_all_score_alike_come_out_at_chance():
    """Without ranks within folds their chance differences in mean would come out below it."""
    constant = pd.DataFrame({"x": np.zeros(42)})
    target = np.array([1, 0] * 21)
    score = shortcuts.out_of_fold_ranks(constant, target, np.arange(42).astype(str), num_folds=5, seed=0)
    assert roc_auc_score(target, score) == pytest.approx(0.5, abs=0.02)


def test_the_same_seed_finds_the_same():
    images = images_of(num_bytes=random_numbers(), width=random_numbers(seed=1))
    assert find(images)[SIZE] == find(images)[SIZE]
    assert find(images)[SIZE] != find(images, seed=4)[SIZE]


def test_small_batches_of_draws_give_an_interval_of_the_same_size(monkeypatch):
    images = images_of(num_bytes=random_numbers() + np.tile([1, 0, 0, 0], 50))
    at_once = find(images, num_bootstrap_draws=400)[SIZE]
    monkeypatch.setattr(shortcuts, "BATCH_CELLS", 200 * 30)  # 30 draws a batch, 10 in the last
    in_batches = find(images, num_bootstrap_draws=400)[SIZE]
    assert in_batches.auc_roc == at_once.auc_roc
    assert (in_batches.low, in_batches.high) == pytest.approx((at_once.low, at_once.high), abs=0.03)
    assert [num for num, _ in shortcuts._batches(400, 200, 0)] == [30] * 13 + [10]
    assert len({seed for _, seed in shortcuts._batches(400, 200, 0)}) == 14


def test_more_categories_than_the_trees_can_hold_are_cut_to_the_frequent_ones():
    collections = pd.Series(["a", "b", "b", "b"] * 100 + [f"rare {n}" for n in range(400)], dtype="string")
    images = images_of(800, source_collection=collections)
    assert find(images)[SOURCE].low > 0.5


# ---- what is not defined ---------------------------------------------------------------------


def assert_undefined(found: Shortcut, problem: str) -> None:
    assert found.problem == problem
    assert all(math.isnan(value) for value in (found.auc_roc, found.low, found.high))


@pytest.mark.parametrize("columns", [{}, {"num_bytes": 1000}, {"num_bytes": pd.Series([pd.NA] * 200)}])
def test_facts_without_two_values_are_not_defined(columns):
    found = find(images_of(**columns))[SIZE]
    assert_undefined(found, "because all images have the same value or none")


def test_only_columns_with_two_values_are_used():
    found = find(images_of(width=random_numbers(), height=300))
    assert found[SHAPE].columns == ("width",)


def test_images_of_one_class_are_not_defined():
    images = images_of(num_bytes=random_numbers()).assign(target=0)
    for found in find(images):
        assert_undefined(found, "because the images are not of two classes")


def test_no_images_at_all_are_not_defined():
    assert_undefined(find(images_of()[:0])[SIZE], "because the images are not of two classes")


def test_a_class_needs_as_many_groups_as_folds():
    images = images_of(num_images=16, num_bytes=random_numbers(16))
    assert_undefined(find(images)[SIZE], "because one class has 4 groups, and 5 are required")
    assert find(images, num_folds=4)[SIZE].problem is None


def test_images_without_a_label_are_left_out():
    images = images_of(num_bytes=random_numbers())
    unlabelled = images.assign(target=None, num_bytes=5.0)
    assert find(pd.concat([images, unlabelled], ignore_index=True))[SIZE] == find(images)[SIZE]


# ---- words -----------------------------------------------------------------------------------

SHOE = FactSet("the shoe size", ("shoe",), "a cobbler may know it")


@pytest.mark.parametrize(
    ("shortcut", "sentence"),
    [
        (
            Shortcut(SHOE, ("shoe",), 0.63, 0.601, 0.66),
            "the label is predicted with AUC 0.63 (0.60 to 0.66): a cobbler may know it.",
        ),
        (
            Shortcut(SHOE, ("shoe",), 0.52, 0.45, 0.6),
            "the label is not predicted better than by chance, AUC 0.52 (0.45 to 0.60).",
        ),
        (
            Shortcut(SHOE, ("shoe",), 0.3, 0.2, 0.4),
            "the label is predicted worse than by chance, AUC 0.30 (0.20 to 0.40).",
        ),
    ],
)
def test_a_shortcut_is_put_in_words(shortcut, sentence):
    assert shortcut.in_words() == f"From the shoe size alone, {sentence}"


def test_an_undefined_shortcut_is_put_in_words():
    undefined = Shortcut(SHOE, problem="because nobody measured")
    assert undefined.in_words() == "From the shoe size alone: undefined, because nobody measured."


def test_the_summary_line_names_the_strongest_by_its_lower_bound():
    weak, strong = Shortcut(SHOE, (), 0.9, 0.5, 1.0), Shortcut(FACT_SETS[SIZE], (), 0.7, 0.65, 0.75)
    undefined = Shortcut(SHOE, problem="x")
    assert shortcuts.summary_line([weak, undefined, strong]) == strong.in_words()
    assert shortcuts.summary_line([undefined]) == "no set of facts has a defined AUC"
