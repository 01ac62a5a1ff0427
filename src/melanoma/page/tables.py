"""Tables of the page: each cell with the value by which it is sorted."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from melanoma.errors import DataError

NUMBER = r"[+\-−]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?"
# Alone, with a unit, or with its spread or interval: `0.895 (0.749 to 0.993)`, `45 %`, `0.91 ± 0.02`.
NUMERIC = re.compile(rf"^\s*({NUMBER})\s*(?:%|±.*|\(.*\)|\[.*\])?\s*$")
LONG_FRACTION = re.compile(r"^-?\d+\.\d{5,}$")  # as pandas writes a float
BLANK = {"", "-", "–", "—", "nan", "none", "null", "undefined", "not judged", "n too small"}


@dataclass(frozen=True)
class Cell:
    """Text, and the number by which it is sorted; None in cells without one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Column:
    """Title, and whether all cells are numbers or blank."""

    title: str
    is_numeric: bool


@dataclass(frozen=True)
class Table:
    """A table of texts; each row has a cell for each column."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def make(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table from texts. A column is numeric if its cells are numbers or blank and at least one is a number.

    Raises:
        DataError: A row has more or fewer cells than there are titles.
    """
    texts = [[_shortened(text.strip()) for text in row] for row in rows]
    unlike = [number for number, row in enumerate(texts, start=1) if len(row) != len(titles)]
    if unlike:
        raise DataError(
            f"{caption}: the header has {len(titles)} cells, but rows {unlike[:5]} have more or fewer. "
            "Correct these rows."
        )
    values = [[number_in(text) for text in row] for row in texts]
    columns = [
        Column(title.strip(), _is_numeric([row[at] for row in texts], [row[at] for row in values]))
        for at, title in enumerate(titles)
    ]
    cells = [
        [
            Cell(text, value if column.is_numeric else None)
            for text, value, column in zip(row, numbers, columns, strict=True)
        ]
        for row, numbers in zip(texts, values, strict=True)
    ]
    return Table(caption, columns, cells)


def read_csv(path: Path, caption: str) -> Table:
    """The table in a CSV file with a header row; cells are shown as they are.

    Raises:
        DataError: The file is empty or not CSV in UTF-8, or its rows differ in length.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not CSV in UTF-8 ({error}). Create it again or remove it.") from error
    if not rows:
        raise DataError(f"{path} is empty; expected at least a header row. Create it again or remove it.")
    try:
        return make(caption, rows[0], rows[1:])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def number_in(text: str) -> float | None:
    """The number in a cell that holds a number, perhaps with unit, spread or interval; otherwise None.

    >>> number_in("1,345"), number_in("-0.12 (-0.20 to 0.01)"), number_in("30 epochs")
    (1345.0, -0.12, None)
    """
    found = NUMERIC.match(text)
    return float(found.group(1).replace(",", "").replace("−", "-")) if found else None


def _is_numeric(texts: Sequence[str], values: Sequence[float | None]) -> bool:
    given = [value for text, value in zip(texts, values, strict=True) if text.lower() not in BLANK]
    return bool(given) and None not in given


def _shortened(text: str) -> str:
    """Long decimal fractions with four significant digits."""
    return f"{float(text):.4g}" if LONG_FRACTION.match(text) else text
