import zipfile

import pandas as pd
import pytest

from melanoma.data.sources import ph2_table
from melanoma.errors import DataError
from tests.data.ph2_files import HEADER, MELANOMA, NAMES, NEVUS, TABLE, write_text


def parse(*lines: str) -> pd.DataFrame:
    return ph2_table.parse_text("\n".join(lines), source="here.txt")


# ---- the text --------------------------------------------------------------------------------


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


def test_rows_come_in_order_of_their_names_and_colours_in_order_of_their_codes():
    table = parse(MELANOMA.replace("3  4  5  6", "6  3 5 4  3"), NEVUS)
    assert table["image_id"].tolist() == ["IMD901", "IMD903"]
    assert table["colors"].tolist() == ["4", "3 4 5 6"]


def test_windows_newlines_are_read():
    text = TABLE.replace("\n", "\r\n")
    pd.testing.assert_frame_equal(ph2_table.parse_text(text, source="here.txt"), parse(TABLE))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_text_is_read_in_any_usual_encoding(tmp_path, encoding):
    text = TABLE.replace("Atypical Nevus ||", "Névus ||")
    (tmp_path / "PH2_dataset.txt").write_bytes(text.encode(encoding))
    assert ph2_table.read_table(tmp_path)["histological_diagnosis"][1] == "Névus"


def test_codes_may_be_in_small_letters_and_words_for_not_known_are_blank():
    row = parse("|| IMD901 || n/a || 0 || - | at | a | unknown | p | a || 4 ||").iloc[0]
    assert row[["pigment_network", "dots_globules", "regression_areas"]].tolist() == ["AT", "A", "P"]
    assert row[["histological_diagnosis", "asymmetry", "streaks"]].isna().all()


@pytest.mark.parametrize("code", ["3", "-1", "melanoma", "2.0"])
def test_a_diagnosis_outside_the_legend_is_refused_and_its_row_named(code):
    wrong = NEVUS.replace("                  0 ||         0", f" {code} ||         0")
    assert wrong != NEVUS
    with pytest.raises(
        DataError,
        match=(
            rf"here\.txt: 1 cells have a code .*: IMD901 clinical_diagnosis={code}\. Expected "
            rf"blank"
        ),
    ):
        parse(wrong, MELANOMA)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (MELANOMA.replace("|         2 |", "|  3 |").replace("||         2 |", "||  3 |"), "asymmetry=3"),
        (MELANOMA.replace("AT |", "X |"), "pigment_network=X"),
        (MELANOMA.replace("AT |", "A T |"), "pigment_network=A T"),
        (MELANOMA.replace("3  4  5  6", "3  4  7"), "colors=3 4 7"),
        (MELANOMA.replace("3  4  5  6", "3, 4"), "colors=3, 4"),
    ],
)
def test_a_finding_outside_the_legend_is_refused_and_its_row_named(row, message):
    assert row != MELANOMA
    with pytest.raises(
        DataError, match=(f"1 cells have a code that is not in the legend of PH2: IMD903 {message}")
    ):
        parse(NEVUS, row)


def test_blank_codes_are_missing():
    row = parse("|| IMD901 || || || | | | | | || ||").iloc[0]
    assert row["image_id"] == "IMD901"
    assert row.drop("image_id").isna().all()


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
    with pytest.raises(DataError, match=r"1 rows do not have 10 cells: \|\| IMD901"):
        parse(wrong)


def test_a_lesion_with_two_rows_is_refused():
    with pytest.raises(DataError, match=r"here\.txt: these lesions have more than one row: IMD901"):
        parse(NEVUS, MELANOMA, NEVUS)


@pytest.mark.parametrize("text", ["", "<html></html>", HEADER])
def test_a_text_without_rows_is_refused(text):
    with pytest.raises(DataError, match=r"here\.txt has no rows of the form"):
        parse(text)


def test_a_text_far_too_long_is_not_read(tmp_path, monkeypatch):
    write_text(tmp_path)
    size = (tmp_path / "PH2_dataset.txt").stat().st_size
    monkeypatch.setattr(ph2_table, "MAX_TABLE_BYTES", size)
    assert len(ph2_table.read_table(tmp_path)) == 3
    monkeypatch.setattr(ph2_table, "MAX_TABLE_BYTES", size - 1)
    with pytest.raises(DataError, match=r"PH2_dataset\.txt has more than"):
        ph2_table.read_table(tmp_path)


# ---- the workbook ----------------------------------------------------------------------------


def test_a_workbook_without_the_text_is_refused_with_what_to_do(tmp_path):
    assert not ph2_table.has_table(tmp_path)
    (tmp_path / "PH2_dataset.xlsx").write_bytes(b"PK")
    assert ph2_table.has_table(tmp_path)
    with pytest.raises(
        DataError,
        match=(
            r"which is not supported. Use PH2_dataset\.txt of .* or save the "
            r"workbook"
        ),
    ):
        ph2_table.read_table(tmp_path)
    write_text(tmp_path)
    pd.testing.assert_frame_equal(ph2_table.read_table(tmp_path), parse(TABLE))


# ---- words -----------------------------------------------------------------------------------


def test_codes_are_put_in_words_by_the_legend_and_blanks_stay_missing():
    table = parse(NEVUS, MELANOMA, "|| IMD902 || || || | | | | | || ||")
    assert ph2_table.in_words(table, "clinical_diagnosis").fillna("?").tolist() == ["nevus", "?", "melanoma"]
    assert ph2_table.in_words(table, "asymmetry").fillna("?").tolist() == ["symmetric", "?", "asymmetric"]
    assert ph2_table.in_words(table, "pigment_network").fillna("?").tolist() == ["typical", "?", "atypical"]
    assert ph2_table.in_words(table, "streaks").fillna("?").tolist() == ["absent", "?", "absent"]
    assert ph2_table.in_words(table, "colors").fillna("?").tolist() == [
        "dark brown",
        "?",
        "light brown; dark brown; blue-grey; black",
    ]


# ---- the real table --------------------------------------------------------------------------


@pytest.mark.real_data
def test_the_real_table_has_200_rows(real_data, tmp_path):
    with zipfile.ZipFile(real_data / "ph2" / "PH2Dataset_12_of_200.zip") as archive:
        (tmp_path / "PH2_dataset.txt").write_bytes(archive.read("PH2Dataset/PH2_dataset.txt"))
    table = ph2_table.read_table(tmp_path)
    assert len(table) == 200
    assert table.drop(columns="histological_diagnosis").notna().all(axis=None)
    assert table["histological_diagnosis"].notna().sum() == 41
