from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from melanoma.data.groups import cohorts, duplicates, splits
from melanoma.errors import DataError
from melanoma.schema import ASSIGNED_COLUMNS, PAIR_COLUMNS, SPLIT_COLUMNS
from tests.data.toys import record, records_of

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
PLAN = splits.Plan(7, FRACTIONS)
NO_COPIES = pd.DataFrame(columns=list(PAIR_COLUMNS), dtype="string")


def accepted_of(*rows: dict[str, Any]) -> pd.DataFrame:
    records = records_of(*rows)
    digest_of = {row["image_id"]: row.get("sha256", f"bytes-{row['image_id']}") for row in rows}
    return records.assign(sha256=records["image_id"].map(digest_of).astype("string"))


def toy_dataset(dataset: str, num_each: int = 10, **changes: Any) -> list[dict[str, Any]]:
    """Unrelated images `<dataset>0…`, half of them positive; `changes` by image."""
    return [
        record(
            f"{dataset}{number}",
            dataset=dataset,
            diagnosis=None,
            target=number % 2,
            lesion_id=None,
            patient_id=None,
        )
        | changes.get(f"{dataset}{number}", {})
        for number in range(2 * num_each)
    ]


def copies_of(*pairs: tuple[str, str], reason: str = "near duplicate") -> pd.DataFrame:
    return pd.DataFrame([(*pair, reason) for pair in pairs], columns=list(PAIR_COLUMNS), dtype="string")


def assign(rows, copies=NO_COPIES, earlier=None, *, datasets=("a", "b")) -> tuple[pd.DataFrame, pd.DataFrame]:
    earlier = splits.no_assignment() if earlier is None else earlier
    return cohorts.assign_images(accepted_of(*rows), copies, earlier, plan=PLAN, datasets=list(datasets))


def split(cohort: str, datasets: list[str], rows, copies=NO_COPIES) -> tuple[pd.DataFrame, dict]:
    assigned, relations = assign(rows, copies)
    accepted = accepted_of(*(row for row in rows if row["dataset"] in datasets))
    return cohorts.split_cohort(
        cohort, accepted=accepted, assigned=assigned, relations=relations, datasets=datasets
    )


def split_of(assigned: pd.DataFrame) -> dict[str, str]:
    return dict(zip(assigned["image_id"], assigned["split"], strict=True))


TWO_DATASETS = [*toy_dataset("a", 10), *toy_dataset("b", 5)]


# ---- splits of all images --------------------------------------------------------------------


def test_all_images_of_all_datasets_get_a_split_a_group_and_the_plan():
    assigned, relations = assign(TWO_DATASETS)
    assert tuple(assigned.columns) == ASSIGNED_COLUMNS
    assert assigned["image_id"].tolist() == sorted(row["image_id"] for row in TWO_DATASETS)
    assert assigned["split"].value_counts().to_dict() == {"train": 18, "validation": 6, "test": 6}
    assert set(assigned["plan"]) == {"seed 7, 0.6/0.2/0.2, relative_shortage"}
    assert assigned["withheld"].isna().all()
    assert relations.empty


def test_lesions_patients_and_copies_stay_together():
    rows = toy_dataset(
        "a", a0={"lesion_id": "l"}, a2={"lesion_id": "l", "patient_id": "p"}, a4={"patient_id": "p"}
    )
    assigned, relations = assign(rows, copies_of(("a5", "a7")))
    group_of = dict(zip(assigned["image_id"], assigned["group_id"], strict=True))
    assert {group_of[name] for name in ("a0", "a2", "a4")} == {"a0"}
    assert {group_of[name] for name in ("a5", "a7")} == {"a5"}
    assert assigned["group_id"].nunique() == 20 - 3
    assert sorted(relations["reason"]) == ["near duplicate", "same lesion", "same patient"]


def test_copies_of_a_quarantined_image_are_related_through_it():
    assigned, _ = assign(toy_dataset("a"), copies_of(("a1", "quarantined"), ("a3", "quarantined")))
    group_of = dict(zip(assigned["image_id"], assigned["group_id"], strict=True))
    assert group_of["a1"] == group_of["a3"] == "a1"
    assert "quarantined" not in group_of


def test_copies_with_different_labels_are_refused():
    with pytest.raises(DataError, match=r"images/a0\.png \(0\) and images/a1\.png \(1\): near duplicate"):
        assign(toy_dataset("a"), copies_of(("a0", "a1")))


def test_added_images_move_nobody():
    before, _ = assign(toy_dataset("a", 10))
    after, _ = assign([*toy_dataset("a", 30), *toy_dataset("b", 5)], earlier=before)
    assert split_of(before).items() <= split_of(after).items()
    assert after["split"].value_counts().to_dict() == {"train": 42, "validation": 14, "test": 14}


def test_images_that_went_keep_their_rows_and_get_their_splits_back():
    before, _ = assign(TWO_DATASETS)
    without, _ = assign([row for row in toy_dataset("a", 10) if row["image_id"] != "a3"], earlier=before)
    pd.testing.assert_frame_equal(without, before)
    again, _ = assign(TWO_DATASETS, earlier=without)
    pd.testing.assert_frame_equal(again, before)


def test_a_mended_label_is_taken_over_and_the_split_stays():
    before, _ = assign(toy_dataset("a"))
    after, _ = assign(toy_dataset("a", a3={"target": 0}), earlier=before)
    assert split_of(after) == split_of(before)
    assert after.set_index("image_id").loc["a3", "target"] == 0


def bridged() -> tuple[pd.DataFrame, str, str]:
    """Splits of dataset a, and an image in train and one in test of the same class."""
    before, _ = assign(toy_dataset("a"))
    positive = before[before["target"] == 1].groupby("split")["image_id"].first()
    return before, positive["train"], positive["test"]


def test_an_image_that_ties_two_splits_withholds_the_one_until_its_ids_are_mended():
    before, in_train, in_test = bridged()
    changes: dict[str, Any] = {in_train: {"patient_id": "p"}, in_test: {"lesion_id": "l"}}
    tied = [
        *toy_dataset("a", **changes),
        record("new", dataset="a", diagnosis=None, target=1, lesion_id="l", patient_id="p"),
    ]
    after, _ = assign(tied, earlier=before)
    assert split_of(after) == split_of(before) | {"new": "test"}
    withheld = after.dropna(subset="withheld").set_index("image_id")["withheld"].to_dict()
    assert withheld == {in_train: f"its group is in test through {in_test}"}
    without, _ = assign(tied[:-1], earlier=after)  # what was known of it is not forgotten
    assert without["withheld"].notna().sum() == 1
    tied[-1]["patient_id"] = "other"
    mended, _ = assign(tied, earlier=after)
    assert mended["withheld"].isna().all()
    assert split_of(mended) == split_of(after)


@pytest.mark.parametrize("tie", ["lesion_id", "patient_id", "sha256"])
def test_a_new_image_joins_the_split_of_one_that_has_left_since(tie):
    shared = {tie: "shared"}
    before, _ = assign(toy_dataset("a", a3=shared))
    left = [row for row in toy_dataset("a") if row["image_id"] != "a3"]
    new = record("new", dataset="a", diagnosis=None, target=0, **shared)
    after, relations = assign([*left, new], earlier=before)
    assert split_of(after)["new"] == split_of(before)["a3"]
    assert ("a3", "new") in set(zip(relations["image_id"], relations["other_image_id"], strict=True))


def test_new_images_of_patients_whose_images_have_all_left_take_their_splits():
    patients: dict[str, Any] = {f"a{row}": {"patient_id": f"p{row}"} for row in range(20)}
    before, _ = assign(toy_dataset("a", **patients))
    new = [
        record(f"n{row}", dataset="a", diagnosis=None, target=row % 2, patient_id=f"p{row}")
        for row in range(20)
    ]
    after, _ = assign(new, earlier=before)
    found = split_of(after)
    assert all(found[f"n{row}"] == found[f"a{row}"] for row in range(20))


def test_groups_with_images_of_a_dataset_that_is_switched_off_stay_together():
    both = [*toy_dataset("a", a1={"patient_id": None}), *toy_dataset("b", 5)]
    before, _ = assign(both, copies_of(("a1", "b1"), ("a3", "b1")))
    later = [*toy_dataset("a"), record("c", dataset="a", diagnosis=None, target=1, patient_id=None)]
    switched_off, relations = assign(later, copies_of(("a3", "c")), before, datasets=["a"])
    group_of = dict(zip(switched_off["image_id"], switched_off["group_id"], strict=True))
    assert {group_of[name] for name in ("a1", "a3", "b1", "c")} == {"a1"}
    assert "same group before" in set(relations["reason"])
    quarantined, _ = assign(later, copies_of(("a3", "c")), before, datasets=["a", "b"])
    group_of = dict(zip(quarantined["image_id"], quarantined["group_id"], strict=True))
    assert group_of["a1"] == "a1"
    assert group_of["c"] == "a3"


@st.composite
def rounds(draw):
    """Images and relations that come and go in several rounds; lesions tie images at random."""
    found = []
    for number in range(draw(st.integers(2, 4))):
        image_ids = draw(st.lists(st.integers(0, 15 + 5 * number), min_size=3, max_size=16, unique=True))
        lesions = draw(st.lists(st.integers(0, 12), min_size=len(image_ids), max_size=len(image_ids)))
        found.append(
            [
                record(
                    f"{'ab'[image_id % 2]}{image_id:02}",
                    dataset="ab"[image_id % 2],
                    diagnosis=None,
                    target=int(image_id % 3 == 0),
                    lesion_id=None if lesion > 7 else f"l{lesion}",
                    patient_id=None,
                )
                for image_id, lesion in zip(image_ids, lesions, strict=True)
            ]
        )
    return found


@pytest.mark.slow
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(rounds())
def test_whatever_comes_and_goes_no_image_moves_and_no_group_crosses(found):
    earlier = splits.no_assignment()
    for rows in found:
        assigned, _ = assign(rows, earlier=earlier)
        assert split_of(earlier).items() <= split_of(assigned).items()
        assert set(assigned["image_id"]) == set(earlier["image_id"]) | {row["image_id"] for row in rows}
        taken = assigned[assigned["withheld"].isna()]
        assert taken.groupby("group_id")["split"].nunique().eq(1).all()
        earlier = assigned
    again, _ = assign(found[-1], earlier=earlier)
    pd.testing.assert_frame_equal(again, earlier)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_fractions_stay_near_however_images_are_added(steps):
    earlier, total = splits.no_assignment(), 0
    for step in steps:
        total += step
        earlier, _ = assign(toy_dataset("a", total), earlier=earlier)
        counts = earlier.groupby(["split", "target"]).size()
        for split_name, fraction in FRACTIONS.items():
            for target in (0, 1):
                assert abs(counts.get((split_name, target), 0) - fraction * total) < 1


# ---- a cohort's part -------------------------------------------------------------------------


def counts(num_of_each_class: int) -> dict[str, int]:
    """Counts of a part in which every image is a group."""
    of_class = ("num_malignant", "num_benign", "num_malignant_groups", "num_benign_groups")
    both = 2 * num_of_each_class
    return {"num_images": both, "num_groups": both, **dict.fromkeys(of_class, num_of_each_class)}


def test_a_cohort_takes_its_datasets_with_counts():
    rows, report = split("a", ["a"], TWO_DATASETS)
    assert tuple(rows.columns) == (*SPLIT_COLUMNS, "sha256")
    assert rows["sha256"].tolist() == [f"bytes-{image_id}" for image_id in rows["image_id"]]
    assert report["cohort"] == "a"
    assert report["splits"] == {"train": counts(6), "validation": counts(2), "test": counts(2)}
    assert report["datasets"] == {"a": counts(10)}
    assert report["groups_of_several"] == report["withheld"] == []


def test_an_image_is_in_the_same_split_in_every_cohort():
    joint, report = split("joint", ["a", "b"], TWO_DATASETS)
    assert len(joint) == 30
    assert list(report["datasets"]) == ["a", "b"]
    for name in "ab":
        single, _ = split(name, [name], TWO_DATASETS)
        pd.testing.assert_frame_equal(single, joint[joint["dataset"] == name].reset_index(drop=True))


def test_a_copy_in_another_dataset_ties_the_groups_of_both():
    copies = copies_of(("a0", "b0"))
    joint, report = split("joint", ["a", "b"], TWO_DATASETS, copies)
    assert report["groups_of_several"] == [
        {
            "group_id": "a0",
            "split": split_of(joint)["a0"],
            "image_ids": ["a0", "b0"],
            "reasons": ["near duplicate"],
        }
    ]
    single, report = split("b", ["b"], TWO_DATASETS, copies)
    assert split_of(single)["b0"] == split_of(joint)["b0"] == split_of(joint)["a0"]
    assert report["groups_of_several"] == []


def test_the_report_gives_all_reasons_of_a_group():
    rows = toy_dataset("a", a1={"lesion_id": "l"}, a3={"lesion_id": "l"})
    _, report = split("a", ["a"], rows, copies_of(("a3", "a5"), ("a5", "quarantined"), ("a1", "a3")))
    (group,) = report["groups_of_several"]
    assert group["image_ids"] == ["a1", "a3", "a5"]
    assert group["reasons"] == ["near duplicate", "same lesion"]


def test_withheld_images_and_those_not_accepted_are_left_out_and_the_former_named():
    before, in_train, in_test = bridged()
    rows = [row for row in toy_dataset("a") if row["image_id"] != "a0"]
    assigned, relations = assign(rows, copies_of((in_train, in_test)), before)
    taken, report = cohorts.split_cohort(
        "a", accepted=accepted_of(*rows), assigned=assigned, relations=relations, datasets=["a"]
    )
    assert set(before["image_id"]) - set(taken["image_id"]) == {"a0", in_train}
    assert report["withheld"] == [
        {"image_id": in_train, "split": "train", "reason": f"its group is in test through {in_test}"}
    ]


def test_an_accepted_image_without_a_split_is_refused():
    assigned, relations = assign(toy_dataset("a", 10))
    for num_each, is_fine in ((10, True), (11, False)):
        accepted = accepted_of(*toy_dataset("a", num_each))
        arguments: dict[str, Any] = {
            "accepted": accepted,
            "assigned": assigned,
            "relations": relations,
            "datasets": ["a"],
        }
        if is_fine:
            assert len(cohorts.split_cohort("a", **arguments)[0]) == 20
        else:
            with pytest.raises(DataError, match=r"2 accepted images have no split yet: a20, a21\. Run `dvc"):
                cohorts.split_cohort("a", **arguments)


def test_a_cohort_without_images_is_refused():
    assigned, relations = assign(toy_dataset("a"))
    with pytest.raises(DataError, match=r"Cohort 'c' is empty: none of \['b'\] has accepted images"):
        cohorts.split_cohort(
            "c",
            accepted=accepted_of(*toy_dataset("a")).iloc[:0],
            assigned=assigned,
            relations=relations,
            datasets=["b"],
        )


@pytest.mark.parametrize("target", [0, 1])
def test_a_cohort_of_one_class_is_refused(target):
    rows = [row | {"target": target} for row in toy_dataset("a")]
    with pytest.raises(DataError, match=rf"one class only \(target {target} in all 20 images\)"):
        split("a", ["a"], rows)


def test_every_split_of_a_cohort_needs_both_classes():
    rows = toy_dataset("a", 5)
    assert len(split("a", ["a"], rows)[0]) == 10
    with pytest.raises(
        DataError,
        match=r"\(5 with negative, 2 with positive images\): (validation|test) has no positive image\.",
    ):
        split("a", ["a"], [row for row in rows if row["target"] == 0 or row["image_id"] < "a4"])


@pytest.mark.parametrize("is_synthetic", [True, False, None])
def test_the_report_says_whether_any_image_of_the_cohort_may_be_synthetic(is_synthetic):
    rows = [row | {"is_synthetic": is_synthetic} for row in toy_dataset("a")]
    rows += [row | {"is_synthetic": False} for row in toy_dataset("b")]
    assert split("a", ["a"], rows)[1]["is_synthetic"] is (is_synthetic is not False)
    assert split("joint", ["a", "b"], rows)[1]["is_synthetic"] is (is_synthetic is not False)
    assert split("b", ["b"], rows)[1]["is_synthetic"] is False


# ---- the real images -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_cohorts(real_records, real_facts, params):
    labelled = real_records[real_records["target"].notna()].reset_index(drop=True)
    accepted = labelled.merge(real_facts[["image_id", "sha256"]], on="image_id")
    assigned, relations = cohorts.assign_images(
        accepted,
        duplicates.find_duplicates(real_facts, **params.duplicates.model_dump()),
        splits.no_assignment(),
        plan=splits.Plan.of(params.assign),
        datasets=["isic", "ph2"],
    )
    return {
        name: cohorts.split_cohort(
            name,
            accepted=accepted[accepted["dataset"].isin(datasets)],
            assigned=assigned,
            relations=relations,
            datasets=datasets,
        )
        for name, datasets in (("joint", ["isic", "ph2"]), ("ph2", ["ph2"]), ("isic", ["isic"]))
    }


@pytest.mark.real_data
def test_no_group_of_the_real_images_crosses_and_copies_share_a_split(real_cohorts):
    assigned, report = real_cohorts["joint"]
    assert len(assigned) == 2251 - 6 + 200
    assert assigned.groupby("group_id")["split"].nunique().eq(1).all()
    split_by_id = split_of(assigned)
    for one, other in [("ISIC_0012127", "ISIC_0012970"), ("ISIC_0012290", "ISIC_0013594")]:
        assert split_by_id[one] == split_by_id[other]
    assert any("near duplicate" in group["reasons"] for group in report["groups_of_several"])


@pytest.mark.real_data
def test_the_real_cohorts_of_one_dataset_are_parts_of_the_joint_one(real_cohorts):
    joint, _ = real_cohorts["joint"]
    for name in ("isic", "ph2"):
        part = joint[joint["dataset"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(real_cohorts[name][0], part)


@pytest.mark.real_data
def test_the_real_splits_have_the_wanted_fractions_of_both_classes(real_cohorts, params):
    assigned, _ = real_cohorts["ph2"]
    counts = assigned.groupby(["split", "target"]).size()
    for split_name, fraction in splits.fractions_of(params.assign).items():
        assert abs(counts[split_name, 1] - fraction * 40) < 1
        assert abs(counts[split_name, 0] - fraction * 160) < 1
