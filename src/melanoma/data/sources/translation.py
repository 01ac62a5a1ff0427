"""Translates the words of a source into those of `schema`, for all readers.

A word that means "not known" becomes missing, in every column except image ids. A column with a closed
vocabulary (age, sex, label, skin type) holds only its words afterwards; `require_readable` names other words.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from melanoma.errors import DataError, first_offenders
from melanoma.schema import (
    BENIGN_LESION,
    CLASS_OF_DIAGNOSIS,
    DERMOSCOPIC,
    FEMALE,
    INDETERMINATE,
    MALE,
    MALIGNANT_LESION,
    UNCLEAR,
)

# In lower case. Two letters that may be a person's initials are not included, except pandas' NA.
UNKNOWN_WORDS = frozenset(
    (
        *("", "-", "--", "---", "–", "—", "?", "??", ".", "*", "/"),
        *("na", "n/a", "n.a.", "#n/a", "#na", "<na>", "nan", "none", "null", "nil", "n.d.", "n/d"),
        *("unknown", "unk", "not known", "unspecified", "undetermined", "undefined", "missing"),
        *("no data", "not applicable", "prefer not to say"),
        *(f"not {verb}" for verb in ("stated", "specified", "given", "available", "recorded", "reported")),
        *("not provided", "not determined"),
    )
)
MAX_READABLE_AGE_YEARS = 150.0  # more is a typing error; `validate` judges what is plausible
AGE = re.compile(
    r"(?:>=?|≥|~)? ?(?P<years>[0-9]{1,3}(?:[.,][0-9]+)?)"
    r"(?: ?(?:\+|y|y/o|yo|yrs?\.?|years?|old|(?:and|or) (?:over|older|above|more)))*"
)
SEX_OF_WORD = {
    **dict.fromkeys(("female", "f", "woman"), FEMALE),
    **dict.fromkeys(("male", "m", "man"), MALE),
}
SKIN_TYPES = ("I", "II", "III", "IV", "V", "VI")
LICENCE_OF_WORD = {"cc-0": "CC-0", "cc0": "CC-0", "cc-by": "CC-BY", "cc-by-nc": "CC-BY-NC"}
DERMOSCOPIC_WORDS = ("dermoscopic", "dermoscopy", "dermatoscopic", "dermatoscopy")
MALIGNANCY_OF_LABEL = {
    **{label: label for label in (MALIGNANT_LESION, BENIGN_LESION)},
    **dict.fromkeys(("indeterminate", "indeterminate/benign", "indeterminate/malignant"), INDETERMINATE),
}
LABELS = tuple(MALIGNANCY_OF_LABEL)


@dataclass(frozen=True)
class Rule:
    """How the cells of a column are read.

    Attributes:
        expected: Description of legal cells.
        read: Returns the value of a cell, given in lower case with single spaces, or None.
        is_open: Whether a cell without a value stays as it is; otherwise it is unreadable.
        dtype: Type of the values.
    """

    expected: str
    read: Callable[[str], object]
    is_open: bool = False
    dtype: str = "string"


@dataclass(frozen=True)
class Unreadable:
    """A cell that cannot be translated; `row` is its row number in the source."""

    column: str
    cell: str
    row: object
    image_id: str
    expected: str

    def __str__(self) -> str:
        """The cell and its place."""
        return f"{self.column} {self.cell!r} (row {self.row}, {self.image_id})"


def _age(word: str) -> float | None:
    found = AGE.fullmatch(word)
    years = float(found["years"].replace(",", ".")) if found else None
    return years if years is not None and years <= MAX_READABLE_AGE_YEARS else None


def _skin_type(word: str) -> str | None:
    names = dict(zip(map(str, range(1, 7)), SKIN_TYPES, strict=True)) | {name: name for name in SKIN_TYPES}
    return names.get(word.removeprefix("type ").removesuffix(".0").upper())  # pandas writes 2 as 2.0


def _image_type(word: str) -> str | None:
    return DERMOSCOPIC if word.removesuffix(" image") in DERMOSCOPIC_WORDS else None


AGE_YEARS = Rule(
    f"years from 0 to {MAX_READABLE_AGE_YEARS:g}, such as 55 or 55.0 or 85+", _age, dtype="Float64"
)
SEX = Rule("female, male, f or m", SEX_OF_WORD.get)
SKIN_TYPE = Rule("I to VI or 1 to 6", _skin_type)
LABEL = Rule(", ".join(LABELS), {label: label for label in LABELS}.get)
# Columns without a closed vocabulary: known words get their usual spelling.
TEXT = Rule("text", lambda _: None, is_open=True)
SITE = Rule("a site of the body", str, is_open=True)
DIAGNOSIS = Rule("a diagnosis", {word: word for word in CLASS_OF_DIAGNOSIS}.get, is_open=True)
LICENCE = Rule("a licence", lambda word: LICENCE_OF_WORD.get(re.sub("[ _-]+", "-", word)), is_open=True)
IMAGE_TYPE = Rule(DERMOSCOPIC, _image_type, is_open=True)


def value_of(cell: str, rule: Rule) -> object:
    """The value of a cell; None if it means "not known".

    Raises:
        ValueError: The cell is unreadable.
    """
    word = " ".join(cell.lower().split())
    if word in UNKNOWN_WORDS:
        return None
    value = rule.read(word)
    if value is None and not rule.is_open:
        raise ValueError(f"{cell!r} cannot be read; expected {rule.expected}")
    return cell.strip() if value is None else value


def translate(table: pd.DataFrame, rules: Mapping[str, Rule]) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Translate the columns of a table that have a rule.

    Args:
        table: Strings with a column `image_id`; the index is the row number in the source.
        rules: Rule by column; rules of absent columns are ignored.

    Returns:
        The table, in which unreadable cells are missing, and the unreadable cells.
    """
    translated, unreadable = table.copy(), []
    for column, rule in rules.items():
        if column not in table:
            continue
        translated[column], is_bad = _translate(table[column], rule)
        unreadable += [
            Unreadable(column, str(cell), row, str(image_id), rule.expected)
            for row, image_id, cell in table.loc[is_bad, ["image_id", column]].itertuples()
        ]
    return translated, unreadable


def _translate(cells: pd.Series, rule: Rule) -> tuple[pd.Series, pd.Series]:
    """The values of a column, and a mask of its unreadable cells."""
    values, unreadable = {}, []
    for cell in cells.dropna().unique():
        try:
            values[cell] = value_of(cell, rule)
        except ValueError:
            unreadable.append(cell)
    translated = pd.Series([values.get(cell) for cell in cells], index=cells.index, dtype=rule.dtype)
    return translated, cells.isin(unreadable)


def malignancy(labels: pd.Series) -> pd.Series:
    """`malignancy` of records from labels that `LABEL` has read; a blank one is `schema.UNCLEAR`."""
    return labels.map(MALIGNANCY_OF_LABEL).astype("string").fillna(UNCLEAR)


def require_readable(unreadable: Iterable[Unreadable], source: object) -> None:
    """Raise a `DataError` that names the first unreadable cells, their places and what is expected."""
    cells = list(unreadable)
    if cells:
        expected = {cell.column: cell.expected for cell in cells}
        raise DataError(
            f"{source}: {len(cells)} cells cannot be read: {first_offenders(cells)}. Expected "
            + "; ".join(f"{column}: {words}" for column, words in expected.items())
            + ". Correct these cells, or leave them blank where the value is not known."
        )
