"""PH2's clinical table, as text (`PH2_dataset.txt`) or as a workbook (`PH2_dataset.xlsx`).

Both give the same rows: codes as the text has them, blanks missing, ordered by image_id. Where both
are there they must agree.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
from openpyxl import load_workbook

from melanoma.data.sources.archives import require_harmless_zip
from melanoma.data.sources.source_tables import decode
from melanoma.data.sources.translation import TEXT, value_of
from melanoma.errors import DataError, first_offenders

TEXT_NAME = "PH2_dataset.txt"
WORKBOOK_NAME = "PH2_dataset.xlsx"
MAX_TABLE_BYTES = (
    16 * 2**20
)  # of the text, and of the workbook when unpacked; PH2's own have 0.04 and 0.15 MB
MAX_SHEET_ROWS = 10_000
MAX_SHEET_COLUMNS = 40

TABLE_COLUMNS = (
    "image_id",
    "histological_diagnosis",
    "clinical_diagnosis",
    "asymmetry",
    "pigment_network",
    "dots_globules",
    "streaks",
    "regression_areas",
    "blue_whitish_veil",
    "colors",
)
# The legend of the text. It gives the five findings one legend, though not each code occurs in each.
FINDINGS = TABLE_COLUMNS[4:9]
FINDING_OF_CODE = {"A": "absent", "AT": "atypical", "P": "present", "T": "typical"}
COLOUR_OF_CODE = {
    "1": "white",
    "2": "red",
    "3": "light brown",
    "4": "dark brown",
    "5": "blue-grey",
    "6": "black",
}
LEGENDS = {
    "clinical_diagnosis": {"0": "nevus", "1": "atypical nevus", "2": "melanoma"},
    "asymmetry": {"0": "symmetric", "1": "symmetric in one axis", "2": "asymmetric"},
    **dict.fromkeys(FINDINGS, FINDING_OF_CODE),
    "colors": COLOUR_OF_CODE,  # several in a cell
}
# The workbook marks one column a diagnosis and a colour, where the text has codes.
WORKBOOK_HEADERS = {
    "image name": "image_id",
    "histological diagnosis": "histological_diagnosis",
    "asymmetry": "asymmetry",
    "pigment network": "pigment_network",
    "dots/globules": "dots_globules",
    "streaks": "streaks",
    "regression areas": "regression_areas",
    "blue-whitish veil": "blue_whitish_veil",
}
DIAGNOSIS_HEADERS = {"common nevus": "0", "atypical nevus": "1", "melanoma": "2"}
COLOUR_HEADERS = {
    "white": "1",
    "red": "2",
    "light-brown": "3",
    "dark-brown": "4",
    "blue-gray": "5",
    "black": "6",
}
HEADERS = [*WORKBOOK_HEADERS, *DIAGNOSIS_HEADERS, *COLOUR_HEADERS]
MARK = "X"


def has_table(folder: Path) -> bool:
    """Whether the table lies in `folder`, in either format."""
    return any((folder / name).is_file() for name in (TEXT_NAME, WORKBOOK_NAME))


def read_table(folder: Path) -> pd.DataFrame:
    """The clinical table in `folder`.

    Returns:
        One row a lesion, ordered by image_id; columns `TABLE_COLUMNS`, strings, blanks missing.

    Raises:
        DataError: A table that cannot be read, codes outside the legend, an image_id that occurs
            twice, or two tables that differ.
    """
    readers = {TEXT_NAME: _read_text, WORKBOOK_NAME: read_workbook}
    tables = {name: read(folder / name) for name, read in readers.items() if (folder / name).is_file()}
    if len(tables) == len(readers):
        _require_agreement(tables[TEXT_NAME], tables[WORKBOOK_NAME], folder)
    return next(iter(tables.values()))


def _require_agreement(text: pd.DataFrame, workbook: pd.DataFrame, folder: Path) -> None:
    first, second = (table.set_index("image_id").fillna("") for table in (text, workbook))
    lonely = sorted(set(first.index) ^ set(second.index))
    if lonely:
        raise DataError(
            f"{folder}: {len(lonely)} lesions are in one of {TEXT_NAME} and {WORKBOOK_NAME} only: "
            f"{first_offenders(lonely)}. Remove the file that is wrong."
        )
    differing = [
        f"{image_id} {column} ({a!r} and {b!r})"
        for image_id in first.index
        for column, a, b in zip(first.columns, first.loc[image_id], second.loc[image_id], strict=True)
        if a != b
    ]
    if differing:
        raise DataError(
            f"{folder}: {TEXT_NAME} and {WORKBOOK_NAME} differ in {len(differing)} cells: "
            f"{first_offenders(differing)}. Remove the file that is wrong."
        )


def _read_text(path: Path) -> pd.DataFrame:
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"{path} has more than {MAX_TABLE_BYTES:,} bytes; is it PH2's table?")
    text, _ = decode(path.read_bytes(), path)
    return parse_text(text, source=path)


def parse_text(text: str, *, source: object) -> pd.DataFrame:
    """The rows of `PH2_dataset.txt`; see `read_table`.

    `||` separates the parts of a row, `|` the findings in its fourth part; rows start with `|| IMD`.

    Raises:
        DataError: No such rows, a row of another shape, or a code outside the legend.
    """
    lines = [line for line in text.splitlines() if line.replace("|", " ").strip().startswith("IMD")]
    if not lines:
        raise DataError(f"{source} has no rows of the form '|| IMD003 || … ||'; is it PH2's table?")
    rows = [_cells_of_line(line) for line in lines]
    bad = [line for line, row in zip(lines, rows, strict=True) if len(row) != len(TABLE_COLUMNS)]
    if bad:
        raise DataError(
            f"{source}: {len(bad)} rows do not have {len(TABLE_COLUMNS)} cells: {first_offenders(bad)}"
        )
    return _as_table(rows, source)


def _cells_of_line(line: str) -> list[str]:
    parts = [part.strip() for part in line.strip().split("||")][1:-1]
    return [cell for part in parts for cell in part.split("|")]


def read_workbook(path: Path) -> pd.DataFrame:
    """The rows of `PH2_dataset.xlsx`; see `read_table`.

    The table may stand anywhere in any sheet: the row with `Image Name` heads it.

    Raises:
        DataError: No workbook, a harmful one (an .xlsx is a zip), no such table in it, or a code
            outside the legend.
    """
    require_harmless_zip(path, max_total_bytes=MAX_TABLE_BYTES)
    rows = _rows_below_header(path)
    if not rows:
        raise DataError(f"{path} has no rows under the headers {HEADERS}; is it PH2's table?")
    bad = [fault for row in rows for fault in _faults_of_marks(row)]
    if bad:
        raise DataError(
            f"{path}: {len(bad)} rows have other marks than blank or {MARK}, more than one diagnosis or no "
            f"name: {first_offenders(bad)}. Mend the workbook, or keep {TEXT_NAME} alone."
        )
    return _as_table([_cells_of_row(row) for row in rows], path)


def _rows_below_header(path: Path) -> list[dict[str, str]]:
    """Cells by header, of the rows that are not blank; empty when no sheet has all headers."""
    try:
        with closing(load_workbook(path, read_only=True, data_only=True, keep_links=False)) as workbook:
            for sheet in workbook.worksheets:
                cells = sheet.iter_rows(max_row=MAX_SHEET_ROWS, max_col=MAX_SHEET_COLUMNS, values_only=True)
                if found := _table_among([_as_text(cell) for cell in row] for row in cells):
                    return found
    except Exception as error:  # openpyxl raises whatever odd XML leads it to
        raise DataError(f"{path} is no readable workbook ({error}). Download it again.") from error
    return []


def _table_among(rows: Iterator[list[str]]) -> list[dict[str, str]]:
    for row in rows:
        headers = [cell.split("(")[0].strip().lower() for cell in row]
        if set(HEADERS) <= set(headers):
            return [dict(zip(headers, cells, strict=False)) for cells in rows if any(cells)]
    return []


def _as_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # codes are numbers there
    return "" if cell is None else " ".join(str(cell).split())


def _faults_of_marks(row: dict[str, str]) -> list[str]:
    marks = {row[header] for header in (*DIAGNOSIS_HEADERS, *COLOUR_HEADERS)}
    num_diagnoses = sum(row[header] != "" for header in DIAGNOSIS_HEADERS)
    is_fine = marks <= {"", MARK, MARK.lower()} and num_diagnoses <= 1 and row["image name"]
    return [] if is_fine else [" | ".join(cell for cell in row.values() if cell)]


def _cells_of_row(row: dict[str, str]) -> list[str]:
    marked = {header for header, cell in row.items() if cell.upper() == MARK}
    cells = {column: row[header] for header, column in WORKBOOK_HEADERS.items()}
    cells["clinical_diagnosis"] = "".join(code for name, code in DIAGNOSIS_HEADERS.items() if name in marked)
    cells["colors"] = " ".join(code for name, code in COLOUR_HEADERS.items() if name in marked)
    return [cells[column] for column in TABLE_COLUMNS]


def _as_table(rows: list[list[str]], source: object) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS), dtype="string")
    table = table.apply(lambda cells: cells.str.split().str.join(" "))
    table["colors"] = table["colors"].map(lambda cell: " ".join(sorted(set(cell.split()))))
    table = translate_codes(table, source)
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(f"{source}: these lesions have more than one row: {first_offenders(twice)}.")
    return table.sort_values("image_id", ignore_index=True)


def translate_codes(table: pd.DataFrame, source: object) -> pd.DataFrame:
    """The table with codes in capitals, and blanks where a cell says that it is not known.

    Raises:
        DataError: Names the rows with a code that PH2's legend does not have.
    """
    table = table.copy()
    for column in TABLE_COLUMNS[1:]:
        words = table[column].map(lambda cell: value_of(cell, TEXT), na_action="ignore").astype("string")
        capitals = words.str.upper()
        table[column] = capitals.where(capitals.isin(list(LEGENDS.get(column, ()))), words)
    _require_known_codes(table, source)
    return table


def _require_known_codes(table: pd.DataFrame, source: object) -> None:
    bad = [
        f"{image_id} {column}={cell}"
        for column, legend in LEGENDS.items()
        for image_id, cell in zip(table["image_id"], table[column], strict=True)
        if not pd.isna(cell) and not set(_codes(column, cell)) <= set(legend)
    ]
    if bad:
        known = {column: sorted(legend) for column, legend in LEGENDS.items()}
        raise DataError(
            f"{source}: {len(bad)} cells have a code outside PH2's legend: {first_offenders(bad)}. "
            f"Known are blank and {known}."
        )


def in_words(table: pd.DataFrame, column: str) -> pd.Series:
    """The codes of `column` by PH2's legend; colours joined by "; ", blank stays missing."""
    legend = LEGENDS[column]
    return table[column].map(
        lambda cell: "; ".join(legend[code] for code in _codes(column, cell)), na_action="ignore"
    )


def _codes(column: str, cell: str) -> list[str]:
    return cell.split() if column == "colors" else [cell]
