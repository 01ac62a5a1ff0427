"""Tables of the page: every cell with the value that it is sorted by."""

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
    """What is shown, and the number that it is sorted by; None in cells without one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Column:
    """The head of a column, and whether all of its cells are numbers or blank."""

    title: str
    is_numeric: bool


@dataclass(frozen=True)
class Table:
    """A table of texts; rows are as long as there are columns."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def make(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table from texts; a column is numeric when its cells are numbers or blank, and one is a number.

    Raises:
        DataError: A row has another number of cells than there are titles.
    """
    texts = [[_shortened(text.strip()) for text in row] for row in rows]
    unlike = [number for number, row in enumerate(texts, start=1) if len(row) != len(titles)]
    if unlike:
        raise DataError(
            f"{caption}: rows {unlike[:5]} have not the {len(titles)} cells of the head. Mend them."
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
    """The table in a CSV file with a head; cells are shown as they stand there.

    Raises:
        DataError: It is empty, no text in UTF-8, or its rows are of unlike length.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV in UTF-8 ({error}). Write it anew, or remove it.") from error
    if not rows:
        raise DataError(f"{path} is empty: a table has at least its head. Write it anew, or remove it.")
    try:
        return make(caption, rows[0], rows[1:])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def number_in(text: str) -> float | None:
    """The number at the front of a cell that is a number, with unit, spread or interval; otherwise None.

    >>> number_in("1,345"), number_in("-0.12 (-0.20 to 0.01)"), number_in("30 epochs")
    (1345.0, -0.12, None)
    """
    found = NUMERIC.match(text)
    return float(found.group(1).replace(",", "").replace("−", "-")) if found else None


def _is_numeric(texts: Sequence[str], values: Sequence[float | None]) -> bool:
    given = [value for text, value in zip(texts, values, strict=True) if text.lower() not in BLANK]
    return bool(given) and None not in given


def _shortened(text: str) -> str:
    """Digits that pandas writes and nobody reads are left out."""
    return f"{float(text):.4g}" if LONG_FRACTION.match(text) else text
