from pathlib import Path

import pandas as pd
import pytest

from melanoma.data.sources.source_tables import read_table, similar_columns
from melanoma.errors import DataError

KNOWN = ("isic_id", "age_approx", "sex")
TEXT = "isic_id,age_approx,sex\nISIC_1,55.0,male\nISIC_2,30.0,female\n"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "metadata.csv"


def read(path: Path, content: str | bytes) -> pd.DataFrame:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, KNOWN).rows


def cells(table: pd.DataFrame) -> list[list[str | None]]:
    return [[None if pd.isna(cell) else cell for cell in row] for row in table.to_numpy().tolist()]


# ---- encodings and shapes --------------------------------------------------------------------

WORDS = "isic_id,attribution\nISIC_1,Clínica de prueba\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_a_table_is_read_in_any_usual_encoding(path, encoding):
    table = read(path, WORDS.encode(encoding))
    assert table.columns.tolist() == ["isic_id", "attribution"]
    assert cells(table) == [["ISIC_1", "Clínica de prueba"]]


def test_a_guessed_encoding_is_told_and_a_sure_one_is_not(path):
    for encoding, remark in (("cp1252", "read as Windows-1252, because it is not UTF-8"), ("utf-16", "")):
        path.write_bytes(WORDS.encode(encoding))
        assert read_table(path, KNOWN).remark == remark


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_table_is_read_with_any_usual_separator_and_line_end(path, separator, newline):
    table = read(path, TEXT.replace(",", separator).replace("\n", newline))
    assert table.columns.tolist() == list(KNOWN)
    assert cells(table) == [["ISIC_1", "55.0", "male"], ["ISIC_2", "30.0", "female"]]


def test_a_line_that_names_the_separator_counts_as_excel_means_it(path):
    table = read(path, "sep=;\r\n" + TEXT.replace(",", ";"))
    assert cells(table)[0] == ["ISIC_1", "55.0", "male"]
    assert table.index.tolist() == [3, 4]


def test_the_header_decides_on_the_separator_and_not_the_cells(path):
    table = read(path, 'isic_id,age_approx,sex\nISIC_1,"55;56;57","a;b;c"\n')
    assert cells(table) == [["ISIC_1", "55;56;57", "a;b;c"]]
    table = read(path, "isic_id;age_approx;sex\nISIC_1;55,0;a,b,c\n")
    assert cells(table) == [["ISIC_1", "55,0", "a,b,c"]]


def test_spaces_and_marks_around_headers_and_cells_do_not_count(path):
    table = read(path, ' ISIC_ID , Age-Approx,"Sex "\n ISIC_1 ,\u00a055 , \u200bmale\n')
    assert table.columns.tolist() == list(KNOWN)
    assert cells(table) == [["ISIC_1", "55", "male"]]


def test_quoted_cells_keep_separators_and_newlines(path):
    table = read(path, 'isic_id,age_approx,sex\n"ISIC_1","a, b","one\r\ntwo ""three"""\n')
    assert cells(table) == [["ISIC_1", "a, b", 'one\r\ntwo "three"']]


def test_only_blank_cells_are_missing(path):
    table = read(path, "isic_id,age_approx,sex\nNA,nan,  \nNone,,null\n")
    assert cells(table) == [["NA", "nan", None], ["None", None, "null"]]


def test_rows_have_their_numbers_and_blank_rows_are_no_rows(path):
    table = read(path, "\nisic_id,age_approx,sex\na,1,f\n\n,,\nb,2,m\n")
    assert dict(zip(table.index, table["isic_id"], strict=True)) == {3: "a", 6: "b"}


def test_a_header_without_rows_is_a_table(path):
    assert read(path, "isic_id,sex\n").empty


def test_blank_columns_at_the_end_are_left_out_and_an_index_without_a_name_stays(path):
    table = read(path, ",isic_id,sex,,\n0,a,f,,\n")
    assert table.columns.tolist() == ["column 1", "isic_id", "sex"]
    assert cells(table) == [["0", "a", "f"]]


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"isic_id,sex\na,\x81\n", "it is not text in UTF-8, UTF-16 or Windows-1252"),
        ("isic_id,ä\na,".encode() + b"\xe4\n", "it mixes UTF-8 with another encoding"),
        (b"PK\x03\x04\x14\x00\x00\x00", "it is not text"),
        (bytes(100), "it is not text"),
    ],
)
def test_what_is_no_table_is_refused(path, content, message):
    with pytest.raises(DataError, match=rf"metadata\.csv cannot be read as CSV: {message}"):
        read(path, content)


@pytest.mark.parametrize("row", ["a,1", "a,1,f,more", "a,55,0,f", "a"])
def test_rows_of_another_length_than_the_header_are_refused_and_named(path, row):
    with pytest.raises(DataError, match=r"1 rows do not have 3 cells .*: row 3 \(\d cells\)\. Put cells"):
        read(path, f"isic_id,age_approx,sex\nb,2,m\n{row}\n")
    assert len(read(path, "isic_id,age_approx,sex\nb,2,m\na,1,\nc,,f,,\n")) == 3


def test_two_columns_of_one_name_are_refused_whatever_their_case(path):
    with pytest.raises(DataError, match=r"several columns with the same name: sex\. Keep one"):
        read(path, "isic_id,Sex,sex\na,f,m\n")


@pytest.mark.parametrize("rows", ['b,2,"m\nc,3,f', 'b,2,"m\nc,3,"f', '"b,2,m\nc,3,f'])
def test_a_quotation_mark_that_is_not_closed_is_refused_and_swallows_no_row(path, rows):
    head = "isic_id,age_approx,sex\na,1,f\n"
    with pytest.raises(DataError, match=r"metadata\.csv, row 3: a cell that starts with a quotation mark"):
        read(path, f"{head}{rows}\nd,4,m\n")


@pytest.mark.parametrize(
    ("row", "age"),
    [
        ('b,"2 ""x""",m', '2 "x"'),
        ('b,5" long,m', '5" long'),  # no mark at the start
        ('"b" , "2" ,"m" ', "2"),
        ('b,"2" kg,m', "2 kg"),
        ('b,2,"m', "2"),  # the last row has no other to swallow
    ],
)
def test_other_quotation_marks_are_read_as_people_mean_them(path, row, age):
    table = read(path, f"isic_id,age_approx,sex\na,1,f\n{row}\n")
    assert cells(table) == [["a", "1", "f"], ["b", age, "m"]]


def test_a_cell_that_is_too_long_is_refused(path):
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read as CSV: field larger than"):
        read(path, f"isic_id,age_approx,sex\na,{'1' * 140_000},f\n")


def test_letters_are_composed_however_the_system_writes_them(path):
    assert cells(read(path, "isic_id,age_approx,sex\nMu\u0308ller,1,f\n")) == [["M\u00fcller", "1", "f"]]


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"missing\.csv does not exist; expected a table.*Check the path"):
        read_table(tmp_path / "missing.csv", KNOWN)
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_table(tmp_path, KNOWN)


# ---- similar columns -------------------------------------------------------------------------

SYNONYMS = {"age": "age_approx", "gender": "sex"}


@pytest.mark.parametrize(
    ("header", "similar"),
    [
        ("isic_id,age,sex", ["age (age_approx?)"]),
        ("isic_id,Age,Gender", ["Age (age_approx?)", "Gender (sex?)"]),
        ("isic_id,age_aprox,sex", ["age_aprox (age_approx?)"]),
        ("isic_id,age_approx,age,sex", []),
        ("isic_id,age_approx,sex,diagnosis_confirm_type,pixels_x,mel_type", []),
    ],
)
def test_columns_that_look_like_a_known_one_that_says_nothing_are_named(path, header, similar):
    table = read(path, f"{header}\n" + ",".join("x" for _ in header.split(",")))
    assert list(similar_columns(table, KNOWN, SYNONYMS)) == similar


def test_a_known_column_that_is_blank_says_nothing(path):
    table = read(path, "isic_id,age_approx,age,sex\na,,55,f\n")
    assert list(similar_columns(table, KNOWN, SYNONYMS)) == ["age (age_approx?)"]
