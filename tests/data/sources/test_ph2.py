import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data.sources import ph2, raw_folder, readers
from melanoma.errors import DataError
from melanoma.schema import CLINICAL_DTYPES
from tests.data.ph2_files import NAMES, flat_folder, official_tree, picture
from tests.data.pictures import write
from tests.data.toys import TARGET_RULE


def zip_folder(folder: Path, *, inside: str) -> Path:
    """`folder` as a zip whose members lie in `inside`, next to what a Mac adds."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{inside}{file.relative_to(folder).as_posix()}")
        archive.writestr("__MACOSX/PH2Dataset/._IMD901.bmp", b"")
    return path


LAYOUTS = {"flat": (flat_folder, ".jpg", ".png"), "official": (official_tree, ".bmp", ".bmp")}


def assert_holds_all_three(plan: raw_folder.RawDataset, image_suffix: str, mask_suffix: str) -> None:
    assert plan.metadata["image_id"].tolist() == list(NAMES)
    assert list(plan.images) == [f"{name}{image_suffix}" for name in NAMES]
    assert list(plan.masks) == [f"{name}_lesion{mask_suffix}" for name in NAMES]
    assert plan.metadata["image_file"].tolist() == list(plan.images)
    assert plan.metadata["mask_file"].tolist() == list(plan.masks)
    assert all(file.is_file() for file in (*plan.images.values(), *plan.masks.values()))


# ---- layouts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_either_layout_is_read_from_a_folder_or_the_folder_around_it(tmp_path, layout):
    build, *suffixes = LAYOUTS[layout]
    build(tmp_path / "around" / "PH2Dataset")
    for source in (tmp_path / "around" / "PH2Dataset", tmp_path / "around"):
        with ph2.open_source(source, is_partial=False) as plan:
            assert_holds_all_three(plan, *suffixes)


@pytest.mark.parametrize("inside", ["", "PH2Dataset/"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_either_layout_is_read_from_a_zip_and_nothing_stays_unpacked(tmp_path, layout, inside):
    build, *suffixes = LAYOUTS[layout]
    source = zip_folder(build(tmp_path / "ph2"), inside=inside)
    with ph2.open_source(source, is_partial=False) as plan:
        assert_holds_all_three(plan, *suffixes)
        unpacked = next(iter(plan.images.values()))
    assert not unpacked.exists()


def test_masks_may_be_missing(tmp_path):
    shutil.rmtree(flat_folder(tmp_path) / "masks")
    with ph2.open_source(tmp_path, is_partial=False) as plan:
        assert plan.masks == {}
        assert plan.metadata["mask_file"].isna().all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_part_of_the_lesions_needs_partial(tmp_path, layout):
    source = LAYOUTS[layout][0](tmp_path, names=("IMD901", "IMD903"))
    with (
        pytest.raises(DataError, match=r"1 rows have no image file: IMD902.*--partial"),
        ph2.open_source(source, is_partial=False),
    ):
        pass
    with ph2.open_source(source, is_partial=True) as plan:
        assert plan.metadata["image_id"].tolist() == ["IMD901", "IMD903"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_to_a_file_outside_of_the_folder_is_refused(tmp_path, layout):
    build, suffix, _ = LAYOUTS[layout]
    secret = write(picture("IMD901"), tmp_path / f"secret{suffix}")
    image = next(build(tmp_path / "ph2").rglob(f"IMD901{suffix}"))
    image.unlink()
    image.symlink_to(secret)
    with (
        pytest.raises(
            DataError,
            match=(
                rf"1 entries "
                rf".*IMD901\{suffix} \(is a link to a place outside the folder\)"
            ),
        ),
        ph2.open_source(tmp_path / "ph2", is_partial=False),
    ):
        pass


def test_a_link_to_a_dataset_elsewhere_is_not_followed_unless_named(tmp_path):
    flat_folder(tmp_path / "elsewhere")
    (tmp_path / "around").mkdir()
    (tmp_path / "around" / "PH2Dataset").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(DataError, match="does not have the layout of PH2"),
        ph2.open_source(tmp_path / "around", is_partial=False),
    ):
        pass
    with ph2.open_source(tmp_path / "around" / "PH2Dataset", is_partial=False) as plan:
        assert_holds_all_three(plan, ".jpg", ".png")


STRAYS = ("IMD903/IMD903_Dermoscopic_Image/IMD902.bmp", "IMD903/IMD903_lesion/IMD902_lesion.bmp")


def test_each_lesion_of_the_tree_gets_the_files_of_its_own_folder(tmp_path):
    tree = official_tree(tmp_path) / "PH2 Dataset images"
    with ph2.open_source(tmp_path, is_partial=False) as plan:
        assert plan.images["IMD902.bmp"] == tree / "IMD902/IMD902_Dermoscopic_Image/IMD902.bmp"
        assert plan.masks["IMD902_lesion.bmp"] == tree / "IMD902/IMD902_lesion/IMD902_lesion.bmp"


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("is_own_there", [True, False])
def test_a_file_in_the_folder_of_another_lesion_is_refused(tmp_path, stray, is_own_there):
    tree = official_tree(tmp_path) / "PH2 Dataset images"
    write(picture("IMD903"), tree / stray)
    if not is_own_there:
        shutil.rmtree(tree / "IMD902")
    with (
        pytest.raises(DataError, match=rf"1 files are in the folder of another lesion: {stray}\. Move each"),
        ph2.open_source(tmp_path, is_partial=False),
    ):
        pass


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_masks_of_one_image_are_refused(tmp_path, layout):
    build, _, suffix = LAYOUTS[layout]
    mask = next(build(tmp_path).rglob(f"IMD902_lesion{suffix}"))
    write(picture("IMD903"), mask.with_name(f"IMD902{suffix}"))
    names = rf"IMD902\{suffix} and IMD902_lesion\{suffix}"
    with (
        pytest.raises(DataError, match=rf"1 images have two masks: {names}\. Keep one"),
        ph2.open_source(tmp_path, is_partial=False),
    ):
        pass


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_may_bear_the_bare_name_of_its_image(tmp_path, layout):
    build, _, suffix = LAYOUTS[layout]
    mask = next(build(tmp_path).rglob(f"IMD902_lesion{suffix}"))
    bare = mask.rename(mask.with_name(f"IMD902{suffix}"))
    with ph2.open_source(tmp_path, is_partial=False) as plan:
        assert bare in plan.masks.values()
        assert len(plan.masks) == 3


@pytest.mark.parametrize("name", ["IMD902_mask.png", "IMD902_Segmentation.png"])
def test_a_mask_may_have_another_usual_name(tmp_path, name):
    masks = flat_folder(tmp_path) / "masks"
    (masks / "IMD902_lesion.png").rename(masks / name)
    with ph2.open_source(tmp_path, is_partial=False) as plan:
        assert plan.metadata["mask_file"].tolist()[1] == name
        assert plan.remarks == ""


def test_what_is_not_used_is_counted_and_named(tmp_path):
    flat_folder(tmp_path)
    write(picture("IMD904"), tmp_path / "masks" / "IMD904_lesion.png")
    write(picture("IMD905"), tmp_path / "images" / "deeper" / "IMD905.jpg")
    (tmp_path / "images" / "IMD903.jpg").unlink()
    with ph2.open_source(tmp_path, is_partial=True) as plan:
        assert plan.remarks == (
            "unused: 1 rows without an image (IMD903), 3 files (images/deeper/IMD905.jpg, "
            "masks/IMD903_lesion.png, masks/IMD904_lesion.png)"
        )


def test_masks_of_which_none_fits_are_refused(tmp_path):
    masks = flat_folder(tmp_path) / "masks"
    for name in NAMES:
        (masks / f"{name}_lesion.png").rename(masks / f"{name}_roi.png")
    with (
        pytest.raises(DataError, match="3 files, and none is named as the mask of an image: IMD901_roi"),
        ph2.open_source(tmp_path, is_partial=False),
    ):
        pass


def test_an_image_without_a_row_is_refused(tmp_path):
    write(picture("IMD904"), flat_folder(tmp_path) / "images" / "IMD904.jpg")
    with (
        pytest.raises(DataError, match="1 image files have no row: IMD904"),
        ph2.open_source(tmp_path, is_partial=True),
    ):
        pass


@pytest.mark.parametrize("missing", ["images", "PH2_dataset.txt"])
def test_a_folder_of_neither_layout_is_refused(tmp_path, missing):
    flat_folder(tmp_path)
    path = tmp_path / missing
    path.rename(tmp_path / "renamed")
    with (
        pytest.raises(
            DataError,
            match=(
                r"does not have the layout of PH2: expected PH2_dataset\.txt next "
                r"to images/"
            ),
        ),
        ph2.open_source(tmp_path, is_partial=False),
    ):
        pass


def test_a_table_that_is_a_workbook_only_is_refused(tmp_path):
    flat_folder(tmp_path)
    (tmp_path / "PH2_dataset.txt").rename(tmp_path / "PH2_dataset.xlsx")
    with (
        pytest.raises(DataError, match="which is not supported"),
        ph2.open_source(tmp_path, is_partial=False),
    ):
        pass


def test_what_is_wrong_in_a_zip_names_the_zip_and_not_where_it_was_unpacked(tmp_path):
    top = flat_folder(tmp_path / "ph2")
    shutil.rmtree(top / "images")
    source = zip_folder(top, inside="PH2Dataset")
    with (
        pytest.raises(DataError, match=f"^{re.escape(str(source))} does not have the layout of PH2"),
        ph2.open_source(source, is_partial=False),
    ):
        pass


def test_a_missing_source_and_a_file_that_is_no_zip_are_refused(tmp_path):
    (tmp_path / "ph2.zip").write_bytes(b"404 Not Found")
    for name, message in (
        ("missing", "does not exist; give the PH2"),
        ("ph2.zip", "is not a readable zip file"),
    ):
        with pytest.raises(DataError, match=message), ph2.open_source(tmp_path / name, is_partial=False):
            pass


# ---- records ---------------------------------------------------------------------------------


@pytest.fixture
def raw_dir(tmp_path):
    with ph2.open_source(flat_folder(tmp_path / "source"), is_partial=False) as plan:
        raw_folder.write_raw(plan, tmp_path / "raw")
    return tmp_path / "raw"


def read(raw_dir: Path) -> pd.DataFrame:
    return readers.read_records("ph2", raw_dir, licence="research only", attribution="PH2", **TARGET_RULE)


def test_only_a_melanoma_is_malignant(raw_dir):
    records = read(raw_dir)
    assert records["image_id"].tolist() == list(NAMES)
    assert records["diagnosis"].tolist() == ["nevus", "atypical nevus", "melanoma"]
    assert records["target"].tolist() == [0, 0, 1]


def test_each_image_is_a_lesion_of_its_own_and_real(raw_dir):
    records = read(raw_dir)
    assert records["lesion_id"].tolist() == list(NAMES)
    assert set(records["image_type"]) == {"dermoscopic"}
    assert records["is_synthetic"].tolist() == [False] * 3
    assert set(records["licence"]) == {"research only"}
    assert records["path"][0] == f"{raw_dir.as_posix()}/images/IMD901.jpg"
    assert records["mask_path"][0] == f"{raw_dir.as_posix()}/masks/IMD901_lesion.png"


def test_what_was_seen_in_the_lesion_is_kept_in_words(raw_dir):
    records = read(raw_dir).set_index("image_id")
    assert records.loc["IMD903", list(CLINICAL_DTYPES)].to_dict() == {
        "asymmetry": "asymmetric",
        "pigment_network": "atypical",
        "dots_globules": "absent",
        "streaks": "absent",
        "regression_areas": "present",
        "blue_whitish_veil": "present",
        "colours": "light brown; dark brown; blue-grey; black",
    }
    assert records.loc["IMD902", "asymmetry"] == "symmetric in one axis"
    assert "Melanoma" in (raw_dir / "metadata.csv").read_text()  # the histology stays there


def change_first_row(raw_dir: Path, column: str, code: str) -> None:
    table = pd.read_csv(raw_dir / "metadata.csv", dtype="string")
    table.loc[0, column] = code
    table.to_csv(raw_dir / "metadata.csv", index=False)


def test_a_blank_diagnosis_gives_no_label_instead_of_benign(raw_dir):
    change_first_row(raw_dir, "clinical_diagnosis", "")
    records = read(raw_dir)
    assert pd.isna(records["target"][0])
    assert records["target"][1:].tolist() == [0, 1]


def test_a_blank_finding_is_missing(raw_dir):
    change_first_row(raw_dir, "streaks", "")
    assert read(raw_dir)["streaks"].isna().tolist() == [True, False, False]


def test_metadata_that_were_saved_by_another_program_say_the_same(raw_dir):
    change_first_row(raw_dir, "asymmetry", "unknown")
    before = read(raw_dir)
    text = (raw_dir / "metadata.csv").read_text().replace(",", ";").replace("AT", " at ")
    (raw_dir / "metadata.csv").write_bytes(text.encode("utf-16"))
    pd.testing.assert_frame_equal(read(raw_dir), before)
    assert before["asymmetry"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(("column", "code"), [("clinical_diagnosis", "7"), ("colors", "3 9")])
def test_metadata_with_a_code_outside_the_legend_are_refused(raw_dir, column, code):
    change_first_row(raw_dir, column, code)
    with pytest.raises(DataError, match=rf"metadata\.csv: 1 cells .*: IMD901 {column}={code}\. Expected"):
        read(raw_dir)


def test_metadata_that_lack_a_column_are_refused(raw_dir):
    table = pd.read_csv(raw_dir / "metadata.csv", dtype="string")
    table.drop(columns="clinical_diagnosis").to_csv(raw_dir / "metadata.csv", index=False)
    with pytest.raises(DataError, match=r"metadata\.csv lacks the columns \['clinical_diagnosis'\]"):
        read(raw_dir)


# ---- the real PH2 ----------------------------------------------------------------------------


@pytest.mark.real_data
def test_the_real_table_has_200_images_80_common_and_80_atypical_nevi_and_40_melanomas(real_records):
    records = real_records[real_records["dataset"] == "ph2"]
    assert records["diagnosis"].value_counts().to_dict() == {
        "nevus": 80,
        "atypical nevus": 80,
        "melanoma": 40,
    }
    assert int(records["target"].sum()) == 40
    assert records["mask_path"].notna().all()
    assert records["blue_whitish_veil"].value_counts().to_dict() == {"absent": 164, "present": 36}
    assert records["colours"].str.contains("red").sum() == 10
    assert records[list(CLINICAL_DTYPES)].notna().all(axis=None)


@pytest.mark.real_data
def test_twelve_real_lesions_in_a_zip_need_partial(real_data):
    source = real_data / "ph2" / "PH2Dataset_12_of_200.zip"
    with (
        pytest.raises(DataError, match="188 rows have no image file"),
        ph2.open_source(source, is_partial=False),
    ):
        pass
    with ph2.open_source(source, is_partial=True) as plan:
        assert len(plan.metadata) == len(plan.images) == len(plan.masks) == 12
        assert all(name.endswith(".bmp") for name in plan.images)
