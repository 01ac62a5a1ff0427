import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.config.data import AssignRule
from melanoma.data.groups import splits
from melanoma.errors import DataError
from melanoma.files import write_csv
from melanoma.schema import ASSIGNED_COLUMNS, SPLITS
from tests.simulations import sides

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


def assign(
    images: pd.DataFrame,
    *,
    seed: int = 1,
    fractions: dict[str, float] = FRACTIONS,
    rule: AssignRule = splits.RELATIVE,
) -> pd.DataFrame:
    """Splits of accepted images that have none yet, unless `images` say otherwise."""
    defaults: dict[str, Any] = {"is_accepted": True, "split": pd.NA}
    given = images.assign(**{name: value for name, value in defaults.items() if name not in images})
    return splits.assign_splits(given, splits.Plan(seed, fractions, rule))


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


def test_the_result_is_in_order_of_dataset_and_image():
    images = pd.concat(
        [singletons("b", num_benign=3, num_malignant=3), singletons("a", num_benign=3, num_malignant=3)]
    )
    assigned = assign(images)
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


def share_of_several(assigned: pd.DataFrame) -> list[float]:
    """By split, the fraction of images whose group has several."""
    is_several = assigned["group_id"].duplicated(keep=False)
    return [float(is_several[assigned["split"] == split].mean()) for split in SPLITS]


def pairs_and_singletons(num_pairs: int, num_single: int) -> pd.DataFrame:
    return grouped(
        *(("a", f"p{number:03}", 0, 2) for number in range(num_pairs)),
        *(("a", f"s{number:03}", 0, 1) for number in range(num_single)),
    )


def test_each_split_has_its_fraction_of_the_pairs_and_by_the_old_rule_training_has_all():
    images = pairs_and_singletons(10, 80)
    assigned = assign(images)
    assert counts(assigned) == [60, 20, 20]
    assert share_of_several(assigned) == [12 / 60, 4 / 20, 4 / 20]
    old = assign(images, rule=splits.ABSOLUTE)
    assert counts(old) == [60, 20, 20]
    assert share_of_several(old) == [20 / 60, 0, 0]


def test_a_single_pair_is_in_each_split_as_often_as_the_fraction_says():
    drawn = [assign(pairs_and_singletons(1, 38), seed=seed) for seed in range(200)]
    of_pair = pd.concat(drawn).query("group_id == 'p000'").drop_duplicates(["split", "image_id"])
    assert set(of_pair["split"]) == set(SPLITS)
    in_training = np.mean([(one.loc[one["group_id"] == "p000", "split"] == "train").all() for one in drawn])
    assert abs(in_training - 0.6) < 4 * np.sqrt(0.6 * 0.4 / 200)


def test_a_group_of_more_than_half_of_the_images_goes_where_it_fits():
    for seed in range(20):
        assigned = assign(grouped(("a", "huge", 0, 12), *(("a", f"s{n}", 0, 1) for n in range(8))), seed=seed)
        assert counts(assigned) == [12, 4, 4]
        assert counts(assigned, group_id="huge") == [12, 0, 0]


def test_a_group_that_fits_nowhere_goes_where_most_images_lack():
    assigned = assign(grouped(("a", "huge", 0, 18), ("a", "s1", 0, 1), ("a", "s2", 0, 1)))
    assert counts(assigned, group_id="huge") == [18, 0, 0]
    assert counts(assigned) == [18, 1, 1]


def test_sides_are_alike_in_group_sizes_diagnosis_source_and_sex():
    shares, *differences = sides.simulate(num=30, seed=3)
    before, after = ([float(part) for part in text.split(" / ")] for text in (shares.before, shares.after))
    assert before[0] > 3 * before[1]
    assert after == pytest.approx([np.mean(after)] * 3, abs=0.02)
    for row in differences:  # 0 is meant; the mean of 30 data sets has a standard error of about 0.015
        assert abs(float(row.after)) < 0.05
    assert [abs(float(row.before)) > 0.05 for row in differences] == [True, True, True, True]


# ---- splits that images have already ---------------------------------------------------------


def splits_of(assigned: pd.DataFrame) -> dict[str, str]:
    return dict(zip(assigned["image_id"], assigned["split"], strict=True))


def withheld(assigned: pd.DataFrame) -> dict[str, str]:
    rows = assigned[assigned["withheld"].notna()]
    return dict(zip(rows["image_id"], rows["withheld"], strict=True))


def lying(**split_of: str) -> pd.DataFrame:
    """Negative images `<group><number>` with their splits; "" is none yet."""
    return pd.DataFrame(
        {
            "image_id": list(split_of),
            "dataset": "a",
            "group_id": [name[0] for name in split_of],
            "target": 0,
            "split": pd.array([split or pd.NA for split in split_of.values()], dtype="string"),
        }
    )


def test_images_keep_their_splits_and_new_ones_fill_up_what_lacks():
    before = assign(singletons("a", num_benign=10, num_malignant=5))
    more = pd.concat([before, singletons("a", num_benign=20, num_malignant=10)])
    after = assign(more.drop_duplicates("image_id")[["image_id", "dataset", "group_id", "target", "split"]])
    assert splits_of(before).items() <= splits_of(after).items()
    assert counts(after, target=0) == [12, 4, 4]
    assert counts(after, target=1) == [6, 2, 2]
    assert withheld(after) == {}


def test_new_images_even_out_a_lopsided_start():
    start = lying(b="test", c="test", d="test", **{f"n{number}": "" for number in range(7)})
    start["group_id"] = start["image_id"]
    assert counts(assign(start, rule=splits.ABSOLUTE)) == [6, 1, 3]
    for seed in range(10):  # 2 images lack in validation, 6 in training, and 7 are new
        assert counts(assign(start, seed=seed)) in ([6, 1, 3], [5, 2, 3])


def test_a_new_member_takes_the_split_of_its_group():
    assert splits_of(assign(lying(a1="validation", a2="", b1="test", b2="", b3=""))) == {
        "a1": "validation",
        "a2": "validation",
        "b1": "test",
        "b2": "test",
        "b3": "test",
    }


@pytest.mark.parametrize(
    ("split_of", "kept", "held"),
    [
        ({"a1": "train", "a2": "test"}, "test", {"a1": "a2"}),
        ({"a1": "train", "a2": "validation"}, "validation", {"a1": "a2"}),
        ({"a1": "validation", "a2": "test"}, "test", {"a1": "a2"}),
        ({"a1": "test", "a2": "train", "a3": "validation", "a4": "test"}, "test", {"a2": "a1", "a3": "a1"}),
    ],
)
def test_a_group_in_several_splits_keeps_one_and_withholds_the_members_of_the_others(split_of, kept, held):
    assigned = assign(lying(**split_of, a9=""))
    assert splits_of(assigned) == {**split_of, "a9": kept}
    assert withheld(assigned) == {
        image_id: f"its group is in {kept} through {through}" for image_id, through in held.items()
    }


def test_withheld_images_and_those_that_are_not_accepted_do_not_count():
    here = lying(a1="train", a2="test", b1="train", **{f"n{number}": "" for number in range(9)})
    here["group_id"] = [*"aab", *here["image_id"][3:]]
    here["is_accepted"] = here["image_id"] != "b1"
    assigned = assign(here)
    counted = assigned[assigned["is_accepted"] & assigned["withheld"].isna()]
    assert len(counted) == 10
    assert counts(counted) == [6, 2, 2]


def test_an_image_that_is_not_accepted_keeps_its_split_and_lends_it_to_its_group():
    here = lying(a1="test", a2="").assign(is_accepted=[False, True])
    assert splits_of(assign(here)) == {"a1": "test", "a2": "test"}


def test_a_second_time_changes_nothing():
    first = assign(lying(a1="train", a2="test", a3="", b1="", c1="", d1="validation"))
    again = assign(first.drop(columns="withheld"))
    pd.testing.assert_frame_equal(again[first.columns], first)


# ---- the firewall ----------------------------------------------------------------------------


def test_a_group_in_two_splits_is_refused_and_named():
    splits.require_disjoint_groups(lying(a1="train", a2="train", b1="test"))
    with pytest.raises(DataError, match=r"1 groups are in more than one split, which would leak .*: b\. Run"):
        splits.require_disjoint_groups(lying(a1="train", a2="train", b1="test", b2="validation"))


# ---- the table of assigned images -------------------------------------------------------------


PLAN = "seed 7, 0.6/0.2/0.2, relative_shortage"
OLD_PLAN = "seed 7, 0.6/0.2/0.2"  # of earlier versions, which named no rule


def table(**changes: list[str]) -> pd.DataFrame:
    columns = {
        "image_id": ["NA", "b"],
        "dataset": ["one", "one"],
        "lesion_id": ["l", ""],
        "patient_id": ["", "p"],
        "sha256": ["0a", "1b"],
        "group_id": ["NA", "NA"],
        "target": ["0", "1"],
        "split": ["train", "test"],
        "withheld": ["its group is in test through b", ""],
        "plan": [PLAN, PLAN],
    }
    return pd.DataFrame(columns | changes)


def read(tmp_path, **changes: list[str]) -> pd.DataFrame:
    write_csv(table(**changes), tmp_path / "assigned.csv")
    return splits.read_assigned(tmp_path / "assigned.csv")


def test_the_plan_says_all_that_decides_the_splits(params):
    assert str(splits.Plan.of(params.assign)) == PLAN
    others = {"train": 0.5, "validation": 0.2, "test": 0.3}
    assert str(splits.Plan(8, others)) == "seed 8, 0.5/0.2/0.3, relative_shortage"
    assert str(splits.Plan(7, FRACTIONS, splits.ABSOLUTE)) == OLD_PLAN


def test_another_plan_forgets_no_dataset_that_is_switched_off(tmp_path):
    before = read(tmp_path, dataset=["one", "other"])
    assert splits.keep_plan(before, splits.Plan(7, FRACTIONS), datasets=["one"]).equals(before)
    another = splits.Plan(8, FRACTIONS)
    assert splits.keep_plan(before, another, datasets=["one", "other"]).empty
    with pytest.raises(
        DataError, match=r"the splits of \['other'\], which are not active now, would be lost"
    ):
        splits.keep_plan(before, another, datasets=["one"])


@pytest.mark.parametrize(
    ("text", "rule", "wanted"),
    [(OLD_PLAN, splits.ABSOLUTE, splits.RELATIVE), (PLAN, splits.RELATIVE, splits.ABSOLUTE)],
)
def test_another_rule_alone_draws_nothing_again_and_says_what_it_would_forget(tmp_path, text, rule, wanted):
    before = read(tmp_path, dataset=["one", "other"], plan=[text, text])
    plan = splits.Plan(7, FRACTIONS, wanted)
    said = (
        f"assign.rule is {wanted}, but the splits of 2 images (one 1, other 1) were drawn by the rule "
        f"{rule}. Drawn again, all of them would be forgotten: models trained before may have learned from "
        "images that "
        f"would then be in the test set. Nothing was written. To keep the splits, set assign.rule: {rule};"
    )
    with pytest.raises(DataError, match=re.escape(said)):
        splits.keep_plan(before, plan, datasets=["one", "other"])
    kept = splits.keep_plan(before, splits.Plan(7, FRACTIONS, rule), datasets=["one", "other"])
    assert kept.equals(before)
    # A changed seed is a new plan on purpose, as before.
    assert splits.keep_plan(before, splits.Plan(8, FRACTIONS, wanted), datasets=["one", "other"]).empty


def test_without_earlier_splits_any_rule_may_draw_them():
    for rule in splits.RULES:
        assert splits.keep_plan(splits.no_assignment(), splits.Plan(7, FRACTIONS, rule), datasets=["a"]).empty


def test_splits_are_read_as_they_were_written(tmp_path):
    write_csv(table(), tmp_path / "assigned.csv")
    read = splits.read_assigned(tmp_path / "assigned.csv")
    assert tuple(read.columns) == ASSIGNED_COLUMNS
    assert read["image_id"].tolist() == ["NA", "b"]
    assert read["target"].tolist() == [0, 1]
    assert read["withheld"].notna().tolist() == [True, False]
    write_csv(read, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "assigned.csv").read_bytes()
    assert read.dtypes.equals(splits.no_assignment().dtypes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"split": ["train", "exam"]}, r"a split is unknown \(images b\)"),
        ({"target": ["0", "2"]}, r"a target is neither 0 nor 1 \(images b\)"),
        ({"image_id": ["b", "b"]}, r"an image_id occurs twice \(images b, b\)"),
        ({"group_id": ["", "b"]}, r"a cell is blank \(images NA\)"),
        ({"plan": [PLAN, "seed 8, 0.6/0.2/0.2"]}, r"the rows have different plans \(images b\)"),
    ],
)
def test_a_assignment_that_contradicts_itself_is_refused(tmp_path, changes, fault):
    path = tmp_path / "assigned.csv"
    write_csv(table(**changes), path)
    with pytest.raises(DataError, match=rf"it is damaged: {fault}\. Nothing .*`dvc checkout {path}`"):
        splits.read_assigned(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe garbage",
        b"image_id,split\na,train\n",
        b"<<<<<<< HEAD\nimage_id,dataset,group_id,target,split,withheld,plan\n",
    ],
)
def test_what_is_no_assignment_is_refused(tmp_path, content):
    (tmp_path / "assigned.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"it is damaged: .*remove it and change"):
        splits.read_assigned(tmp_path / "assigned.csv")


def test_a_table_that_was_cut_in_the_middle_of_a_line_is_refused(tmp_path):
    write_csv(table(), tmp_path / "assigned.csv")
    whole = (tmp_path / "assigned.csv").read_bytes()
    (tmp_path / "assigned.csv").write_bytes(whole[:-30])
    with pytest.raises(DataError, match="it is damaged"):
        splits.read_assigned(tmp_path / "assigned.csv")
