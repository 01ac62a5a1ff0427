import numpy as np
import pandas as pd
import pytest

from melanoma.config import Split
from melanoma.data import cohorts
from melanoma.data.facts import THUMBNAIL_SIDE
from melanoma.errors import DataError
from melanoma.files import write_parquet
from melanoma.schema import SPLIT_COLUMNS
from tests.data.toys import fact, facts_of, record, records_of

SETTINGS = Split(
    seed=7,
    train_fraction=0.6,
    validation_fraction=0.2,
    test_fraction=0.2,
    near_duplicate_max_distance=6,
    near_duplicate_min_correlation=0.9,
)


def toy_dataset(dataset: str, *, num_each: int = 10, **changes: dict[str, object]) -> tuple[list, list]:
    """Records and facts of unlike images `<dataset>0…`, half of them malignant; `changes` by image."""
    generator = np.random.default_rng(ord(dataset[0]))
    rows, facts = [], []
    for number in range(2 * num_each):
        image_id = f"{dataset}{number}"
        rows.append(
            record(
                image_id, dataset=dataset, diagnosis=None, target=number % 2, lesion_id=None, patient_id=None
            )
            | changes.get(image_id, {})
        )
        facts.append(
            fact(
                image_id,
                phashes=generator.integers(-(2**63), 2**63 - 1, size=8).tolist(),
                thumbnail=generator.integers(0, 256, THUMBNAIL_SIDE**2, dtype=np.uint8).tobytes(),
            )
        )
    return rows, facts


def split(cohort: str, datasets: list[str], rows: list, facts: list) -> tuple[pd.DataFrame, dict]:
    return cohorts.split_cohort(
        cohort, records=records_of(*rows), facts=facts_of(*facts), datasets=datasets, settings=SETTINGS
    )


@pytest.fixture
def two_datasets():
    rows_a, facts_a = toy_dataset("a", num_each=10)
    rows_b, facts_b = toy_dataset("b", num_each=5)
    return rows_a + rows_b, facts_a + facts_b


def test_a_cohort_is_split_by_the_settings(two_datasets):
    assigned, report = split("a", ["a"], *two_datasets)
    assert tuple(assigned.columns) == SPLIT_COLUMNS
    assert report["cohort"] == "a"
    assert report["splits"]["train"] == {
        "num_images": 12,
        "num_groups": 12,
        "num_malignant": 6,
        "num_benign": 6,
    }
    assert report["splits"]["test"]["num_images"] == report["splits"]["validation"]["num_images"] == 4
    assert report["groups_of_several"] == []


def test_an_image_lies_on_the_same_side_in_every_cohort(two_datasets):
    joint, _ = split("joint", ["a", "b"], *two_datasets)
    assert len(joint) == 30
    for name in "ab":
        single, _ = split(name, [name], *two_datasets)
        pd.testing.assert_frame_equal(single, joint[joint["dataset"] == name].reset_index(drop=True))


def test_lesions_patients_and_copies_stay_together_with_their_reasons():
    rows, facts = toy_dataset(
        "a",
        a0={"lesion_id": "l"},
        a2={"lesion_id": "l", "patient_id": "p"},
        a4={"patient_id": "p"},
    )
    facts[3] |= {name: facts[1][name] for name in ("sha256", "phashes", "thumbnail")}
    facts[7] |= {name: facts[5][name] for name in ("phashes", "thumbnail")}
    assigned, report = split("a", ["a"], rows, facts)
    reasons = {tuple(group["image_ids"]): group["reasons"] for group in report["groups_of_several"]}
    assert reasons == {
        ("a0", "a2", "a4"): ["same lesion", "same patient"],
        ("a1", "a3"): ["same bytes"],
        ("a5", "a7"): ["near duplicate"],
    }
    assert assigned.groupby("group_id")["split"].nunique().eq(1).all()


def test_a_copy_in_another_dataset_ties_the_groups_of_both(two_datasets):
    rows, facts = two_datasets
    facts[20] |= {name: facts[0][name] for name in ("pixels_sha256", "phashes", "thumbnail")}
    joint, report = split("joint", ["a", "b"], rows, facts)
    assert [group["image_ids"] for group in report["groups_of_several"]] == [["a0", "b0"]]
    side_of = joint.set_index("image_id")["split"]
    assert side_of["a0"] == side_of["b0"]
    single, _ = split("b", ["b"], rows, facts)
    assert single.set_index("image_id")["split"]["b0"] == side_of["b0"]


def test_copies_with_unlike_labels_are_refused(two_datasets):
    rows, facts = two_datasets
    facts[1] |= {"sha256": facts[0]["sha256"]}
    with pytest.raises(DataError, match=r"images/a0\.png \(0\) and images/a1\.png \(1\): same bytes"):
        split("a", ["a"], rows, facts)


def test_accepted_images_without_facts_are_refused_and_facts_of_further_images_are_not(two_datasets):
    rows, facts = two_datasets
    assert len(split("a", ["a"], rows[:20], facts)[0]) == 20
    with pytest.raises(DataError, match="1 images of the records were not inspected: b9"):
        split("a", ["a"], rows, facts[:-1])


def test_facts_of_rejected_images_tie_nothing(two_datasets):
    rows, facts = two_datasets
    rejected = fact(
        "z", sha256=facts[0]["sha256"], phashes=facts[0]["phashes"], thumbnail=facts[0]["thumbnail"]
    )
    _, report = split("a", ["a"], rows, [*facts, rejected])
    assert report["groups_of_several"] == []


@pytest.mark.parametrize(("is_synthetic", "expected"), [(True, True), (False, False)])
def test_the_report_says_whether_any_image_of_the_cohort_is_synthetic(is_synthetic, expected):
    rows_a, facts_a = toy_dataset("a")
    rows_b, facts_b = toy_dataset("b")
    rows_a = [row | {"is_synthetic": is_synthetic} for row in rows_a]
    rows_b = [row | {"is_synthetic": not is_synthetic} for row in rows_b]
    _, report = split("a", ["a"], rows_a + rows_b, facts_a + facts_b)
    assert report["is_synthetic"] is expected
    _, report = split("joint", ["a", "b"], rows_a + rows_b, facts_a + facts_b)
    assert report["is_synthetic"] is True


# ---- tables of several datasets --------------------------------------------------------------


def test_tables_are_read_one_below_the_other(tmp_path):
    write_parquet(pd.DataFrame({"image_id": ["b", "a"]}), tmp_path / "one.parquet")
    write_parquet(pd.DataFrame({"image_id": ["c"]}), tmp_path / "other.parquet")
    table = cohorts.read_tables(tmp_path, ["one", "other"])
    assert table["image_id"].tolist() == ["b", "a", "c"]
    assert table.index.tolist() == [0, 1, 2]


def test_an_id_in_two_datasets_is_refused(tmp_path):
    write_parquet(pd.DataFrame({"image_id": ["b", "a"]}), tmp_path / "one.parquet")
    write_parquet(pd.DataFrame({"image_id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"1 image ids occur in several of the datasets .*: a\. Ids must be"):
        cohorts.read_tables(tmp_path, ["one", "other"])


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"one\.parquet does not exist"):
        cohorts.read_tables(tmp_path, ["one"])


# ---- the real images -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_cohorts(real_records, real_facts, params):
    labelled = real_records[real_records["target"].notna()].reset_index(drop=True)
    return {
        name: cohorts.split_cohort(
            name, records=labelled, facts=real_facts, datasets=datasets, settings=params.split
        )
        for name, datasets in (("joint", ["isic", "ph2"]), ("ph2", ["ph2"]), ("isic", ["isic"]))
    }


@pytest.mark.real_data
def test_no_group_of_the_real_images_crosses_and_copies_share_a_side(real_cohorts):
    assigned, report = real_cohorts["joint"]
    assert len(assigned) == 2251 - 6 + 200
    assert assigned.groupby("group_id")["split"].nunique().eq(1).all()
    side_of = assigned.set_index("image_id")["split"]
    for one, other in [("ISIC_0012127", "ISIC_0012970"), ("ISIC_0012290", "ISIC_0013594")]:
        assert side_of[one] == side_of[other]
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
    for split_name, fraction in (
        ("train", params.split.train_fraction),
        ("validation", params.split.validation_fraction),
        ("test", params.split.test_fraction),
    ):
        assert abs(counts[split_name, 1] - fraction * 40) < 1
        assert abs(counts[split_name, 0] - fraction * 160) < 1
