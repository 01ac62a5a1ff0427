import pytest

from melanoma.errors import DataError
from melanoma.page import markup
from tests.page.toys import WIDTH, draw_picture


@pytest.fixture
def read(tmp_path):
    """The document of a text, from a folder that holds `in/a.png` beside it."""
    draw_picture(tmp_path / "reports" / "in" / "a.png")
    draw_picture(tmp_path / "secret.png")

    def read_text(text: str, **options) -> markup.Document:
        path = tmp_path / "reports" / "a.md"
        path.write_text(text, encoding="utf-8")
        return markup.read(path, top_level=3, max_width=WIDTH, **options)

    return read_text


def html(document: markup.Document) -> str:
    return "".join([document.lead, *(piece.html for piece in document.pieces)])


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        'A <img src=x onerror="alert(1)"> B',
        "<svg/onload=alert(1)>",
        "[a](javascript:alert(1))",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ],
)
def test_html_and_scripts_in_a_report_are_words(read, hostile):
    shown = html(read(hostile))
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<svg" not in shown
    assert 'href="javascript' not in shown
    assert "alert(1)" in shown


def test_headings_move_down_and_skip_no_level(read):
    shown = html(read("# T\n\n## one\n\n#### deep\n\n## two\n"))
    assert [tag for tag in ("<h3>one", "<h4>deep", "<h3>two") if tag in shown] == [
        "<h3>one",
        "<h4>deep",
        "<h3>two",
    ]


def test_the_first_heading_is_the_title(read):
    assert read("# Data card: `ph2`\n\nText\n").title == "Data card: ph2"
    assert read("Text\n\n# Late\n").title == ""


def test_what_stands_before_the_first_heading_table_or_figure_is_the_lead(read):
    document = read("# Title\n\nOne.\n\nTwo.\n\n## Part\n\nThree.\n")
    assert "One." in document.lead
    assert "Two." in document.lead
    assert "Three." not in document.lead
    assert "Three." in document.pieces[0].html
    assert read("| a |\n|---|\n| b |\n\nAfter.\n").lead == ""


def test_tables_become_tables_of_the_page_named_after_their_heading(read):
    document = read(
        "## Classes\n\n| class | images |\n| --- | ---: |\n| a \\| b | 1,200 |\n\n| site | n |\n|---|---|\n"
    )
    first, second = document.pieces[1].tables
    assert (first.caption, second.caption) == ("Classes: class", "Classes: site")
    assert [(cell.text, cell.value) for cell in first.rows[0]] == [("a | b", None), ("1,200", 1200.0)]


def test_a_picture_comes_along_with_its_words_or_those_of_the_captions(read):
    (piece,) = read("![Age by class](<in/a.png>)\n").pieces
    assert (piece.pictures[0].alt, piece.pictures[0].caption) == ("Age by class", "Age by class")
    captions = {"in/a.png": {"caption": "Ages.", "alt": "Two bars"}}
    (piece,) = read("![Age by class](<in/a.png>)\n", captions=captions).pieces
    assert (piece.pictures[0].alt, piece.pictures[0].caption) == ("Two bars", "Ages.")


@pytest.mark.parametrize(
    "source",
    [
        "in/none.png",
        "../secret.png",
        "https://example.org/a.png",
        "/etc/hostname",
        "data:image/png;base64,AA",
    ],
)
def test_a_picture_that_is_not_below_the_folder_is_named_and_nothing_is_fetched(read, source):
    document = read(f"![x](<{source}>)\n\nText with ![y](<{source}>) in it\n")
    assert document.missing == [source, source]
    assert "<img" not in html(document)
    assert "[picture: y]" in html(document)
    assert not any(piece.pictures for piece in document.pieces)


def test_a_file_that_is_not_in_utf_8_is_named(tmp_path):
    path = tmp_path / "card.md"
    path.write_bytes("# Grösse".encode("latin-1"))
    with pytest.raises(DataError, match=r"card\.md is not in UTF-8 .* Remove it and run"):
        markup.read(path, top_level=3, max_width=WIDTH)
