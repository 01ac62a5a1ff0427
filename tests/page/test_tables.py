import pytest

from melanoma.errors import DataError
from melanoma.page import tables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.895 (0.749 to 0.993)", 0.895),
        ("-0.033 (-0.057 to -0.008)", -0.033),
        ("+0.100", 0.1),
        ("1,345", 1345.0),
        ("45 %", 45.0),
        ("45%", 45.0),
        ("0.91 ± 0.02", 0.91),
        ("0.91 [0.9, 0.92]", 0.91),
        ("1e-05", 1e-5),
        ("−0.5", -0.5),
    ],
)
def test_a_number_is_sorted_by_its_value_also_with_an_interval(text, value):
    assert tables.number_in(text) == value


@pytest.mark.parametrize("text", ["30 epochs", "2026-05-17", "ISIC_0000001", "paper", "", "3 of 5", "(0.5)"])
def test_what_is_no_number_has_no_value(text):
    assert tables.number_in(text) is None


def test_a_column_of_numbers_and_blanks_is_numeric_and_one_with_a_word_is_not():
    made = tables.make("t", ["a", "b", "c"], [["1", "1", "-"], ["undefined", "two", ""]])
    assert [column.is_numeric for column in made.columns] == [True, False, False]
    assert [[cell.value for cell in row] for row in made.rows] == [[1.0, None, None], [None, None, None]]


def test_a_row_of_another_length_is_refused_with_its_number():
    with pytest.raises(DataError, match=r"t: the header has 2 cells, but rows \[2\] have more or fewer"):
        tables.make("t", ["a", "b"], [["1", "2"], ["1"]])


def test_a_csv_is_shown_as_it_stands_without_the_digits_that_nobody_reads(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('source,accuracy\n"paper, Table II",0.8887\nours,0.71234567891\n', encoding="utf-8")
    made = tables.read_csv(path, "Table II")
    assert made.caption == "Table II"
    assert [[cell.text for cell in row] for row in made.rows] == [
        ["paper, Table II", "0.8887"],
        ["ours", "0.7123"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"a,b\n1\n", r"has 2 cells, but rows \[1\]"), (b"a\n\xff\n", "not CSV in UTF-8")],
)
def test_a_csv_that_is_none_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv.*{message}"):
        tables.read_csv(path, "t")
