"""PH2: 200 dermoscopic images of melanocytic lesions with a clinical table.

Read from the official `PH2Dataset` tree (one folder per lesion), from a flat folder (`images/`, `masks/`) or
from a zip of either, with `PH2_dataset.txt` beside the images. Masks of lesions are kept; masks of single
colour regions (`IMD003_roi/`) are left out.

Source: T. Mendonca et al., "PH2 - A dermoscopic image database for research and benchmarking",
EMBC 2013. For research and education only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from melanoma.data.sources.archives import require_plain_files, unpack_zip
from melanoma.data.sources.ph2_table import (
    TABLE_COLUMNS,
    TEXT_NAME,
    has_table,
    in_words,
    read_table,
    translate_codes,
)
from melanoma.data.sources.raw_folder import RawDataset, index_files, join_files, read_metadata
from melanoma.data.sources.source_files import describe_unused, fit_masks, require_fitting_masks, unused_files
from melanoma.errors import DataError, first_offenders
from melanoma.schema import CLINICAL_DTYPES, DERMOSCOPIC, require_columns

TREE_NAME = "PH2 Dataset images"
# Column of the common vocabulary by the name in the table.
CLINICAL_COLUMN_OF = {name: name for name in TABLE_COLUMNS if name in CLINICAL_DTYPES} | {"colors": "colours"}


@contextmanager
def open_source(source: Path, *, is_partial: bool) -> Iterator[RawDataset]:
    """Open what `data/raw/ph2/` is to hold; a zip stays unpacked until the block ends.

    Args:
        source: Zip, or folder that is or contains one of the two layouts.
        is_partial: Leave out rows of the table that have no image.

    Raises:
        DataError: The source has neither layout, its table cannot be read, or rows and files do not match.
    """
    if source.is_dir():
        yield _read_folder(source, is_partial)
    elif source.is_file():
        with TemporaryDirectory(prefix="ph2-") as unpacked:
            unpack_zip(source, Path(unpacked))
            try:
                dataset = _read_folder(Path(unpacked), is_partial)
            except DataError as error:  # the name of the temporary folder says nothing to a user
                raise DataError(str(error).replace(unpacked, str(source))) from error
            yield dataset
    else:
        raise DataError(f"{source} does not exist; give the PH2 folder or zip with --source.")


def _read_folder(source: Path, is_partial: bool) -> RawDataset:
    top = _find_top(source)
    require_plain_files(top)
    table = read_table(top)
    images, masks = _flat_files(top, table) if (top / "images").is_dir() else _tree_files(top / TREE_NAME)
    dataset = join_files(table, images=images, masks=masks, source=top, is_partial=is_partial)
    used = [*dataset.images.values(), *dataset.masks.values(), top / TEXT_NAME]
    left_out = table.loc[~table["image_id"].isin(set(images)), "image_id"].tolist()
    unused = describe_unused(rows_without_an_image=left_out, files=list(unused_files(top, used)))
    return replace(dataset, remarks=unused)


def _find_top(source: Path) -> Path:
    """The folder with the table beside the images: `source` or a folder (no link) directly in it."""
    inside = sorted(path for path in source.iterdir() if path.is_dir() and not path.is_symlink())
    for folder in (source, *inside):
        has_images = (folder / "images").is_dir() or (folder / TREE_NAME).is_dir()
        if has_images and has_table(folder):
            return folder
    raise DataError(
        f"{source} does not have the layout of PH2: expected {TEXT_NAME} next to images/ (flat) or next to "
        f"'{TREE_NAME}/' (official PH2Dataset folder)."
    )


def _flat_files(top: Path, table: pd.DataFrame) -> tuple[dict[str, Path], dict[str, Path]]:
    masks: dict[str, Path] = {}
    if (top / "masks").is_dir():
        masks = fit_masks(top / "masks", set(table["image_id"]))
        require_fitting_masks(top / "masks", masks.values())
    return index_files(top / "images"), masks


def _tree_files(tree: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of `IMD002/IMD002_Dermoscopic_Image/IMD002.bmp` and `IMD002/IMD002_lesion/IMD002_lesion.bmp`.

    Raises:
        DataError: A file is named after another lesion than its folder, whose own file it would replace.
    """
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    misplaced: list[str] = []
    for folder in sorted(path for path in tree.iterdir() if path.is_dir()):
        name = folder.name
        image_folder, mask_folder = folder / f"{name}_Dermoscopic_Image", folder / f"{name}_lesion"
        own_images = index_files(image_folder) if image_folder.is_dir() else {}
        own_masks = fit_masks(mask_folder, [name]) if mask_folder.is_dir() else {}
        all_masks = index_files(mask_folder) if mask_folder.is_dir() else {}
        strangers = [file for stem, file in own_images.items() if stem != name]
        strangers += [file for file in all_masks.values() if file not in own_masks.values()]
        misplaced += [file.relative_to(tree).as_posix() for file in strangers]
        images |= own_images
        masks |= own_masks
    if misplaced:
        raise DataError(
            f"{tree}: {len(misplaced)} files are in the folder of another lesion: "
            f"{first_offenders(misplaced)}. Move each to its own lesion's folder, or remove it."
        )
    return images, masks


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `data/raw/ph2/metadata.csv` in the common vocabulary; see `readers.read_records`.

    All images are dermoscopic, because PH2 is a database of dermoscopy.

    Raises:
        DataError: A code is outside PH2's legend.
    """
    source = raw_dir / "metadata.csv"
    table = read_metadata(raw_dir, TABLE_COLUMNS)
    require_columns(table, TABLE_COLUMNS, source)
    table = translate_codes(table, source)
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "diagnosis": in_words(table, "clinical_diagnosis"),
            "lesion_id": table["image_id"],  # one image per lesion
            "image_type": DERMOSCOPIC,
            "source_collection": "PH2",
            "is_synthetic": False,
            "image_file": table["image_file"],
            "mask_file": table["mask_file"],
            **{column: in_words(table, name) for name, column in CLINICAL_COLUMN_OF.items()},
        }
    )
