import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma.data import ph2, raw, sources
from melanoma.errors import DataError
from tests.data.pictures import write

# Invented rows in the form of the official table.
HEADER = (
    "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network | "
    "Dots/Globules | Streaks | Regression Areas | Blue-Whitish Veil ||           Colors ||"
)
NEVUS = (
    "|| IMD901 ||                        ||                  0 ||         0 |               T | "
    "            A |       A |                A |                 A ||                4 ||"
)
ATYPICAL = (
    "|| IMD902 ||          Atypical Nevus ||                  1 ||         1 |              AT | "
    "           AT |       P |                A |                 A ||             3  4 || "
)
MELANOMA = (
    "|| IMD903 ||                Melanoma ||                  2 ||         2 |              AT | "
    "            A |       A |                P |                 P ||       3  4  5  6 ||"
)
LEGEND = "Legends for Clinical Diagnosis: \n   0 - Common Nevus;\n   1 - Atypical Nevus;\n   2 - Melanoma."
TABLE = "\n".join([HEADER, NEVUS, ATYPICAL, MELANOMA, "", LEGEND])
NAMES = ("IMD901", "IMD902", "IMD903")


def picture(name: str) -> np.ndarray:
    return np.full((6, 8, 3), int(name[3:]) % 256, np.uint8)


def flat_folder(top: Path, names: tuple[str, ...] = NAMES) -> Path:
    for name in names:
        write(picture(name), top / "images" / f"{name}.jpg")
        write(picture(name), top / "masks" / f"{name}_lesion.png")
    (top / "PH2_dataset.txt").write_text(TABLE, encoding="latin-1")
    return top


def official_tree(top: Path, names: tuple[str, ...] = NAMES) -> Path:
    for name in names:
        lesion = top / "PH2 Dataset images" / name
        write(picture(name), lesion / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
        write(picture(name), lesion / f"{name}_lesion" / f"{name}_lesion.bmp")
        write(picture(name), lesion / f"{name}_roi" / f"{name}_R1_Label4.bmp")
    (top / "PH2_dataset.txt").write_text(TABLE, encoding="latin-1")
    return top


def zip_folder(folder: Path, *, inside: str) -> Path:
    """`folder` as a zip whose members lie in `inside`, next to what a Mac adds."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{inside}{file.relative_to(folder).as_posix()}")
        archive.writestr("__MACOSX/PH2Dataset/._IMD901.bmp", b"")
    return path


LAYOUTS = {"flat": (flat_folder, ".jpg", ".png"), "official": (official_tree, ".bmp", ".bmp")}


def assert_holds_all_three(plan: raw.RawDataset, image_suffix: str, mask_suffix: str) -> None:
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
        pytest.raises(DataError, match=r"has no PH2 layout: expected PH2_dataset\.txt beside images/"),
        ph2.open_source(tmp_path, is_partial=False),
    ):
        pass


def test_a_missing_source_and_a_file_that_is_no_zip_are_refused(tmp_path):
    (tmp_path / "ph2.zip").write_bytes(b"404 Not Found")
    for name, message in (("missing", "does not exist; give the PH2"), ("ph2.zip", "is no readable zip")):
        with pytest.raises(DataError, match=message), ph2.open_source(tmp_path / name, is_partial=False):
            pass


# ---- the table -------------------------------------------------------------------------------


def parse(*lines: str) -> pd.DataFrame:
    return ph2.parse_table("\n".join(lines), source="here.txt")


def test_rows_are_read_by_their_columns():
    assert parse(MELANOMA).iloc[0].to_dict() == {
        "image_id": "IMD903",
        "histological_diagnosis": "Melanoma",
        "clinical_diagnosis": "2",
        "asymmetry": "2",
        "pigment_network": "AT",
        "dots_globules": "A",
        "streaks": "A",
        "regression_areas": "P",
        "blue_whitish_veil": "P",
        "colors": "3 4 5 6",
    }


def test_a_blank_histology_is_missing_and_moves_no_other_cell():
    row = parse(NEVUS).iloc[0]
    assert pd.isna(row["histological_diagnosis"])
    assert (row["clinical_diagnosis"], row["colors"]) == ("0", "4")


def test_header_legend_and_blank_lines_are_no_rows():
    assert parse(TABLE)["image_id"].tolist() == list(NAMES)


def test_windows_newlines_are_read():
    text = TABLE.replace("\n", "\r\n")
    pd.testing.assert_frame_equal(ph2.parse_table(text, source="here.txt"), parse(TABLE))


@pytest.mark.parametrize("code", ["3", "-1", "", "melanoma", "2.0"])
def test_a_clinical_diagnosis_outside_the_legend_is_refused_and_its_row_shown(code):
    wrong = NEVUS.replace("                  0 ||         0", f" {code} ||         0")
    assert wrong != NEVUS
    with pytest.raises(DataError, match=r"here\.txt: 1 rows do not have 10 cells.*0, 1 or 2: \|\| IMD901"):
        parse(wrong, MELANOMA)


@pytest.mark.parametrize(
    "wrong",
    [
        NEVUS.replace("| A |", "|", 1).replace("||                4 ||", "||"),
        NEVUS.replace("||                4 ||", "||  4 || 5 ||"),
        NEVUS.replace("|       A |", "|", 1),
    ],
    ids=["no colours", "one cell more", "one finding less"],
)
def test_a_row_of_another_number_of_cells_is_refused(wrong):
    with pytest.raises(DataError, match="1 rows do not have 10 cells"):
        parse(wrong)


@pytest.mark.parametrize("text", ["", "<html></html>", HEADER])
def test_a_text_without_rows_is_refused(text):
    with pytest.raises(DataError, match=r"here\.txt has no rows of the form"):
        parse(text)


# ---- records ---------------------------------------------------------------------------------


@pytest.fixture
def raw_dir(tmp_path):
    with ph2.open_source(flat_folder(tmp_path / "source"), is_partial=False) as plan:
        raw.write_raw(plan, tmp_path / "raw")
    return tmp_path / "raw"


def read(raw_dir: Path) -> pd.DataFrame:
    return sources.read_records("ph2", raw_dir, licence="research only", attribution="PH2")


def test_only_a_melanoma_is_malignant(raw_dir):
    records = read(raw_dir)
    assert records["image_id"].tolist() == list(NAMES)
    assert records["diagnosis"].tolist() == ["nevus", "atypical nevus", "melanoma"]
    assert records["target"].tolist() == [0, 0, 1]


def test_each_image_is_a_lesion_of_its_own_and_real(raw_dir):
    records = read(raw_dir)
    assert records["lesion_id"].tolist() == list(NAMES)
    assert records["is_synthetic"].tolist() == [False] * 3
    assert set(records["licence"]) == {"research only"}
    assert records["path"][0] == f"{raw_dir.as_posix()}/images/IMD901.jpg"
    assert records["mask_path"][0] == f"{raw_dir.as_posix()}/masks/IMD901_lesion.png"


@pytest.mark.parametrize("code", ["", "7"])
def test_a_diagnosis_that_is_blank_or_unknown_gives_no_label_instead_of_benign(raw_dir, code):
    table = pd.read_csv(raw_dir / "metadata.csv", dtype="string")
    table.loc[0, "clinical_diagnosis"] = code
    table.to_csv(raw_dir / "metadata.csv", index=False)
    records = read(raw_dir)
    assert pd.isna(records["target"][0])
    assert records["target"][1:].tolist() == [0, 1]


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
