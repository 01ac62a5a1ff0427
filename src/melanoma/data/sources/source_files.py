"""Finds the masks among a user's files, and the files that are not used."""

import filecmp
import os
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from melanoma.data.sources.raw_folder import IMAGE_SUFFIXES, RawDataset, index_files, join_files
from melanoma.errors import DataError, first_offenders

# Separators and suffixes in names of masks in public datasets.
MASK_NAME = re.compile(r"(?P<rest>.+)[_ -](?:segmentation|mask|lesion)", re.IGNORECASE)
MASK_PATTERNS = "<image_id>, <image_id>_segmentation, <image_id>_mask or <image_id>_lesion"


def fit_masks(folder: Path, image_ids: Collection[str]) -> dict[str, Path]:
    """The masks directly in `folder`, by image_id.

    Args:
        folder: Folder of masks named after `MASK_PATTERNS`, case-insensitively. Other files are left out.
        image_ids: Image ids of the rows.

    Raises:
        DataError: An image has two masks, or the name of a mask fits two images.
    """
    masks: dict[str, Path] = {}
    doubled, unclear = [], []
    for stem, file in index_files(folder).items():
        fitting = [name for name in _possible_ids(stem) if name in image_ids]
        if len(fitting) > 1:
            unclear.append(f"{file.name} ({' and '.join(fitting)})")
        for name in fitting:
            if name in masks:
                doubled.append(f"{masks[name].name} and {file.name}")
            masks.setdefault(name, file)
    if doubled:
        raise DataError(
            f"{folder}: {len(doubled)} images have two masks: {first_offenders(doubled)}. Keep one of each."
        )
    if unclear:
        raise DataError(
            f"{folder}: {len(unclear)} masks match two images: {first_offenders(unclear)}. Rename them to "
            "<image_id>_segmentation."
        )
    return masks


def _possible_ids(stem: str) -> Iterator[str]:
    yield stem
    while found := MASK_NAME.fullmatch(stem):
        stem = found["rest"]
        yield stem


def require_fitting_masks(folder: Path, masks: Collection[Path]) -> None:
    """Raise a `DataError` if `folder` holds files but `masks` is empty."""
    unused = list(unused_files(folder, masks))
    if unused and not masks:
        raise DataError(
            f"{folder} has {len(unused)} files, and none is named as the mask of an image: "
            f"{first_offenders(unused)}. Name masks {MASK_PATTERNS}, with one of the suffixes "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )


def unused_files(folder: Path, used: Collection[Path]) -> Iterator[str]:
    """Yield the names of files below `folder` that are not in `used`; hidden ones are ignored."""
    resolved = cache(os.path.realpath)
    taken = {(resolved(file.parent), file.name) for file in used}
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and (resolved(at), name) not in taken:
                yield (Path(at) / name).relative_to(folder).as_posix()


def describe_unused(**names_by_kind: Collection[str]) -> str:
    """Describe what is not used, by kind (with underscores for spaces); blank if everything is used."""
    kinds = [
        f"{len(names)} {kind.replace('_', ' ')} ({first_offenders(names)})"
        for kind, names in names_by_kind.items()
        if names
    ]
    return f"unused: {', '.join(kinds)}" if kinds else ""


def join_images(
    table: pd.DataFrame, folders: Sequence[Path], *, source: Path, is_partial: bool
) -> tuple[RawDataset, dict[str, list[str]]]:
    """Match rows to the images in several folders.

    Args:
        table: Rows with a column `image_id` of strings.
        folders: Folders of `<image_id>.jpg`; images without a row are left out.
        source: File of the table, for errors.
        is_partial: Leave out rows without an image instead of refusing them.

    Returns:
        The dataset, without masks, and what is not used, by kind, for `describe_unused`.

    Raises:
        DataError: Two folders have different files of one name (the same bytes twice are legal), or as for
            `join_files`.
    """
    images: dict[str, Path] = {}
    unlike: list[str] = []
    others: list[str] = []
    for folder in folders:
        found = index_files(folder)
        others += unused_files(folder, found.values())
        for stem, file in found.items():
            if stem in images and not filecmp.cmp(images[stem], file, shallow=False):
                unlike.append(f"{images[stem]} and {file}")
            images.setdefault(stem, file)
    if unlike:
        raise DataError(
            f"{len(unlike)} images lie in two folders with different content: {first_offenders(unlike)}. "
            "Keep one of each."
        )
    ids = set(table["image_id"].dropna())
    extra = [file.name for stem, file in sorted(images.items()) if stem not in ids]
    dataset = join_files(
        table,
        images={stem: file for stem, file in images.items() if stem in ids},
        masks={},
        source=source,
        is_partial=is_partial,
        others=[*extra, *others],
    )
    unused = {
        "rows_without_an_image": table.loc[~table["image_id"].isin(set(images)), "image_id"].tolist(),
        "images_without_a_row": extra,
    }
    return dataset, unused
