"""Writing `data/raw/<dataset>/`: whole or not at all, and not again when nothing changed."""

import filecmp
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from melanoma.errors import DataError, first_offenders
from melanoma.files import atomic_folder, write_csv

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class RawDataset:
    """What a raw folder is to hold.

    Attributes:
        metadata: One row an image; columns `image_id`, `image_file`, `mask_file` (missing where there
            is no mask) and whatever the source says.
        images: Source file by its name in `images/`.
        masks: Source file by its name in `masks/`.
    """

    metadata: pd.DataFrame
    images: dict[str, Path]
    masks: dict[str, Path]


def index_files(folder: Path) -> dict[str, Path]:
    """The image files directly in `folder`, by stem, ignoring hidden files.

    Raises:
        DataError: No such folder, or two files with one stem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one with image files in it.")
    by_stem: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith(".") or file.is_dir():
            continue
        if file.stem in by_stem:
            raise DataError(f"{folder} holds {by_stem[file.stem].name} and {file.name}: keep one.")
        by_stem[file.stem] = file
    return by_stem


def join_files(
    metadata: pd.DataFrame,
    *,
    images: dict[str, Path],
    masks: dict[str, Path],
    source: object,
    is_partial: bool,
) -> RawDataset:
    """Match rows to files by `image_id`.

    Args:
        metadata: Column `image_id`, strings.
        images: Source file by image_id.
        masks: Source file by image_id; an image may lack one.
        source: Named in errors.
        is_partial: Leave out rows without a file instead of refusing them.

    Raises:
        DataError: No rows, an id twice, a row without a file, or a file without a row.
    """
    if is_partial:
        metadata = metadata[metadata["image_id"].isin(set(images))]
    ids = metadata["image_id"]
    if metadata.empty:
        raise DataError(f"{source} holds no rows" + (" with an image." if is_partial else "."))
    if ids.isna().any():
        raise DataError(f"{source}: {int(ids.isna().sum())} rows have no image id.")
    if ids.duplicated().any():
        twice = first_offenders(ids[ids.duplicated()].unique())
        raise DataError(f"{source}: image ids must be unique, these occur more than once: {twice}.")
    _require_equal_sets(set(ids), images, source)
    image_file = ids.map(lambda image_id: images[image_id].name)
    mask_file = ids.map(lambda image_id: masks[image_id].name if image_id in masks else pd.NA)
    return RawDataset(
        metadata=metadata.assign(image_file=image_file, mask_file=mask_file),
        images={images[image_id].name: images[image_id] for image_id in ids},
        masks={masks[image_id].name: masks[image_id] for image_id in ids if image_id in masks},
    )


def _require_equal_sets(ids: set[str], images: dict[str, Path], source: object) -> None:
    if without_file := sorted(ids - set(images)):
        raise DataError(
            f"{source}: {len(without_file)} rows have no image file: "
            f"{first_offenders(without_file)}. Add the files, or leave these rows out with --partial."
        )
    if without_row := sorted(set(images) - ids):
        raise DataError(
            f"{source}: {len(without_row)} image files have no row: "
            f"{first_offenders(without_row)}. Add the rows or remove the files."
        )


def write_raw(dataset: RawDataset, out: Path) -> bool:
    """Write `images/`, `masks/` and `metadata.csv` to `out`, replacing what is there.

    Returns:
        False, with nothing touched, when `out` holds exactly this already.

    Raises:
        DataError: `out` is a file, or holds something that this function never wrote.
    """
    _require_replaceable(out)
    if _holds_already(dataset, out):
        return False
    with atomic_folder(out) as unfinished:
        write_csv(dataset.metadata, unfinished / "metadata.csv")
        for folder, files in _folders(dataset, unfinished).items():
            folder.mkdir()
            for name, file in tqdm(files.items(), desc=folder.name, unit="file", disable=None):
                shutil.copyfile(file, folder / name)
    return True


def _require_replaceable(out: Path) -> None:
    """Only a raw folder may be replaced: what else lies there is somebody's and would be lost."""
    if out.is_file():
        raise DataError(f"{out} is a file; expected the name of a raw folder to write.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if foreign := sorted(there - {"images", "masks", "metadata.csv"}):
        raise DataError(
            f"{out} holds {len(foreign)} things that are not part of a raw folder: "
            f"{first_offenders(foreign)}. Move them away, or name another folder with --out."
        )


def require_apart(source: Path, out: Path) -> None:
    """Raise a `DataError` when one folder lies in the other: replacing `out` would destroy `source`."""
    inner, outer = source.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise DataError(f"{source} and {out} lie in one another; move the source out of {out} first.")


def _folders(dataset: RawDataset, out: Path) -> dict[Path, dict[str, Path]]:
    return {out / "images": dataset.images, out / "masks": dataset.masks}


def _holds_already(dataset: RawDataset, out: Path) -> bool:
    metadata = out / "metadata.csv"
    text = dataset.metadata.to_csv(index=False, lineterminator="\n")
    if not metadata.is_file() or metadata.read_bytes() != text.encode():
        return False
    return all(_same_files(folder, files) for folder, files in _folders(dataset, out).items())


def _same_files(folder: Path, files: dict[str, Path]) -> bool:
    there = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return there == set(files) and all(
        filecmp.cmp(file, folder / name, shallow=False) for name, file in files.items()
    )
