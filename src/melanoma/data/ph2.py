"""PH2: 200 dermoscopic images of melanocytic lesions with a clinical table.

Read from the official `PH2Dataset` tree (one folder a lesion), from a flat folder (`images/`, `masks/`,
`PH2_dataset.txt`), or from a zip of either.

Source: T. Mendonca et al., "PH2 - A dermoscopic image database for research and benchmarking",
EMBC 2013. For research and education only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from melanoma.data.archives import unpack_zip
from melanoma.data.raw import RawDataset, index_files, join_files
from melanoma.errors import DataError, first_offenders
from melanoma.files import read_csv
from melanoma.schema import BENIGN, MALIGNANT, require_columns

TABLE_NAME = "PH2_dataset.txt"
TREE_NAME = "PH2 Dataset images"
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
# The table's legend: 0 common nevus, 1 atypical nevus, 2 melanoma.
DIAGNOSIS_OF_CODE = {"0": "nevus", "1": "atypical nevus", "2": "melanoma"}
TARGET_OF_CODE = {"0": BENIGN, "1": BENIGN, "2": MALIGNANT}


@contextmanager
def open_source(source: Path, *, is_partial: bool) -> Iterator[RawDataset]:
    """What `data/raw/ph2/` is to hold; a zip is unpacked for as long as the block lasts.

    Args:
        source: A zip, or a folder that is or contains one of the two layouts.
        is_partial: Leave out rows of the table that have no image.

    Raises:
        DataError: Neither layout, a table that cannot be read, or rows and files that do not match.
    """
    if source.is_dir():
        yield _read_folder(source, is_partial)
    elif source.is_file():
        with TemporaryDirectory(prefix="ph2-") as unpacked:
            unpack_zip(source, Path(unpacked))
            yield _read_folder(Path(unpacked), is_partial)
    else:
        raise DataError(f"{source} does not exist; give the PH2 folder or zip with --source.")


def _read_folder(source: Path, is_partial: bool) -> RawDataset:
    top = _find_top(source)
    images, masks = _flat_files(top) if (top / "images").is_dir() else _tree_files(top / TREE_NAME)
    table = parse_table((top / TABLE_NAME).read_text(encoding="latin-1"), source=top / TABLE_NAME)
    return join_files(table, images=images, masks=masks, source=top, is_partial=is_partial)


def _find_top(source: Path) -> Path:
    """The folder that holds the table beside the images: `source` or a folder just inside it."""
    for folder in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        has_images = (folder / "images").is_dir() or (folder / TREE_NAME).is_dir()
        if has_images and (folder / TABLE_NAME).is_file():
            return folder
    raise DataError(
        f"{source} has no PH2 layout: expected {TABLE_NAME} beside images/ (flat) or beside "
        f"'{TREE_NAME}/' (official PH2Dataset folder)."
    )


def _flat_files(top: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    masks = index_files(top / "masks") if (top / "masks").is_dir() else {}
    of_image = {stem.removesuffix("_lesion"): file for stem, file in masks.items()}
    return index_files(top / "images"), of_image


def _tree_files(tree: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of `IMD002/IMD002_Dermoscopic_Image/IMD002.bmp` and `IMD002/IMD002_lesion/IMD002_lesion.bmp`."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for folder in sorted(path for path in tree.iterdir() if path.is_dir()):
        name = folder.name
        if (image_folder := folder / f"{name}_Dermoscopic_Image").is_dir():
            images |= index_files(image_folder)
        if (mask_folder := folder / f"{name}_lesion").is_dir():
            masks |= {stem.removesuffix("_lesion"): file for stem, file in index_files(mask_folder).items()}
    return images, masks


def parse_table(text: str, *, source: object) -> pd.DataFrame:
    """The rows of `PH2_dataset.txt`; columns `TABLE_COLUMNS`, all strings, blanks missing.

    `||` separates the parts of a row, `|` the findings in its fourth part; rows start with `|| IMD`.

    Raises:
        DataError: No such rows, a row of another shape, or a clinical diagnosis outside 0, 1, 2.
    """
    lines = [line for line in text.splitlines() if line.replace("|", " ").strip().startswith("IMD")]
    if not lines:
        raise DataError(f"{source} has no rows of the form '|| IMD003 || … ||'; is it PH2's table?")
    rows = [_parse_row(line) for line in lines]
    bad = [line for line, row in zip(lines, rows, strict=True) if not _is_legal(row)]
    if bad:
        raise DataError(
            f"{source}: {len(bad)} rows do not have {len(TABLE_COLUMNS)} cells with a clinical "
            f"diagnosis of 0, 1 or 2: {first_offenders(bad)}"
        )
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS), dtype="string")
    return table.mask(table == "")


def _parse_row(line: str) -> list[str]:
    parts = [part.strip() for part in line.strip().split("||")][1:-1]
    cells = [cell for part in parts for cell in part.split("|")]
    return [" ".join(cell.split()) for cell in cells]


def _is_legal(row: list[str]) -> bool:
    return len(row) == len(TABLE_COLUMNS) and row[2] in DIAGNOSIS_OF_CODE


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `data/raw/ph2/metadata.csv` in the common vocabulary; see `sources.read_records`."""
    table = read_csv(raw_dir / "metadata.csv", dtype="string")
    require_columns(table, (*TABLE_COLUMNS, "image_file", "mask_file"), raw_dir / "metadata.csv")
    code = table["clinical_diagnosis"]
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "diagnosis": code.map(DIAGNOSIS_OF_CODE),
            "target": code.map(TARGET_OF_CODE).astype("Int64"),
            "lesion_id": table["image_id"],  # one image a lesion
            "source_collection": "PH2",
            "is_synthetic": False,
            "image_file": table["image_file"],
            "mask_file": table["mask_file"],
        }
    )
