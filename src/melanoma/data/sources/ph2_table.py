"""PH2's clinical table, `PH2_dataset.txt`: its codes, and what they mean."""

from pathlib import Path

import pandas as pd

from melanoma.data.sources.source_tables import decode
from melanoma.data.sources.translation import TEXT, value_of
from melanoma.errors import DataError, first_offenders

TEXT_NAME = "PH2_dataset.txt"
WORKBOOK_NAME = "PH2_dataset.xlsx"  # has the same rows; it is not read
ROW_FORM = "'|| IMD003 || … ||'"
MAX_TABLE_BYTES = 16 * 2**20  # PH2's own table has 0.04 MB

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
# The table's legend. The five findings share one legend, though not every code occurs in each.
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


def has_table(folder: Path) -> bool:
    """Whether the table is in `folder`, as text or as a workbook."""
    return any((folder / name).is_file() for name in (TEXT_NAME, WORKBOOK_NAME))


def read_table(folder: Path) -> pd.DataFrame:
    """Read the clinical table in `folder`.

    Returns:
        One row per lesion, ordered by image_id; columns `TABLE_COLUMNS`, strings, blanks missing.

    Raises:
        DataError: The table is missing or cannot be read, has codes outside the legend, or an image_id twice.
    """
    path = folder / TEXT_NAME
    if not path.is_file():
        raise DataError(
            f"{folder} has the table only as a workbook ({WORKBOOK_NAME}), which is not supported. Use "
            f"{TEXT_NAME} of the official download, or save the workbook as text with rows of the form "
            f"{ROW_FORM}."
        )
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"{path} has more than {MAX_TABLE_BYTES:,} bytes; check that it is the table of PH2.")
    text, _ = decode(path.read_bytes(), path)
    return parse_text(text, source=path)


def parse_text(text: str, *, source: object) -> pd.DataFrame:
    """The rows of `PH2_dataset.txt`; see `read_table`.

    Rows start with `|| IMD`. `||` separates the parts of a row, `|` the findings in its fourth part.

    Raises:
        DataError: There are no rows, a row has another number of cells, or a code is outside the legend.
    """
    lines = [line for line in text.splitlines() if line.replace("|", " ").strip().startswith("IMD")]
    if not lines:
        raise DataError(f"{source} has no rows of the form {ROW_FORM}; check that it is the table of PH2.")
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
    """The table with codes in capitals; a cell that says "not known" becomes missing.

    Raises:
        DataError: Names the rows with a code outside PH2's legend.
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
            f"{source}: {len(bad)} cells have a code that is not in the legend of PH2: "
            f"{first_offenders(bad)}. Expected blank or one of {known}."
        )


def in_words(table: pd.DataFrame, column: str) -> pd.Series:
    """The codes of `column` in the words of PH2's legend, colours joined by "; "; missing stays missing."""
    legend = LEGENDS[column]
    return table[column].map(
        lambda cell: "; ".join(legend[code] for code in _codes(column, cell)), na_action="ignore"
    )


def _codes(column: str, cell: str) -> list[str]:
    return cell.split() if column == "colors" else [cell]
