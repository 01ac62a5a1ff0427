import zipfile
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data.sources import ph2_table
from melanoma.errors import DataError
from tests.data.ph2_files import (
    HEADER,
    MELANOMA,
    NAMES,
    NEVUS,
    SHEET_HEADER,
    SHEET_ROWS,
    TABLE,
    write_text,
    write_workbook,
)


def parse(*lines: str) -> pd.DataFrame:
    return ph2_table.parse_text("\n".join(lines), source="here.txt")


def changed(row: int, header: str, value: object) -> list[list[object]]:
    """The rows of the workbook with one cell changed."""
    rows = [list(cells) for cells in SHEET_ROWS]
    rows[row][[name.split("\n")[0] for name in SHEET_HEADER].index(header)] = value
    return rows


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
        DataError, match=rf"here\.txt: 1 cells have a code .*: IMD901 clinical_diagnosis={code}\. Known are"
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
    with pytest.raises(DataError, match=f"1 cells have a code outside PH2's legend: IMD903 {message}"):
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


def test_the_workbook_gives_the_rows_of_the_text(tmp_path):
    pd.testing.assert_frame_equal(ph2_table.read_workbook(write_workbook(tmp_path)), parse(TABLE))


def test_blank_marks_and_cells_are_missing(tmp_path):
    rows: list[list[object]] = [["IMD901", *[None] * 16], [None] * 17]
    row = ph2_table.read_workbook(write_workbook(tmp_path, rows)).iloc[0]
    assert row["image_id"] == "IMD901"
    assert row.drop("image_id").isna().all()


def test_marks_may_be_small_letters(tmp_path):
    table = ph2_table.read_workbook(write_workbook(tmp_path, changed(0, "Common Nevus", "x")))
    pd.testing.assert_frame_equal(table, parse(TABLE))


@pytest.mark.parametrize("number", [2, 2.0, "2", " 2 "])
def test_codes_may_be_numbers_or_words(tmp_path, number):
    table = ph2_table.read_workbook(write_workbook(tmp_path, changed(0, "Asymmetry", number)))
    assert table["asymmetry"].tolist() == ["2", "1", "2"]


@pytest.mark.parametrize(
    ("row", "header", "value"),
    [(0, "Melanoma", "X"), (1, "White", "yes"), (2, "Melanoma", "x?"), (0, "Image Name", None)],
)
def test_marks_that_do_not_say_one_thing_are_refused(tmp_path, row, header, value):
    path = write_workbook(tmp_path, changed(row, header, value))
    with pytest.raises(DataError, match="1 rows have other marks than blank or X, more than one diagnosis"):
        ph2_table.read_workbook(path)


@pytest.mark.parametrize(("header", "value"), [("Asymmetry", 1.5), ("Streaks", "Q"), ("Asymmetry", True)])
def test_codes_of_the_workbook_outside_the_legend_are_refused(tmp_path, header, value):
    path = write_workbook(tmp_path, changed(1, header, value))
    with pytest.raises(DataError, match=rf"1 cells have a code .*: IMD902 {header.lower()}={value}"):
        ph2_table.read_workbook(path)


def test_a_workbook_without_the_table_is_refused(tmp_path):
    path = write_workbook(tmp_path, [])
    with pytest.raises(DataError, match=r"has no rows under the headers \['image name', "):
        ph2_table.read_workbook(path)


@pytest.mark.parametrize("content", [b"", b"404 Not Found", bytes(1000)])
def test_what_is_no_zip_is_no_workbook(tmp_path, content):
    (tmp_path / "bad.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="is no readable zip"):
        ph2_table.read_workbook(tmp_path / "bad.xlsx")


def with_member(path: Path, name: str, content: bytes) -> Path:
    """The workbook with one of its members replaced or added."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, packed in (members | {name: content}).items():
            archive.writestr(member, packed)
    return path


# An XML file whose one entity would unfold to a billion letters.
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha ha ha ha">'
    + "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(8))
    + "]><worksheet>&a8;</worksheet>"
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("xl/media/zeros.bin", bytes(17 * 2**20), "would unpack to .* bytes; allowed are"),
        ("../evil.xml", b"", r"evil\.xml \(leads out of the folder\)"),
        ("xl/worksheets/sheet1.xml", b"<worksheet", "is no readable workbook"),
        ("xl/workbook.xml", b"<a/>", "has no rows under the headers"),
        ("[Content_Types].xml", b"", "is no readable workbook"),
        ("xl/worksheets/sheet1.xml", LAUGHS.encode(), "is no readable workbook .*amplification"),
    ],
    ids=["a bomb", "a traversal", "cut off", "other xml", "blank", "entities that unfold"],
)
def test_a_hostile_or_broken_workbook_is_refused(tmp_path, name, content, message):
    path = with_member(write_workbook(tmp_path), name, content)
    with pytest.raises(DataError, match=message):
        ph2_table.read_workbook(path)


def test_a_workbook_that_claims_endless_rows_ends(tmp_path):
    path = write_workbook(tmp_path)
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    last = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>IMD999</t></is></c></row></sheetData>'
    with_member(path, "xl/worksheets/sheet1.xml", sheet.replace("</sheetData>", last).encode())
    pd.testing.assert_frame_equal(ph2_table.read_workbook(path), parse(TABLE))


# ---- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize("writers", [(write_text,), (write_workbook,), (write_text, write_workbook)])
def test_either_table_is_enough_and_gives_the_same(tmp_path, writers):
    assert not ph2_table.has_table(tmp_path)
    for write in writers:
        write(tmp_path)
    assert ph2_table.has_table(tmp_path)
    pd.testing.assert_frame_equal(ph2_table.read_table(tmp_path), parse(TABLE))


def test_tables_that_differ_are_refused_and_the_first_five_cells_named(tmp_path):
    write_text(tmp_path)
    rows = changed(1, "Asymmetry", 2)
    rows[0][6:11] = ["AT", "AT", "P", "P", "P"]
    write_workbook(tmp_path, rows)
    with pytest.raises(
        DataError,
        match=r"txt and PH2_dataset\.xlsx differ in 6 cells: IMD901 pigment_network \('T' and 'AT'\), .*"
        r"IMD901 blue_whitish_veil \('A' and 'P'\) and 1 more\. Remove",
    ):
        ph2_table.read_table(tmp_path)


def test_a_cell_that_is_blank_in_one_table_only_differs(tmp_path):
    write_text(tmp_path)
    write_workbook(tmp_path, changed(1, "Histological Diagnosis", None))
    with pytest.raises(
        DataError, match=r"1 cells: IMD902 histological_diagnosis \('Atypical Nevus' and ''\)"
    ):
        ph2_table.read_table(tmp_path)


def test_tables_of_different_lesions_are_refused(tmp_path):
    write_text(tmp_path)
    write_workbook(tmp_path, changed(1, "Image Name", "IMD904"))
    with pytest.raises(DataError, match=r"2 lesions are in one of .* only: IMD902, IMD904\. Remove"):
        ph2_table.read_table(tmp_path)


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
def test_the_real_text_and_workbook_agree_in_all_200_rows(real_data, tmp_path):
    with zipfile.ZipFile(real_data / "ph2" / "PH2Dataset_12_of_200.zip") as archive:
        for name in ("PH2_dataset.txt", "PH2_dataset.xlsx"):
            (tmp_path / name).write_bytes(archive.read(f"PH2Dataset/{name}"))
    both = ph2_table.read_table(tmp_path)
    (tmp_path / "PH2_dataset.txt").unlink()
    pd.testing.assert_frame_equal(ph2_table.read_table(tmp_path), both)
    assert len(both) == 200
    assert both.drop(columns="histological_diagnosis").notna().all(axis=None)
    assert both["histological_diagnosis"].notna().sum() == 41
