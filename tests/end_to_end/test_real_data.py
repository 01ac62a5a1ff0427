"""The data side on all real images, typed as a user would: from the folders to checked splits.

Nothing is trained here; `test_real_run.py` goes from PH2 to a served model.
"""

import pandas as pd
import pytest

from tests.data.known_copies import FAR_ON_ISIC, NEAR_ON_ISIC, SAME_BYTES_ON_ISIC
from tests.end_to_end.clone import make_clone, report, run

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

ACTIVE = {"run": {"datasets": ["isic", "ph2"], "cohorts": ["isic", "ph2", "joint"]}}
KNOWN_PAIRS = {*SAME_BYTES_ON_ISIC, *NEAR_ON_ISIC, *FAR_ON_ISIC}


@pytest.fixture(scope="module")
def checked(tmp_path_factory, real_data):
    folder = make_clone(tmp_path_factory.mktemp("data"), ACTIVE)
    isic = real_data / "isic"
    sources = ["--metadata", f"{isic}/metadata.csv", "--images", f"{isic}/images", "--masks", f"{isic}/masks"]
    run(folder, "python", "-m", "pipelines.fetch", "isic", *sources)
    run(folder, "python", "-m", "pipelines.fetch", "ph2", "--source", str(real_data / "ph2"))
    # Both, and with them all that they need: nothing of these depends on training.
    run(folder, "dvc", "repro", "split", "card")
    return folder


@pytest.fixture(scope="module")
def splits(checked):
    return {
        cohort: pd.read_csv(checked / f"data/splits/{cohort}.csv").set_index("image_id")
        for cohort in ACTIVE["run"]["cohorts"]
    }


def test_every_copy_under_another_name_is_listed_and_nothing_else(checked):
    pairs = report(checked, "duplicates")["pairs"]
    assert {tuple(sorted(pair["images"])) for pair in pairs} == KNOWN_PAIRS


def test_the_six_blank_labels_are_quarantined_each_with_its_reason(checked):
    metadata = pd.read_csv(checked / "data/raw/isic/metadata.csv", dtype="string")
    blank = set(metadata.loc[metadata["benign_malignant"].isna(), "image_id"])
    quarantined = report(checked, "validation/isic")["quarantined"]
    assert len(blank) == 6
    assert {name for name, reasons in quarantined.items() if "label_missing" in reasons} == blank
    assert not blank & set(pd.read_csv(checked / "data/splits/joint.csv")["image_id"])


@pytest.mark.parametrize("cohort", ACTIVE["run"]["cohorts"])
def test_no_group_crosses_a_split(splits, checked, cohort):
    assert splits[cohort].groupby("group_id")["split"].nunique().max() == 1
    assert report(checked, f"{cohort}/split")["failures"] == []  # the balance of the sides only warns


def test_both_images_of_a_known_pair_lie_on_one_side_or_one_has_left(splits):
    sides = splits["joint"]["split"]
    for one, other in KNOWN_PAIRS:
        assert sides.get(one, sides.get(other)) == sides.get(other, sides.get(one))


def test_an_image_lies_on_the_same_side_in_each_of_its_cohorts(splits):
    joint = splits["joint"]["split"]
    for cohort in ("isic", "ph2"):
        assert (splits[cohort]["split"] == joint[splits[cohort].index]).all()
    assert len(joint) == len(splits["isic"]) + len(splits["ph2"])


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [("isic", "2,251 images were read, 10 quarantined"), ("ph2", "200 images were read, 0 quarantined")],
)
def test_the_card_of_a_dataset_says_what_is_in_it(checked, dataset, sentence):
    card = (checked / f"reports/data/{dataset}.md").read_text(encoding="utf-8")
    assert f"\n{sentence}, " in card
    assert "not a medical device" in card
    assert list((checked / f"reports/data/{dataset}").glob("*.png"))
