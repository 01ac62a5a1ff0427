"""Reads tables as people save them: any usual encoding, separator and line end.

All cells are strings without surrounding spaces; a blank cell is missing. `translation` gives the words their
meaning.
"""

import codecs
import csv
import difflib
import io
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.errors import DataError, first_offenders

SEPARATORS = (",", ";", "\t", "|")
# UTF-32 is tried first, because its mark starts with that of UTF-16.
ENCODING_OF_MARK = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WINDOWS = "cp1252"
HIDDEN = dict.fromkeys(map(ord, "\ufeff\u200b\u2060"))  # characters without a width, which `strip` leaves
MIN_SIMILARITY = 0.85  # of two headers, for `similar_columns`


@dataclass(frozen=True)
class SourceTable:
    """A table and how it was read.

    Attributes:
        rows: Strings, blank cells missing; the index is the row number in the file, the header being row 1.
        remark: What a user should know about how it was read; usually blank.
    """

    rows: pd.DataFrame
    remark: str


def read_table(path: Path, known: Collection[str]) -> SourceTable:
    """Read a table with a header.

    Args:
        path: Text in UTF-8, UTF-16 or UTF-32 with or without a mark, or in Windows-1252, separated by commas,
            semicolons, tabs or bars.
        known: Known names of columns. A header that differs from one in case, spaces or hyphens only is
            renamed to it. The separator that gives most known names is used.

    Raises:
        DataError: The file is missing or no text, a quotation mark is not closed, a row has more or fewer
            cells than the header, or two columns have the same name.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a table (CSV). Check the path.")
    try:
        text, remark = decode(path.read_bytes(), path)
        table = _parse(text, known, path)
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from error
    return SourceTable(table, remark)


def decode(content: bytes, source: object) -> tuple[str, str]:
    """The text, with composed letters (NFC), and a remark if its encoding had to be guessed.

    Raises:
        DataError: The content is no text in a known encoding.
    """
    encoding = _encoding(content)
    if encoding == WINDOWS and not content.decode("utf-8", errors="ignore").isascii():
        raise DataError(
            f"{source} cannot be read as CSV: it mixes UTF-8 with another encoding. Save it as CSV in UTF-8."
        )
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source} cannot be read as CSV: it is not text in UTF-8, UTF-16 or Windows-1252 ({error}). "
            "Save it as CSV in UTF-8."
        ) from error
    remark = "read as Windows-1252, because it is not UTF-8" if encoding == WINDOWS else ""
    return unicodedata.normalize("NFC", text.translate(HIDDEN)), remark


def _encoding(content: bytes) -> str:
    for mark, encoding in ENCODING_OF_MARK.items():
        if content.startswith(mark):
            return encoding
    if b"\0" in content:  # most letters have a zero byte in UTF-16
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be" if content[:1] == b"\0" else "utf-8"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return WINDOWS
    return "utf-8"


def _parse(text: str, known: Collection[str], source: Path) -> pd.DataFrame:
    if "\0" in text:
        raise DataError(f"{source} cannot be read as CSV: it is not text. Save it as CSV in UTF-8.")
    declared = re.match(r"sep=(.)[\r\n]", text)  # Excel writes such a line
    header = next((line for line in _lines(text) if line.strip()), "")
    separator = declared[1] if declared else _separator(header, known)
    rows = dict(_rows(text, separator, source))
    if declared:
        del rows[1]
    if not rows:
        raise DataError(f"{source} cannot be read as CSV: it is empty.")
    names = _names(rows.pop(min(rows)), known, source)
    cells = _equal_rows(rows, len(names), source)
    table = pd.DataFrame(cells, columns=names, index=pd.Index(rows, dtype="int64"), dtype="string")
    for name in names:
        stripped = table[name].str.strip()
        table[name] = stripped.mask(stripped == "")
    return table


def _rows(text: str, separator: str, source: Path) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of each row that is not blank.

    A quotation mark that is not closed would swallow the rows up to the next mark, or to the end.
    """
    lines, first = list(_lines(text)), 0
    reader = _reader(lines, separator, strict=True)
    for number in itertools.count(1):
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            spanned = lines[first : reader.line_num]
            if len(spanned) > 1:
                raise DataError(
                    f"{source}, row {number}: a cell that starts with a quotation mark goes on over "
                    f"{len(spanned)} lines and is not closed, or goes on after the closing mark ({error}). "
                    "Write a quotation mark within a cell twice, and the cell in quotation marks."
                ) from error
            cells = next(_reader(spanned, separator, strict=False))
        first = reader.line_num
        if any(map(str.strip, cells)):
            yield number, cells


def _reader(lines: Iterable[str], separator: str, *, strict: bool) -> Any:
    """A reader of the module `csv`, whose type has no public name."""
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict)


def _lines(text: str) -> io.StringIO:
    """The lines, which end as on Unix, Windows or an old Mac; newlines in cells stay."""
    return io.StringIO(text, newline="")


def _separator(header: str, known: Collection[str]) -> str:
    def num_known(separator: str) -> int:
        return sum(plain_name(name) in known for name in next(csv.reader([header], delimiter=separator)))

    return max(SEPARATORS, key=num_known)


def plain_name(name: str) -> str:
    """The header of a column in lower case, with `_` for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _names(cells: list[str], known: Collection[str], source: Path) -> list[str]:
    """The headers. A blank one is named after its position; blank ones at the end are left out."""
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    names = [
        plain_name(cell) if plain_name(cell) in known else cell.strip() or f"column {place}"
        for place, cell in enumerate(cells, start=1)
    ]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            f"{source} has several columns with the same name: {first_offenders(twice)}. Keep one of each."
        )
    return names


def _equal_rows(rows: Mapping[int, list[str]], num_cells: int, source: Path) -> list[list[str]]:
    """The cells of each row, without blank ones beyond the header."""
    odd = [
        f"row {number} ({len(cells)} cells)"
        for number, cells in rows.items()
        if len(cells) < num_cells or any(map(str.strip, cells[num_cells:]))
    ]
    if odd:
        raise DataError(
            f"{source}: {len(odd)} rows do not have {num_cells} cells like the header: "
            f"{first_offenders(odd)}. Put cells that contain the separator in quotes, and check that the "
            "last row is complete."
        )
    return [cells[:num_cells] for cells in rows.values()]


def columns_like(table: pd.DataFrame, names: Collection[str]) -> list[str]:
    """The columns whose headers are one of `names` but for case, spaces or hyphens."""
    return [column for column in table.columns if plain_name(column) in names]


def similar_columns(
    table: pd.DataFrame, known: Collection[str], synonyms: Mapping[str, str]
) -> Iterator[str]:
    """Yield columns that are not read but look like a known one without values: `age (age_approx?)`.

    Args:
        table: Table of a source.
        known: Names of columns that are read.
        synonyms: Known name by another usual name in lower case.
    """
    empty = [name for name in known if name not in table or table[name].isna().all()]
    for name in table.columns.difference(list(known), sort=False):
        close = difflib.get_close_matches(plain_name(name), empty, n=1, cutoff=MIN_SIMILARITY)
        meant = synonyms.get(plain_name(name)) or (close[0] if close else None)
        if meant in empty:
            yield f"{name} ({meant}?)"
