import re
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data import isic, raw, sources
from melanoma.errors import DataError

HEADER = (
    "isic_id,attribution_collection,copyright_license,benign_malignant,diagnosis,age_approx,sex,"
    "anatom_site_general,lesion_id,patient_id"
)
BENIGN = "ISIC_0000001,UDA-1,CC-0,benign,nevus,30.0,female,anterior torso,IL_1,IP_1"
MALIGNANT = "ISIC_0000002,UDA-1,CC-BY,malignant,melanoma,85,male,head/neck,,"
BLANK = "ISIC_0000003,UDA-1,CC-0,,,,,,,"
UNCLEAR = "ISIC_0000004,UDA-1,CC-0,indeterminate,,45.0,,,,"


def write_source(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """Metadata with one image a row, and masks for all but the last and for one image more."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    names = [row.split(",")[0] for row in rows]
    for name in names:
        (folder / "images" / f"{name}.jpg").write_bytes(name.encode())
    for name in [*names[:-1], "ISIC_9999999"]:
        (folder / "masks" / f"{name}_segmentation.png").write_bytes(name.encode())
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def open_source(folder: Path, *, is_partial: bool = False) -> raw.RawDataset:
    return isic.open_source(
        folder / "metadata.csv", folder / "images", folder / "masks", is_partial=is_partial
    )


def read(tmp_path: Path, *rows: str, header: str = HEADER) -> pd.DataFrame:
    """Records of `rows`, the whole way from the archive's files."""
    raw.write_raw(open_source(write_source(tmp_path / "source", *rows, header=header)), tmp_path / "raw")
    return sources.read_records("isic", tmp_path / "raw", licence=None, attribution="ISIC Archive")


# ---- rows ------------------------------------------------------------------------------------


def test_a_row_of_the_archive_becomes_a_record(tmp_path):
    row = read(tmp_path, BENIGN, MALIGNANT).iloc[0]
    folder = (tmp_path / "raw").as_posix()
    assert row.dropna().to_dict() == {
        "image_id": "ISIC_0000001",
        "dataset": "isic",
        "diagnosis": "nevus",
        "target": 0,
        "lesion_id": "IL_1",
        "patient_id": "IP_1",
        "age_years": 30.0,
        "sex": "female",
        "anatom_site": "anterior torso",
        "source_collection": "UDA-1",
        "licence": "CC-0",
        "attribution": "ISIC Archive",
        "is_synthetic": False,
        "path": f"{folder}/images/ISIC_0000001.jpg",
        "mask_path": f"{folder}/masks/ISIC_0000001_segmentation.png",
    }


def test_malignant_is_1_and_benign_is_0_in_any_case_of_letters(tmp_path):
    records = read(
        tmp_path, BENIGN, MALIGNANT, MALIGNANT.replace("02,", "05,").replace("malignant", "Malignant")
    )
    assert records["target"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "label", ["", "indeterminate", "Indeterminate", "indeterminate/benign", "indeterminate/malignant"]
)
def test_a_blank_or_indeterminate_label_stays_without_a_target(tmp_path, label):
    records = read(tmp_path, BENIGN, UNCLEAR.replace("indeterminate", label))
    assert records["target"].isna().tolist() == [False, True]


def test_rows_without_any_label_can_be_read(tmp_path):
    assert read(tmp_path, BLANK, UNCLEAR)["target"].isna().all()


def test_blank_cells_are_missing(tmp_path):
    row = read(tmp_path, BLANK).iloc[0]
    blank = ["diagnosis", "lesion_id", "patient_id", "age_years", "sex", "anatom_site", "mask_path"]
    assert row[blank].isna().all()


@pytest.mark.parametrize("label", ["unknown", "0", "malignant?", "benign "])
def test_an_unknown_label_is_refused_and_its_row_named(tmp_path, label):
    folder = write_source(tmp_path, BENIGN, BLANK.replace("CC-0,", f"CC-0,{label}"))
    with pytest.raises(
        DataError, match=rf"1 rows have an unknown .*: ISIC_0000003={re.escape(label)}\. Known are"
    ):
        open_source(folder)


def test_an_age_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="A record value has a wrong type"):
        read(tmp_path, BENIGN.replace("30.0", "thirty"))


def test_a_mask_is_optional_and_masks_of_other_images_are_left_out(tmp_path):
    plan = open_source(write_source(tmp_path, BENIGN, MALIGNANT))
    assert list(plan.masks) == ["ISIC_0000001_segmentation.png"]
    assert plan.metadata["mask_file"].isna().tolist() == [False, True]
    without = isic.open_source(tmp_path / "metadata.csv", tmp_path / "images", None, is_partial=False)
    assert without.masks == {}


def test_id_and_label_are_all_that_a_source_must_have(tmp_path):
    records = read(tmp_path, "a,benign", "b,malignant", header="isic_id,benign_malignant")
    assert records["target"].tolist() == [0, 1]
    assert records["licence"].isna().all()
    assert set(records["attribution"]) == {"ISIC Archive"}


@pytest.mark.parametrize(
    ("column", "message"),
    [("isic_id", r"the columns \['isic_id'\]"), ("benign_malignant", "a column with the label")],
)
def test_a_source_without_id_or_label_is_refused(tmp_path, column, message):
    folder = write_source(tmp_path, BENIGN, header=HEADER.replace(column, "renamed"))
    with pytest.raises(DataError, match=rf"metadata\.csv lacks {message}"):
        open_source(folder)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_table_with_semicolons_is_refused_and_commas_asked_for(tmp_path, quote):
    header = ";".join(f"{quote}{name}{quote}" for name in HEADER.split(","))
    folder = write_source(tmp_path, BENIGN.replace(",", ";").replace("30.0", "30,0"), header=header)
    with pytest.raises(DataError, match=r"metadata\.csv is separated by semicolons; expected commas"):
        open_source(folder)


def test_a_semicolon_in_the_name_of_a_column_is_legal(tmp_path):
    assert len(read(tmp_path, "a,benign,x", header="\ufeffisic_id,benign_malignant,a;b")) == 1


# ---- newer rows ------------------------------------------------------------------------------

PATH_HEADER = "isic_id,benign_malignant,diagnosis,diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_4,diagnosis_5"


def read_one(tmp_path, *, header=PATH_HEADER, **values):
    cells = [f'"{values[name]}"' if name in values else "" for name in header.split(",")]
    return read(tmp_path, "a" + ",".join(cells), header=header).iloc[0]


@pytest.mark.parametrize(
    ("old", "new", "target"),
    [
        ("", "Malignant", 1),
        ("", "Benign", 0),
        ("", "Indeterminate", None),
        ("", "", None),
        ("malignant", "", 1),
        ("malignant", "Malignant", 1),
        ("benign", "Malignant", None),
        ("malignant", "Benign", None),
        ("malignant", "Indeterminate", None),
        ("indeterminate", "Benign", None),
    ],
)
def test_the_target_is_what_both_label_columns_say_and_never_guessed(tmp_path, old, new, target):
    row = read_one(tmp_path, benign_malignant=old, diagnosis_1=new)
    assert (None if pd.isna(row["target"]) else row["target"]) == target


@pytest.mark.parametrize(
    ("path", "diagnosis"),
    [
        (["Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma, NOS"], "melanoma"),
        (["Malignant", "", "Melanoma in situ", "Melanoma in situ, Lentigo maligna type"], "melanoma"),
        (["Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma metastasis"], "melanoma"),
        (["Benign", "Benign melanocytic proliferations", "Nevus"], "nevus"),
        (
            ["Benign", "Benign melanocytic proliferations", "Nevus", "Blue nevus", "Blue nevus, Common"],
            "nevus",
        ),
        (
            ["Benign", "", "Nevus", "Nevus, Atypical, Dysplastic, or Clark", "Nevus, Clark"],
            "atypical nevus",
        ),
        (["Benign", "Benign epidermal proliferations", "Seborrheic keratosis"], "seborrheic keratosis"),
        (["Benign", "Benign epidermal proliferations", "Epidermal nevus"], "epidermal nevus"),
        (
            ["Malignant", "", "Basal cell carcinoma", "Basal cell carcinoma, Nodular"],
            "basal cell carcinoma, nodular",
        ),
        (["Indeterminate"], "indeterminate"),
        ([], None),
    ],
)
def test_the_path_of_a_diagnosis_becomes_a_word(tmp_path, path, diagnosis):
    names = {f"diagnosis_{level}": name for level, name in enumerate(path, start=1)}
    row = read_one(tmp_path, **names)
    assert (None if pd.isna(row["diagnosis"]) else row["diagnosis"]) == diagnosis


def test_an_own_word_for_the_diagnosis_comes_before_the_path(tmp_path):
    row = read_one(tmp_path, diagnosis="lentigo NOS", diagnosis_1="Benign", diagnosis_3="Nevus")
    assert row["diagnosis"] == "lentigo NOS"


def test_the_path_alone_is_enough_and_stays_in_the_metadata(tmp_path):
    row = read_one(tmp_path, header="isic_id,diagnosis_1", diagnosis_1="Malignant")
    assert row["target"] == 1
    assert pd.read_csv(tmp_path / "raw/metadata.csv")["diagnosis_1"].tolist() == ["Malignant"]


def test_an_unknown_first_name_of_a_path_is_refused(tmp_path):
    folder = write_source(tmp_path, "a,Malignent", header="isic_id,diagnosis_1")
    with pytest.raises(DataError, match="1 rows have an unknown diagnosis_1: a=Malignent"):
        open_source(folder)


@pytest.mark.parametrize(
    ("old_name", "new_name", "column"),
    [
        ("anatom_site_general", "anatom_site_1", "anatom_site"),
        ("attribution_collection", "collections", "source_collection"),
    ],
)
def test_a_newer_column_fills_the_blanks_of_the_older(tmp_path, old_name, new_name, column):
    header = f"isic_id,benign_malignant,{old_name},{new_name}"
    records = read(tmp_path / "1", "a,benign,old,new", "b,benign,,new", header=header)
    assert records[column].tolist() == ["old", "new"]
    records = read(tmp_path / "2", "a,benign,new", header=f"isic_id,benign_malignant,{new_name}")
    assert records[column].tolist() == ["new"]


# ---- rows and files --------------------------------------------------------------------------


def test_rows_without_a_file_are_refused_unless_partial(tmp_path):
    folder = write_source(tmp_path, *(BENIGN.replace("0001,", f"000{number},") for number in range(8)))
    for number in range(7):
        (folder / "images" / f"ISIC_000000{number}.jpg").unlink()
    with pytest.raises(
        DataError, match=r"7 rows have no image file: ISIC_0000000, .*ISIC_0000004 and 2 more"
    ):
        open_source(folder)
    assert open_source(folder, is_partial=True).metadata["image_id"].tolist() == ["ISIC_0000007"]


def test_files_without_a_row_are_refused(tmp_path):
    folder = write_source(tmp_path, BENIGN)
    (folder / "images" / "ISIC_0000008.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="1 image files have no row: ISIC_0000008"):
        open_source(folder)


# ---- the real archive ------------------------------------------------------------------------


@pytest.mark.real_data
def test_the_real_archive_has_450_malignant_images_and_6_without_a_label(real_records):
    records = real_records[real_records["dataset"] == "isic"]
    assert len(records) == 2251
    assert int((records["target"] == 1).sum()) == 450
    assert int(records["target"].isna().sum()) == 6
    assert int(records["mask_path"].notna().sum()) == 2150
    assert set(records["licence"]) == {"CC-0"}
