import re
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data.sources import isic, raw_folder, readers
from melanoma.errors import DataError
from tests.data.toys import TARGET_RULE

HEADER = (
    "isic_id,attribution_collection,copyright_license,benign_malignant,diagnosis,age_approx,sex,"
    "anatom_site_general,lesion_id,patient_id"
)
BENIGN = "ISIC_0000001,UDA-1,CC-0,benign,nevus,30.0,female,anterior torso,IL_1,IP_1"
MALIGNANT = "ISIC_0000002,UDA-1,CC-BY,malignant,melanoma,85,male,head/neck,,"
BLANK = "ISIC_0000003,UDA-1,CC-0,,,,,,,"
UNCLEAR = "ISIC_0000004,UDA-1,CC-0,indeterminate,,45.0,,,,"


def write_source(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """Metadata with one image a row; of several, masks for all but the last and for one image more."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    names = [row.split(",")[0].strip() for row in rows]
    for name in names:
        (folder / "images" / f"{name}.jpg").write_bytes(name.encode())
    for name in [*names[:-1], "ISIC_9999999"] if len(names) > 1 else []:
        (folder / "masks" / f"{name}_segmentation.png").write_bytes(name.encode())
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def open_source(folder: Path, *, is_partial: bool = False) -> raw_folder.RawDataset:
    return isic.open_source(
        folder / "metadata.csv", folder / "images", folder / "masks", is_partial=is_partial
    )


def read(tmp_path: Path, *rows: str, header: str = HEADER) -> pd.DataFrame:
    """Records of `rows`, the whole way from the archive's files."""
    raw_folder.write_raw(
        open_source(write_source(tmp_path / "source", *rows, header=header)), tmp_path / "raw"
    )
    return readers.read_records(
        "isic", tmp_path / "raw", licence=None, attribution="ISIC Archive", **TARGET_RULE
    )


# ---- rows ------------------------------------------------------------------------------------


def test_a_row_of_the_archive_becomes_a_record(tmp_path):
    row = read(tmp_path, BENIGN, MALIGNANT).iloc[0]
    folder = (tmp_path / "raw").as_posix()
    assert row.dropna().to_dict() == {
        "image_id": "ISIC_0000001",
        "dataset": "isic",
        "diagnosis": "nevus",
        "malignancy": "benign",
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


@pytest.mark.parametrize("label", ["0", "malignant?", "melanoma"])
def test_an_unknown_label_is_refused_and_its_row_named(tmp_path, label):
    folder = write_source(tmp_path, BENIGN, BLANK.replace("CC-0,", f"CC-0,{label}"))
    with pytest.raises(
        DataError,
        match=rf"1 cells cannot be read: benign_malignant '{re.escape(label)}' \(row 3, ISIC_0000003\)\. "
        "Expected benign_malignant: malignant, benign, indeterminate",
    ):
        open_source(folder)


# ---- words of the source ---------------------------------------------------------------------

WORDS_HEADER = "isic_id,benign_malignant,age_approx,sex,patient_id,fitzpatrick_skin_type,copyright_license"


def test_words_that_mean_not_known_are_blank_in_every_column(tmp_path):
    row = read(tmp_path, "a,unknown,Unknown,n/a,NA,-,not stated", header=WORDS_HEADER).iloc[0]
    assert row[["target", "age_years", "sex", "patient_id", "skin_type", "licence"]].isna().all()


def test_a_skin_type_may_be_written_as_pandas_writes_whole_numbers(tmp_path):
    assert read(tmp_path, "a,benign,,,,2.0,", header=WORDS_HEADER)["skin_type"].tolist() == ["II"]


def test_words_become_those_of_the_schema(tmp_path):
    row = read(tmp_path, " a , Malignant,85+, Female ,p 1 ,3,cc-by", header=WORDS_HEADER).iloc[0]
    assert row[["image_id", "target", "age_years", "sex", "patient_id", "skin_type", "licence"]].tolist() == [
        *("a", 1, 85.0, "female", "p 1", "III", "CC-BY"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_what_is_written_is_utf8_with_commas_and_says_the_same(tmp_path, encoding, separator):
    header = WORDS_HEADER.replace("patient_id", "attribution").upper()
    folder = write_source(tmp_path / "source", "a,benign,55§0,F,Clínica,I,CC-0", header=header)
    text = (folder / "metadata.csv").read_text(encoding="utf-8").replace(",", separator).replace("§", ",")
    (folder / "metadata.csv").write_bytes(text.encode(encoding))
    dataset = open_source(folder)
    assert ("read as Windows-1252" in dataset.remarks) == (encoding == "cp1252")
    raw_folder.write_raw(dataset, tmp_path / "raw")
    written = pd.read_csv(tmp_path / "raw" / "metadata.csv")
    assert written[["attribution", "age_approx"]].to_numpy().tolist() == [["Clínica", "55,0"]]
    records = readers.read_records("isic", tmp_path / "raw", licence=None, attribution=None, **TARGET_RULE)
    row = records.iloc[0]
    assert row[["age_years", "sex", "attribution"]].tolist() == [55.0, "female", "Clínica"]


UNREADABLE = {"age_approx": "old", "sex": "robot", "fitzpatrick_skin_type": "VII"}


@pytest.mark.parametrize("column", UNREADABLE)
def test_a_cell_that_cannot_be_read_is_named_when_the_source_is_opened(tmp_path, column):
    cells = {"isic_id": "b", "benign_malignant": "benign", column: UNREADABLE[column]}
    row = ",".join(cells.get(name, "") for name in WORDS_HEADER.split(","))
    folder = write_source(tmp_path, "a,benign,,,,,", row, header=WORDS_HEADER)
    with pytest.raises(
        DataError, match=rf"1 cells cannot be read: {column} '{UNREADABLE[column]}' \(row 3, b\)"
    ):
        open_source(folder)


def test_a_cell_of_a_row_that_is_left_out_does_not_count(tmp_path):
    folder = write_source(tmp_path, "a,benign,,,,,", "b,benign,old,,,,", header=WORDS_HEADER)
    (folder / "images" / "b.jpg").unlink()
    assert open_source(folder, is_partial=True).metadata["image_id"].tolist() == ["a"]


def test_a_raw_folder_of_an_earlier_version_is_translated_or_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    table = "image_id,benign_malignant,age_approx,sex,image_file,mask_file\na,benign,{},Unknown,a.jpg,\n"
    (tmp_path / "metadata.csv").write_text(table.format("unknown"))
    row = readers.read_records("isic", tmp_path, licence=None, attribution=None, **TARGET_RULE).iloc[0]
    assert row[["age_years", "sex"]].isna().all()
    (tmp_path / "metadata.csv").write_text(table.format("old"))
    with pytest.raises(
        DataError, match=r"metadata\.csv: 1 cells cannot be read: age_approx 'old' \(row 2, a\)"
    ):
        readers.read_records("isic", tmp_path, licence=None, attribution=None, **TARGET_RULE)


def test_an_image_may_be_called_na(tmp_path):
    assert read(tmp_path, "NA,benign", header="isic_id,benign_malignant")["image_id"].tolist() == ["NA"]


# ---- image types -----------------------------------------------------------------------------


def test_the_type_of_an_image_is_kept_and_blank_where_it_is_not_stated(tmp_path):
    header = "isic_id,benign_malignant,image_type"
    rows = ["a,benign,clinical: close-up", "b,benign, Dermoscopy ", "c,benign,unknown"]
    dataset = open_source(write_source(tmp_path / "source", *rows, header=header))
    assert (
        "1 not dermoscopic, which `validate` will quarantine; image type not stated for 1" in dataset.remarks
    )
    raw_folder.write_raw(dataset, tmp_path / "raw")
    records = readers.read_records("isic", tmp_path / "raw", licence=None, attribution=None, **TARGET_RULE)
    assert records["image_type"].fillna("blank").tolist() == ["clinical: close-up", "dermoscopic", "blank"]


def test_dermoscopic_images_are_not_remarked_upon(tmp_path):
    header = "isic_id,benign_malignant,image_type"
    assert open_source(write_source(tmp_path, "a,benign,dermoscopic", header=header)).remarks == ""


# ---- what is not used ------------------------------------------------------------------------


def test_what_is_not_used_is_counted_and_named(tmp_path):
    header = "isic_id,image_id,benign_malignant,image_type,age"
    rows = [f"{name},x,benign,dermoscopic,55" for name in "abc"]
    folder = write_source(tmp_path, *rows, header=header)
    (folder / "images" / "c.jpg").rename(folder / "images" / "c.tif")
    (folder / "images" / "deeper").mkdir()
    (folder / "images" / "deeper" / "d.jpg").write_bytes(b"d")
    assert open_source(folder, is_partial=True).remarks == (
        "unused: 1 rows without an image (c), 1 masks (ISIC_9999999_segmentation.png), "
        "2 other files (c.tif, deeper/d.jpg), 1 columns replaced by ours (image_id), "
        "1 columns that look like known ones (age (age_approx?))"
    )
    with pytest.raises(DataError, match=r"1 rows have no image file: c\..* ignored: c\.tif, deeper/d\.jpg\."):
        open_source(folder)


def test_a_source_of_which_all_is_used_is_not_remarked_upon(tmp_path):
    folder = write_source(tmp_path, "a,benign,dermoscopic", header="isic_id,benign_malignant,image_type")
    (folder / "masks" / "a.png").write_bytes(b"mask")
    dataset = open_source(folder)
    assert dataset.remarks == ""
    assert dataset.masks == {"a.png": folder / "masks" / "a.png"}


@pytest.mark.parametrize(
    ("folder_name", "message"),
    [("masks", "none is named as the mask of an image"), ("images", "given for images and for masks")],
)
def test_masks_that_cannot_be_meant_are_refused(tmp_path, folder_name, message):
    folder = write_source(tmp_path, BENIGN)
    (folder / "masks" / "ISIC_9999999.png").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        isic.open_source(folder / "metadata.csv", folder / "images", folder / folder_name, is_partial=False)


def test_a_missing_column_is_named_with_one_that_looks_like_it(tmp_path):
    folder = write_source(tmp_path, "a,benign", header="image_name,benign_malignant")
    with pytest.raises(
        DataError, match=r"lacks the columns \['isic_id'\]; .* Rename .*: image_name \(isic_id\?\)"
    ):
        open_source(folder)


# ---- rows and their masks --------------------------------------------------------------------


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
    ("old", "malignancy", "target"),
    [("indeterminate/benign", "indeterminate", 0), ("benign", "unclear", None)],
)
def test_labels_that_say_the_same_in_other_words_do_not_contradict(tmp_path, old, malignancy, target):
    row = read_one(tmp_path, benign_malignant=old, diagnosis="actinic keratosis", diagnosis_1="Indeterminate")
    assert row["malignancy"] == malignancy
    assert (None if pd.isna(row["target"]) else row["target"]) == target


def test_a_column_like_ours_is_replaced_however_it_is_written(tmp_path):
    folder = write_source(tmp_path / "source", "a,X,benign", header="isic_id,Image ID,benign_malignant")
    dataset = open_source(folder)
    assert "1 columns replaced by ours (Image ID)" in dataset.remarks
    raw_folder.write_raw(dataset, tmp_path / "raw")
    assert isic.read_records(tmp_path / "raw")["image_id"].tolist() == ["a"]


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
            "basal cell carcinoma",
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
    assert row["diagnosis"] == "lentigo nos"


def test_the_path_alone_is_enough_and_stays_in_the_metadata(tmp_path):
    row = read_one(tmp_path, header="isic_id,diagnosis_1", diagnosis_1="Malignant")
    assert row["target"] == 1
    assert pd.read_csv(tmp_path / "raw/metadata.csv")["diagnosis_1"].tolist() == ["Malignant"]


def test_an_unknown_first_name_of_a_path_is_refused(tmp_path):
    folder = write_source(tmp_path, "a,Malignent", header="isic_id,diagnosis_1")
    with pytest.raises(DataError, match=r"1 cells cannot be read: diagnosis_1 'Malignent' \(row 2, a\)"):
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
def test_the_real_archive_has_449_melanomas_and_6_images_without_a_label(real_records):
    records = real_records[real_records["dataset"] == "isic"]
    assert len(records) == 2251
    assert int((records["target"] == 1).sum()) == 449
    assert int((records["malignancy"] == "malignant").sum()) == 450
    assert int(records["target"].isna().sum()) == 6
    assert int(records["mask_path"].notna().sum()) == 2150
    assert set(records["licence"]) == {"CC-0"}
