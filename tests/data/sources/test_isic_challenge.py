"""Three literal rows of the tables of each year."""

import pandas as pd
import pytest

from melanoma.data.sources import isic_challenge, raw_folder, readers
from melanoma.errors import DataError
from tests.data.toys import TARGET_RULE

TRUTH_2018 = """image,MEL,NV,BCC,AKIEC,BKL,DF,VASC
ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0
ISIC_0024310,1.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0024329,0.0,0.0,0.0,1.0,0.0,0.0,0.0
"""
LESIONS_2018 = """image,lesion_id,diagnosis_confirm_type
ISIC_0024306,HAM_0000550,follow-up
ISIC_0024310,HAM_0003301,histopathology
ISIC_0024329,HAM_0002954,histopathology
"""
TRUTH_2019 = """image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
ISIC_0000001,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0
ISIC_0000002,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0000003,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0
"""
METADATA_2019 = """image,age_approx,anatom_site_general,lesion_id,sex
ISIC_0000001,55.0,anterior torso,,female
ISIC_0000002,30.0,upper extremity,BCN_0000001,male
ISIC_0000003,,,,
"""
HEADER_2020 = (
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
)
TABLE_2020 = f"""{HEADER_2020}
ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0
ISIC_0015719,IP_3075186,female,45.0,upper extremity,nevus,benign,0
ISIC_0052212,IP_2842074,female,50.0,lower extremity,melanoma,malignant,1
"""

THREE_OF_2020 = """image_name,patient_id,target
ISIC_2637011,IP_7279968,0
ISIC_0015719,IP_3075186,0
ISIC_0052212,IP_2842074,1
"""


def open_source(folder, truth, metadata=None, *, is_partial=False, images=None):
    folder.mkdir(exist_ok=True)
    (folder / "truth.csv").write_text(truth)
    if metadata is not None:
        (folder / "metadata.csv").write_text(metadata)
    (folder / "images").mkdir(exist_ok=True)
    for row in truth.splitlines()[1:] if images is None else images:
        name = row.split(",")[0]
        (folder / "images" / f"{name}.jpg").write_bytes(name.encode())
    return isic_challenge.open_source(
        folder / "truth.csv",
        folder / "metadata.csv" if metadata is not None else None,
        [folder / "images"],
        is_partial=is_partial,
    )


def read(tmp_path, *sources):
    for number, source in enumerate(sources):
        dataset = open_source(tmp_path / f"source_{number}", *source)
        raw_folder.write_raw(raw_folder.add_to(tmp_path / "raw", dataset), tmp_path / "raw")
    rule = TARGET_RULE | {"malignant_without_diagnosis": "exclude"}
    return readers.read_records(
        "isic_challenge", tmp_path / "raw", licence="CC-BY-NC", attribution="ISIC", **rule
    ).set_index("image_id")


def test_rows_of_2018_become_records(tmp_path):
    records = read(tmp_path, (TRUTH_2018, LESIONS_2018))
    assert records["diagnosis"].tolist() == [
        *("nevus", "melanoma", "actinic keratosis or squamous cell carcinoma"),
    ]
    assert records["target"].tolist() == [0, 1, 0]
    assert records["lesion_id"].tolist() == ["HAM_0000550", "HAM_0003301", "HAM_0002954"]
    assert set(records["source_collection"]) == {"ISIC 2018 challenge"}
    assert records["malignancy"].isna().all()


def test_rows_of_2019_become_records_and_unknown_has_no_target(tmp_path):
    records = read(tmp_path, (TRUTH_2019, METADATA_2019))
    assert records["diagnosis"].fillna("").tolist() == ["squamous cell carcinoma", "melanoma", ""]
    assert records["target"].fillna(-1).tolist() == [0, 1, -1]
    assert records["age_years"].fillna(-1).tolist() == [55, 30, -1]
    assert records["sex"].fillna("").tolist() == ["female", "male", ""]
    assert records.loc["ISIC_0000002", "lesion_id"] == "BCN_0000001"


def test_rows_of_2020_become_records_and_unknown_but_benign_is_negative(tmp_path):
    records = read(tmp_path, (TABLE_2020,))
    row = records.loc["ISIC_0052212"]
    assert row[["diagnosis", "target", "malignancy", "patient_id", "age_years", "anatom_site"]].tolist() == [
        *("melanoma", 1, "malignant", "IP_2842074", 50.0, "lower extremity"),
    ]
    assert pd.isna(records.loc["ISIC_2637011", "diagnosis"])
    assert records.loc["ISIC_2637011", "target"] == 0


def test_name_patient_and_target_are_enough_of_2020(tmp_path):
    records = read(tmp_path, (THREE_OF_2020,))
    benign = records.loc[["ISIC_2637011", "ISIC_0015719"]]
    assert benign["malignancy"].tolist() == ["benign", "benign"]
    assert benign["patient_id"].tolist() == ["IP_7279968", "IP_3075186"]
    assert benign["target"].tolist() == [0, 0]
    assert records.loc["ISIC_0052212", "malignancy"] == "malignant"
    assert pd.isna(records.loc["ISIC_0052212", "target"])  # it does not say which kind


def test_years_can_be_added_to_each_other(tmp_path):
    records = read(tmp_path, (TRUTH_2018, LESIONS_2018), (TRUTH_2019, METADATA_2019), (TABLE_2020,))
    assert records["source_collection"].value_counts().to_dict() == {
        "ISIC 2018 challenge": 3, "ISIC 2019 challenge": 3, "ISIC 2020 challenge": 3,
    }  # fmt: skip
    assert records["target"].sum() == 3
    assert records["malignancy"].notna().sum() == 3


def test_the_ground_truth_alone_is_enough(tmp_path):
    assert read(tmp_path, (TRUTH_2019,))["age_years"].isna().all()


MELANOMA_2019 = "ISIC_0000002,1.0,0.0,"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("ISIC_0000002,1.0,1.0,", r"1 rows have several positive columns \(row 3: ISIC_0000002\)"),
        ("ISIC_0000002,0.0,0.0,", r"1 rows have no positive column \(row 3: ISIC_0000002\)"),
        ("ISIC_0000002,2.0,0.0,", r"1 rows have a cell other than 0 and 1 \(row 3: ISIC_0000002\)"),
        ("ISIC_0000002,,1.0,", r"1 rows have a cell other than 0 and 1"),
    ],
)
def test_each_image_has_exactly_one_positive_column(tmp_path, row, complaint):
    open_source(tmp_path / "legal", TRUTH_2019)
    with pytest.raises(DataError, match=complaint):
        open_source(tmp_path / "source", TRUTH_2019.replace(MELANOMA_2019, row))


def test_an_image_that_is_missing_is_named_or_left_out(tmp_path):
    with pytest.raises(DataError, match="1 rows have no image file: ISIC_0000003"):
        open_source(tmp_path, TRUTH_2019, images=["ISIC_0000001", "ISIC_0000002"])
    assert len(open_source(tmp_path, TRUTH_2019, images=[], is_partial=True).metadata) == 2


def test_images_of_other_parts_are_counted(tmp_path):
    names = [*(f"ISIC_000000{number}" for number in (1, 2, 3)), "ISIC_9999999"]
    dataset = open_source(tmp_path, TRUTH_2019, METADATA_2019, images=names)
    assert dataset.remarks == "unused: 1 images without a row (ISIC_9999999.jpg)"


def test_the_two_tables_must_have_the_same_images(tmp_path):
    less, more = METADATA_2019.rsplit("ISIC", 1)[0], f"{METADATA_2019}ISIC_0000004,,,,\n"
    with pytest.raises(DataError, match=r"metadata\.csv has 1 images that are not in .*: ISIC_0000004"):
        open_source(tmp_path, TRUTH_2019, more)
    with pytest.raises(DataError, match=r"truth\.csv has 1 images that are not in .*: ISIC_0000003"):
        open_source(tmp_path, TRUTH_2019, less)
    with pytest.raises(DataError, match=r"images must be unique; .*: ISIC_0000002"):
        open_source(tmp_path, TRUTH_2019, METADATA_2019.replace("0003", "0002"))


@pytest.mark.parametrize(
    ("truth", "metadata", "complaint"),
    [
        (TRUTH_2019.replace("UNK", "BOWEN"), None, r"truth\.csv has 1 unknown columns: BOWEN"),
        (TRUTH_2019, METADATA_2019.replace("sex", "gender"), r"metadata\.csv has 1 unknown columns: gender"),
        (TABLE_2020.replace("target", "label"), None, r"truth\.csv has 1 unknown columns: label"),
        (TRUTH_2019.replace("image", "image_name"), None, r"lacks the columns \['target'\]"),
        ("image,lesion_id\na,b\n", None, "lacks the columns of an ISIC challenge"),
        (TABLE_2020, METADATA_2019, "is a table of 2020, which has no second one"),
        (TABLE_2020.replace("melanoma,malignant,1", "melanoma,malignant,0"), None, "row 4: ISIC_0052212"),
        (
            THREE_OF_2020.replace("IP_2842074,1", "IP_2842074,2"),
            None,
            r"target is neither .* row 4: ISIC_0052212",
        ),
        (THREE_OF_2020.replace("IP_2842074,1", "IP_2842074,"), None, "row 4: ISIC_0052212"),
        (TABLE_2020.replace("50.0", "old"), None, r"age_approx 'old' \(row 4, ISIC_0052212\)"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, truth, metadata, complaint):
    with pytest.raises(DataError, match=complaint):
        open_source(tmp_path, truth, metadata)


def test_a_cell_of_the_second_table_is_named_with_its_own_row(tmp_path):
    lines = METADATA_2019.splitlines()
    other_order = "\n".join([lines[0], lines[3], lines[2], lines[1].replace("55.0", "old")]) + "\n"
    with pytest.raises(DataError, match=r"metadata\.csv: 1 cells .*age_approx 'old' \(row 4, ISIC_0000001\)"):
        open_source(tmp_path, TRUTH_2019, other_order)
    dataset = open_source(tmp_path, TRUTH_2019, other_order.replace("old", "55"))
    assert dataset.metadata["age_approx"].fillna("").tolist() == ["55", "30.0", ""]
    assert "row" not in " ".join(dataset.metadata.columns)


def test_a_blank_word_beside_the_target_of_2020_contradicts_nothing(tmp_path):
    blank = TABLE_2020.replace("benign,0", ",0")
    assert sorted(read(tmp_path, (blank,))["malignancy"]) == ["benign", "benign", "malignant"]
    with pytest.raises(DataError, match="in 1 rows target and benign_malignant contradict each other"):
        open_source(tmp_path / "other", TABLE_2020.replace("malignant,1", "benign,1"))
