import jinja2
import pandas as pd
import pytest

from melanoma.markdown import fill, markdown


def cell(value: object) -> str:
    """What stands in the one cell of a table."""
    return markdown(pd.DataFrame({"x": pd.Series([value], dtype="object")})).split("\n")[2][2:-2]


def test_words_stand_to_the_left_and_numbers_to_the_right():
    frame = pd.DataFrame({"sex": ["female", None], "images": [1200, 3], "fraction": [1 / 8, float("nan")]})
    assert markdown(frame).split("\n") == [
        "| sex | images | fraction |",
        "| --- | ---: | ---: |",
        "| female | 1,200 | 0.125 |",
        "| - | 3 | - |",
    ]


def test_a_table_without_rows_has_its_head():
    assert markdown(pd.DataFrame({"a": []})) == "| a |\n| ---: |"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00012345, "0.000123"),
        (999.4, "999"),
        (123456.7, "123,457"),
        (0.0, "0"),
        (pd.NA, "-"),
        ("", ""),
        ("two\nlines", "two lines"),
        ("a | b", "a \\| b"),
        ("<script>", "&lt;script&gt;"),
        ("[a](b) *c* `d` \\ &", "\\[a\\](b) \\*c\\* \\`d\\` \\\\ &amp;"),
        ("ISIC_0000000", "ISIC_0000000"),
    ],
)
def test_no_value_breaks_out_of_its_cell(value, text):
    assert cell(value) == text


def test_a_template_is_filled_and_parts_that_are_left_out_leave_no_gap(tmp_path):
    template = tmp_path / "toy.md.j2"
    template.write_text(
        "# {{ title }}\n\n{% if note %}\n{{ note }}\n{% endif %}\n\n"
        "{% for name in names %}\n* {{ name }}\n{% endfor %}\n",
        encoding="utf-8",
    )
    assert fill(template, title="Müller", note="", names=["a", "b"]) == "# Müller\n\n* a\n* b\n"
    assert fill(template, title="Müller", note="{{ x }}", names=["a"]) == "# Müller\n\n{{ x }}\n\n* a\n"
    with pytest.raises(jinja2.UndefinedError, match="names"):
        fill(template, title="without names", note="")
