"""Markdown: tables with any cell content, and templates."""

import numbers
import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import StrictUndefined, Template

# Metadata are untrusted text: characters that could end a cell or start a tag or link are escaped.
ESCAPES = str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;", **{letter: f"\\{letter}" for letter in "\\`*[]|"}}
)


def markdown(frame: pd.DataFrame) -> str:
    """`frame` as a table with numbers aligned to the right and a dash for missing values.

    >>> print(markdown(pd.DataFrame({"sex": ["female"], "images": [1200]})))
    | sex | images |
    | --- | ---: |
    | female | 1,200 |
    """
    rules = ["---:" if pd.api.types.is_numeric_dtype(frame[column]) else "---" for column in frame]
    rows = frame.astype("object").itertuples(index=False, name=None)
    lines = [[cell(column) for column in frame], rules, *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    """A value as text of a table cell."""
    if pd.isna(value):
        return "-"
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return " ".join(str(value).split()).translate(ESCAPES)


def fill(template: Path, **values: Any) -> str:
    """The text of a Jinja template for Markdown, filled with values; nothing but `cell` escapes.

    Several empty lines become one, so that a part of the template may be left out.
    """
    source = Template(
        template.read_text(encoding="utf-8"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return re.sub(r"\n{3,}", "\n\n", source.render(values)).strip() + "\n"
