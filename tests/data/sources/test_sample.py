from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma.data.sources.sample import FAULTS, generate, read_records

METADATA_COLUMNS = [
    "image_id",
    "lesion_id",
    "patient_id",
    "diagnosis",
    "benign_malignant",
    "age_years",
    "sex",
    "anatom_site",
    "source_collection",
    "skin_ita_degrees",
    "licence",
    "attribution",
    "is_synthetic",
    "image_file",
    "mask_file",
    "planted_fault",
]

DEFAULTS: dict[str, Any] = {
    "seed": 7,
    "num_lesions": 12,
    "num_second_views": 4,
    "malignant_fraction": 0.4,
    "malignant_disorder": 1.8,
    "image_size": 160,
}


def make(out_dir: Path, **changes: Any) -> pd.DataFrame:
    out_dir.mkdir(parents=True, exist_ok=True)
    return generate(out_dir, **{**DEFAULTS, **changes})


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sample_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(sample_dir):
    return pd.read_csv(sample_dir / "metadata.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def faults(metadata):
    planted = metadata[metadata["planted_fault"] != ""]
    return planted.set_index("planted_fault")


def image_of(folder: Path, row: pd.Series) -> np.ndarray:
    return np.asarray(cv2.imread(str(folder / "images" / row["image_file"])))


def mask_of(folder: Path, row: pd.Series) -> np.ndarray:
    return np.asarray(cv2.imread(str(folder / "masks" / row["mask_file"]), cv2.IMREAD_UNCHANGED))


# ---- what is written -------------------------------------------------------------------------


def test_there_is_one_row_for_each_lesion_second_view_and_fault(metadata):
    assert len(metadata) == 12 + 4 + 6
    assert metadata["image_id"].is_unique
    assert list(metadata.columns) == METADATA_COLUMNS


def test_the_frame_returned_is_the_frame_written(tmp_path):
    returned = make(tmp_path)
    written = pd.read_csv(tmp_path / "metadata.csv", dtype=str, keep_default_na=False)
    assert returned.astype(str).to_numpy().tolist() == written.to_numpy().tolist()


def test_every_file_named_exists_and_no_other(sample_dir, metadata):
    images = {f"images/{name}" for name in metadata["image_file"]}
    masks = {f"masks/{name}" for name in metadata["mask_file"]}
    assert set(file_bytes(sample_dir)) == images | masks | {"metadata.csv"}


def test_everything_is_labelled_synthetic(metadata):
    assert set(metadata["source_collection"]) == {"synthetic"}
    assert set(metadata["is_synthetic"]) == {"True"}
    assert set(metadata["licence"]) == {"CC-0"}
    assert all("shows no patient" in words for words in metadata["attribution"])


def test_masks_have_the_geometry_of_their_images_and_two_values(sample_dir, metadata):
    for _, row in metadata[metadata["planted_fault"] != "truncated"].iterrows():
        mask = mask_of(sample_dir, row)
        assert mask.shape == image_of(sample_dir, row).shape[:2]
        assert set(np.unique(mask)) == {0, 255}


def test_a_lesion_is_darker_than_the_skin_around_it(sample_dir, metadata):
    for _, row in metadata[metadata["planted_fault"] == ""].iterrows():
        grey = cv2.cvtColor(image_of(sample_dir, row), cv2.COLOR_BGR2GRAY)
        inside = mask_of(sample_dir, row) > 0
        ring = cv2.dilate(inside.astype(np.uint8), np.ones((15, 15))) - inside
        assert grey[inside].mean() < grey[ring > 0].mean()


# ---- identities ------------------------------------------------------------------------------


def test_a_lesion_belongs_to_one_patient(metadata):
    assert metadata.groupby("lesion_id")["patient_id"].nunique().max() == 1


def test_some_patients_have_two_lesions_and_none_more(tmp_path):
    metadata = make(tmp_path, num_lesions=40, num_second_views=0)
    num_lesions = metadata.groupby("patient_id")["lesion_id"].nunique()
    assert set(num_lesions) == {1, 2}


def test_second_views_share_lesion_label_and_patient_but_no_pixels(sample_dir, metadata):
    unfaulted = metadata[metadata["planted_fault"] == ""]
    seen_twice = [views for _, views in unfaulted.groupby("lesion_id") if len(views) > 1]
    assert len(seen_twice) == 4
    for views in seen_twice:
        assert len(views) == 2
        same = views.drop(columns=["image_id", "image_file", "mask_file"])
        assert len(same.drop_duplicates()) == 1
        first, second = (image_of(sample_dir, row) for _, row in views.iterrows())
        assert np.mean(first == second) < 0.2


@pytest.mark.parametrize(("fraction", "num_malignant"), [(0.4, 8), (0.25, 5), (0.9, 18)])
def test_the_malignant_fraction_is_met_in_whole_blocks_of_ten(tmp_path, fraction, num_malignant):
    metadata = make(tmp_path, num_lesions=20, num_second_views=0, malignant_fraction=fraction)
    lesions = metadata[metadata["planted_fault"] == ""]
    assert (lesions["benign_malignant"] == "malignant").sum() == num_malignant
    assert set(zip(lesions["benign_malignant"], lesions["diagnosis"], strict=True)) == {
        ("malignant", "melanoma"),
        ("benign", "nevus"),
    }


def test_less_disorder_changes_the_malignant_lesions_only(sample_dir, tmp_path):
    metadata = make(tmp_path, malignant_disorder=-1.8)
    for _, row in metadata[metadata["planted_fault"] == ""].iterrows():
        is_same = np.array_equal(image_of(sample_dir, row), image_of(tmp_path, row))
        assert is_same == (row["benign_malignant"] == "benign")


# ---- seeds -----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(sample_dir, tmp_path):
    make(tmp_path)
    assert file_bytes(tmp_path) == file_bytes(sample_dir)


def test_another_seed_gives_other_bytes(sample_dir, tmp_path):
    make(tmp_path, seed=8)
    first, second = file_bytes(sample_dir), file_bytes(tmp_path)
    images = [name for name in first if name.startswith("images/")]
    assert all(first[name] != second[name] for name in images)


def test_an_image_is_the_same_however_many_others_are_made(sample_dir, metadata, tmp_path):
    more = make(tmp_path, num_lesions=15, num_second_views=6)
    first, second = file_bytes(sample_dir), file_bytes(tmp_path)
    first.pop("metadata.csv")
    assert {name: second[name] for name in first} == first
    rows = more.astype(str).set_index("image_id").loc[metadata["image_id"]]
    assert rows.to_numpy().tolist() == metadata.set_index("image_id").to_numpy().tolist()


# ---- planted faults --------------------------------------------------------------------------


def test_each_fault_is_planted_once(faults):
    assert sorted(faults.index) == sorted(FAULTS)


def test_the_truncated_file_cannot_be_decoded_wholly(sample_dir, faults, metadata):
    with pytest.raises(OSError, match="truncated"):
        Image.open(sample_dir / "images" / faults.loc["truncated", "image_file"]).load()
    for name in metadata.loc[metadata["planted_fault"] != "truncated", "image_file"]:
        Image.open(sample_dir / "images" / name).load()


def test_the_duplicate_has_the_bytes_of_one_other_image(sample_dir, faults, metadata):
    contents = file_bytes(sample_dir / "images")
    copied = faults.loc["duplicate"]
    twins = [
        row
        for _, row in metadata.iterrows()
        if contents[row["image_file"]] == contents[copied["image_file"]]
        and row["image_id"] != copied["image_id"]
    ]
    assert len(twins) == 1
    assert twins[0]["lesion_id"] != copied["lesion_id"]
    assert twins[0]["patient_id"] != copied["patient_id"]
    assert twins[0]["benign_malignant"] == copied["benign_malignant"]


def test_the_near_duplicate_is_another_image_turned_round(sample_dir, faults, metadata):
    copied = faults.loc["near_duplicate"]
    upright = np.rot90(image_of(sample_dir, copied)).astype(float)
    others = metadata[metadata["planted_fault"] == ""]
    distances = {
        row["image_id"]: np.abs(upright - image_of(sample_dir, row)).mean() for _, row in others.iterrows()
    }
    closest, next_closest = sorted(distances.values())[:2]
    assert 0 < closest < 4 < next_closest
    twin = others.set_index("image_id").loc[min(distances, key=lambda name: distances[name])]
    assert twin["benign_malignant"] == copied["benign_malignant"]
    assert twin["patient_id"] != copied["patient_id"]


def test_the_blurred_image_is_far_less_sharp_than_the_median(sample_dir, faults, metadata):
    def sharpness(row):
        return cv2.Laplacian(image_of(sample_dir, row), cv2.CV_64F).var()

    others = metadata[metadata["planted_fault"] == ""]
    median = np.median([sharpness(row) for _, row in others.iterrows()])
    assert sharpness(faults.loc["blurred"]) < 0.1 * median


def test_the_blank_label_reads_as_missing_and_no_other_does(sample_dir, faults):
    records = read_records(sample_dir).set_index("image_id")
    blank = records.index[records["malignancy"] == "unclear"]
    assert list(blank) == [faults.loc["blank_label", "image_id"]]
    assert records.loc[blank, "diagnosis"].isna().all()


def test_only_the_image_planted_as_too_small_is_under_150_pixels(sample_dir, faults, metadata):
    for _, row in metadata[metadata["planted_fault"] != "truncated"].iterrows():
        is_small = max(image_of(sample_dir, row).shape[:2]) < 150
        assert is_small == (row["image_id"] == faults.loc["too_small", "image_id"])


# ---- reading ---------------------------------------------------------------------------------


def test_records_have_the_types_of_the_vocabulary(sample_dir):
    records = read_records(sample_dir)
    assert records["age_years"].dtype == float
    assert records["is_synthetic"].dtype == bool
    assert records["is_synthetic"].all()
    assert all(isinstance(name, str) for name in records["lesion_id"])


def test_melanomas_are_malignant_and_nevi_benign(sample_dir, metadata):
    records = read_records(sample_dir)
    said = metadata["benign_malignant"].replace("", "unclear")
    assert records["malignancy"].tolist() == said.tolist()
    expected = said.map({"malignant": "melanoma", "benign": "nevus"})
    assert records["diagnosis"].fillna("").tolist() == expected.fillna("").tolist()


def test_blank_fields_read_as_missing_and_unlike_words_do_not(tmp_path):
    fields = dict.fromkeys(METADATA_COLUMNS, "")
    fields |= {"image_id": "0001", "lesion_id": "NA", "is_synthetic": "True"}
    pd.DataFrame([fields]).to_csv(tmp_path / "metadata.csv", index=False)
    record = read_records(tmp_path).iloc[0]
    assert (record["image_id"], record["lesion_id"]) == ("0001", "NA")
    assert record[["diagnosis", "age_years", "sex", "anatom_site"]].isna().all()


def test_the_smallest_arguments_are_accepted(tmp_path):
    metadata = make(tmp_path, seed=0, num_lesions=10, num_second_views=10)
    assert len(metadata) == 26


# ---- hardness --------------------------------------------------------------------------------


@pytest.mark.slow
def test_colours_area_and_file_size_alone_do_not_tell_the_label(tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    metadata = make(tmp_path, seed=1, num_lesions=260, num_second_views=40, image_size=256)
    metadata = metadata[metadata["planted_fault"] == ""]
    images = [image_of(tmp_path, row) for _, row in metadata.iterrows()]
    colours = np.array(
        [cv2.calcHist([image], [0, 1, 2], None, [8] * 3, [0, 256] * 3).ravel() for image in images]
    )
    area = np.array([[mask_of(tmp_path, row).mean()] for _, row in metadata.iterrows()])
    num_bytes = np.array([[(tmp_path / "images" / name).stat().st_size] for name in metadata["image_file"]])
    target = (metadata["benign_malignant"] == "malignant").astype(int).to_numpy()

    def auc_roc(features):
        probability = cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)),
            features,
            target,
            groups=metadata["lesion_id"],
            cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
            method="predict_proba",
        )[:, 1]
        return roc_auc_score(target, probability)

    assert auc_roc(colours) < 0.68
    assert auc_roc(area) < 0.62
    assert auc_roc(num_bytes) < 0.65
