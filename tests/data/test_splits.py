import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.data import splits
from melanoma.errors import DataError
from melanoma.schema import SPLIT_COLUMNS, SPLITS

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def grouped(*groups: tuple[str, str, int, int]) -> pd.DataFrame:
    """Images of `(dataset, group, target, number of images)`."""
    rows = [
        (f"{group}-{number}", dataset, group, target)
        for dataset, group, target, num_images in groups
        for number in range(num_images)
    ]
    return pd.DataFrame(rows, columns=["image_id", "dataset", "group_id", "target"])


def singletons(dataset: str, *, num_benign: int, num_malignant: int) -> pd.DataFrame:
    return grouped(
        *((dataset, f"{dataset}-b{number:03}", 0, 1) for number in range(num_benign)),
        *((dataset, f"{dataset}-m{number:03}", 1, 1) for number in range(num_malignant)),
    )


def assign(images: pd.DataFrame, *, seed: int = 1, fractions: dict[str, float] = FRACTIONS) -> pd.DataFrame:
    return splits.assign_splits(images, seed=seed, fractions=fractions)


def counts(assigned: pd.DataFrame, **values: object) -> list[int]:
    rows = assigned
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return [int((rows["split"] == split).sum()) for split in SPLITS]


# ---- the assignment --------------------------------------------------------------------------


def test_singletons_are_split_by_the_fractions_within_each_class():
    assigned = assign(singletons("a", num_benign=10, num_malignant=5))
    assert counts(assigned, target=0) == [6, 2, 2]
    assert counts(assigned, target=1) == [3, 1, 1]


def test_other_fractions_give_other_splits():
    fractions = {"train": 0.5, "validation": 0.1, "test": 0.4}
    assigned = assign(singletons("a", num_benign=10, num_malignant=20), fractions=fractions)
    assert counts(assigned, target=0) == [5, 1, 4]
    assert counts(assigned, target=1) == [10, 2, 8]


def test_each_dataset_is_split_by_the_fractions():
    images = pd.concat(
        [singletons("a", num_benign=5, num_malignant=5), singletons("b", num_benign=20, num_malignant=10)]
    )
    assigned = assign(images)
    assert counts(assigned, dataset="a", target=1) == [3, 1, 1]
    assert counts(assigned, dataset="b", target=0) == [12, 4, 4]


def test_all_images_of_a_group_share_a_split():
    assigned = assign(grouped(("a", "large", 0, 6), ("a", "middle", 0, 2), ("a", "small", 0, 2)))
    assert counts(assigned, group_id="large") == [6, 0, 0]
    assert sorted([counts(assigned, group_id="middle"), counts(assigned, group_id="small")]) == [
        [0, 0, 2],
        [0, 2, 0],
    ]


def test_a_group_with_one_malignant_image_counts_as_malignant():
    mixed = pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(10)],
            "dataset": "a",
            "group_id": [f"g{number // 2}" for number in range(10)],
            "target": [0, 1] * 5,
        }
    )
    assigned = assign(pd.concat([mixed, singletons("a", num_benign=5, num_malignant=0)]))
    assert counts(assigned[assigned["image_id"].str.startswith("i")]) == [6, 2, 2]
    assert counts(assigned[assigned["image_id"].str.startswith("a")]) == [3, 1, 1]


def test_the_result_has_the_columns_of_splits_in_order_of_dataset_and_image():
    images = pd.concat(
        [singletons("b", num_benign=3, num_malignant=3), singletons("a", num_benign=3, num_malignant=3)]
    )
    assigned = assign(images)
    assert tuple(assigned.columns) == SPLIT_COLUMNS
    assert list(assigned.index) == list(range(12))
    assert assigned["image_id"].tolist() == sorted(images["image_id"])


def test_the_same_seed_gives_the_same_splits_and_another_seed_others():
    images = singletons("a", num_benign=40, num_malignant=40)
    pd.testing.assert_frame_equal(assign(images, seed=3), assign(images, seed=3))
    assert (assign(images, seed=3)["split"] != assign(images, seed=4)["split"]).any()


def test_the_splits_of_a_dataset_do_not_depend_on_other_datasets():
    alone = singletons("a", num_benign=12, num_malignant=9)
    both = pd.concat([alone, singletons("b", num_benign=30, num_malignant=7)])
    together = assign(both)
    pd.testing.assert_frame_equal(together[together["dataset"] == "a"].reset_index(drop=True), assign(alone))


@settings(deadline=None, max_examples=60)
@given(
    num_benign=st.integers(1, 40),
    num_malignant=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    train=st.integers(1, 98),
    validation=st.integers(1, 98),
)
def test_singletons_miss_the_fractions_by_less_than_one_image(
    num_benign, num_malignant, seed, train, validation
):
    train = min(train, 99 - validation)
    fractions = {
        "train": train / 100,
        "validation": validation / 100,
        "test": (100 - train - validation) / 100,
    }
    assigned = assign(
        singletons("a", num_benign=num_benign, num_malignant=num_malignant), seed=seed, fractions=fractions
    )
    for target, number in ((0, num_benign), (1, num_malignant)):
        for split, count in zip(SPLITS, counts(assigned, target=target), strict=True):
            assert abs(count - fractions[split] * number) < 1


@st.composite
def images_in_groups(draw):
    groups = draw(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.integers(0, 1), st.integers(1, 5)), min_size=1, max_size=20
        )
    )
    return grouped(
        *((name, f"{name}{number}", target, size) for number, (name, target, size) in enumerate(groups))
    )


@settings(deadline=None, max_examples=60)
@given(images=images_in_groups(), seed=st.integers(0, 2**32 - 1), order=st.randoms(use_true_random=False))
def test_no_group_is_ever_split_and_the_order_of_rows_does_not_matter(images, seed, order):
    assigned = assign(images, seed=seed)
    assert assigned.groupby("group_id")["split"].nunique().eq(1).all()
    assert sorted(assigned["image_id"]) == sorted(images["image_id"])
    rows = list(range(len(images)))
    order.shuffle(rows)
    pd.testing.assert_frame_equal(assign(images.iloc[rows], seed=seed), assigned)


# ---- a cohort's part -------------------------------------------------------------------------


def test_a_cohort_takes_its_datasets_and_every_image_keeps_its_side():
    images = pd.concat(
        [singletons("a", num_benign=10, num_malignant=5), singletons("b", num_benign=5, num_malignant=10)]
    )
    assigned = assign(images)
    joint = splits.take_cohort(assigned, cohort="joint", datasets=["a", "b"])
    pd.testing.assert_frame_equal(joint, assigned)
    for name in "ab":
        single = splits.take_cohort(assigned, cohort=name, datasets=[name])
        part = joint[joint["dataset"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(single, part)


def test_a_cohort_without_images_is_refused():
    assigned = assign(singletons("a", num_benign=5, num_malignant=5))
    with pytest.raises(DataError, match=r"Cohort 'c' is empty: none of \['b'\] has accepted images"):
        splits.take_cohort(assigned, cohort="c", datasets=["b"])


@pytest.mark.parametrize(("num_benign", "num_malignant", "target"), [(9, 0, 0), (0, 9, 1)])
def test_a_cohort_of_one_class_is_refused(num_benign, num_malignant, target):
    assigned = assign(singletons("a", num_benign=num_benign, num_malignant=num_malignant))
    with pytest.raises(DataError, match=rf"one class only \(target {target} in all 9 images\)"):
        splits.take_cohort(assigned, cohort="c", datasets=["a"])


def test_every_split_of_a_cohort_needs_both_classes():
    enough = assign(singletons("a", num_benign=5, num_malignant=4))
    assert len(splits.take_cohort(enough, cohort="c", datasets=["a"])) == 9
    too_few = assign(singletons("a", num_benign=5, num_malignant=2))
    with pytest.raises(
        DataError, match=r"\(5 with benign, 2 with malignant images\): test has no malignant image\."
    ):
        splits.take_cohort(too_few, cohort="c", datasets=["a"])


# ---- the firewall and the report -------------------------------------------------------------


def by_hand(**split_of: str) -> pd.DataFrame:
    """Images `<group><number>`, each on the side given."""
    return pd.DataFrame(
        {
            "image_id": list(split_of),
            "dataset": "a",
            "group_id": [name[0] for name in split_of],
            "target": [int(name[0] > "m") for name in split_of],
            "split": list(split_of.values()),
        }
    )


def test_a_group_on_two_sides_is_refused_and_named():
    splits.require_disjoint_groups(by_hand(a1="train", a2="train", b1="test"))
    with pytest.raises(DataError, match=r"1 groups cross splits, which would leak .*: b\. Run"):
        splits.require_disjoint_groups(by_hand(a1="train", a2="train", b1="test", b2="validation"))


def test_the_report_counts_images_groups_and_classes_of_each_split():
    report = splits.summarize(
        by_hand(a1="train", a2="train", n1="train", b1="validation", o1="test"),
        pd.DataFrame(columns=["image_id", "other_image_id", "reason"]),
    )
    assert report["splits"] == {
        "train": {"num_images": 3, "num_groups": 2, "num_malignant": 1, "num_benign": 2},
        "validation": {"num_images": 1, "num_groups": 1, "num_malignant": 0, "num_benign": 1},
        "test": {"num_images": 1, "num_groups": 1, "num_malignant": 1, "num_benign": 0},
    }


def test_the_report_gives_the_reasons_of_every_group_of_several():
    relations = pd.DataFrame(
        [("a1", "a2", "same lesion"), ("a2", "a3", "near duplicate"), ("a1", "a3", "same lesion")],
        columns=["image_id", "other_image_id", "reason"],
    )
    report = splits.summarize(by_hand(a1="test", a2="test", a3="test", b1="train"), relations)
    assert report["groups_of_several"] == [
        {
            "group_id": "a",
            "split": "test",
            "image_ids": ["a1", "a2", "a3"],
            "reasons": ["near duplicate", "same lesion"],
        }
    ]
