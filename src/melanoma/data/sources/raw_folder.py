"""Reads and writes `data/raw/<dataset>/`: completely or not at all, and only if something changed."""

import filecmp
import json
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from melanoma.data.sources.source_tables import read_table
from melanoma.errors import DataError, first_offenders
from melanoma.files import atomic_folder, csv_text, require, write_csv
from melanoma.schema import require_columns

RAW_COLUMNS = ("image_id", "image_file", "mask_file")
SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class RawDataset:
    """The content of a raw folder.

    Attributes:
        metadata: One row per image; columns `image_id`, `image_file`, `mask_file` (missing without a mask)
            and those of the source.
        images: Source file by name in `images/`.
        masks: Source file by name in `masks/`.
        remarks: What a user should know about it; may be blank.
    """

    metadata: pd.DataFrame
    images: dict[str, Path]
    masks: dict[str, Path]
    remarks: str = ""


def index_files(folder: Path) -> dict[str, Path]:
    """The image files directly in `folder`, by stem with composed letters; hidden files are ignored.

    Raises:
        DataError: The folder does not exist, or two files have the same stem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected a folder with image files.")
    by_stem: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith(".") or file.is_dir():
            continue
        stem = _composed(file.stem)
        if stem in by_stem:
            raise DataError(f"{folder} has both {by_stem[stem].name} and {file.name}: keep one.")
        by_stem[stem] = file
    return by_stem


def _composed(name: str) -> str:
    """A name as tables are read; macOS may write an umlaut as a letter and a mark."""
    return unicodedata.normalize("NFC", name)


def join_files(
    metadata: pd.DataFrame,
    *,
    images: dict[str, Path],
    masks: dict[str, Path],
    source: object,
    is_partial: bool,
    others: Collection[str] = (),
) -> RawDataset:
    """Match rows to files by `image_id`.

    Args:
        metadata: Rows with a column `image_id` of strings.
        images: Source file by image_id.
        masks: Source file by image_id; an image may have none.
        source: Name of the source for errors.
        is_partial: Leave out rows without a file instead of refusing them.
        others: Names of files that are not read, for errors.

    Raises:
        DataError: There are no rows, an id is missing or occurs twice, a row has no file, or a file has no
            row.
    """
    if is_partial:
        metadata = metadata[metadata["image_id"].isin(set(images))]
    ids = metadata["image_id"]
    if metadata.empty:
        raise DataError(f"{source} has no rows" + (" with an image." if is_partial else "."))
    if ids.isna().any():
        rows = first_offenders(f"row {row}" for row in ids.index[ids.isna()])
        raise DataError(f"{source}: {int(ids.isna().sum())} rows have no image id: {rows}.")
    if ids.duplicated().any():
        twice = first_offenders(ids[ids.duplicated()].unique())
        raise DataError(f"{source}: image ids must be unique; these occur more than once: {twice}.")
    _require_equal_sets(set(ids), images, source, others)
    image_files, mask_files = (
        {image_id: _composed(files[image_id].name) for image_id in ids if image_id in files}
        for files in (images, masks)
    )
    return RawDataset(
        metadata=metadata.assign(
            image_file=ids.map(image_files), mask_file=ids.map(mask_files).astype("string")
        ),
        images={name: images[image_id] for image_id, name in image_files.items()},
        masks={name: masks[image_id] for image_id, name in mask_files.items()},
    )


def _require_equal_sets(
    ids: set[str], images: dict[str, Path], source: object, others: Collection[str]
) -> None:
    if without_file := sorted(ids - set(images)):
        raise DataError(
            f"{source}: {len(without_file)} rows have no image file: "
            f"{first_offenders(without_file)}. Add the files, or leave these rows out with --partial."
            + (
                f" These files are ignored: {first_offenders(others)}. Expected <id>.jpg (or "
                f"{', '.join(IMAGE_SUFFIXES[1:])}) directly in the folder."
                if others
                else ""
            )
        )
    if without_row := sorted(set(images) - ids):
        raise DataError(
            f"{source}: {len(without_row)} image files have no row: "
            f"{first_offenders(without_row)}. Add the rows or remove the files."
        )


def read_metadata(raw_dir: Path, known: Collection[str] = ()) -> pd.DataFrame:
    """Read `metadata.csv` of a raw folder as strings; the index is the row number in the file.

    Args:
        raw_dir: Raw folder.
        known: Names of columns besides `RAW_COLUMNS`, see `read_table`.

    Raises:
        DataError: The table cannot be read, or lacks one of `RAW_COLUMNS`.
    """
    path = raw_dir / "metadata.csv"
    require(path)
    table = read_table(path, {*RAW_COLUMNS, *known}).rows
    require_columns(table, RAW_COLUMNS, path)
    return table


def add_to(out: Path, dataset: RawDataset) -> RawDataset:
    """Add the new images of `dataset` to the content of `out`.

    An image that is in both keeps the file, row and mask of `out`. The columns of both are kept.

    Raises:
        DataError: `out` is no complete raw folder, or the bytes of an image in both differ.
    """
    if not out.exists():
        return dataset
    there = read_metadata(out)
    file_there = {
        image_id: out / "images" / str(name)
        for image_id, name in there[["image_id", "image_file"]].itertuples(index=False)
    }
    if lost := sorted(image_id for image_id, file in file_there.items() if not file.is_file()):
        raise DataError(
            f"{out}/metadata.csv names {len(lost)} images that are missing: {first_offenders(lost)}. "
            f"Restore them with `dvc checkout {out}`, or run without --add."
        )
    is_known = dataset.metadata["image_id"].isin(set(file_there))
    _require_equal_bytes(dataset, dataset.metadata[is_known], file_there, out)
    new = dataset.metadata[~is_known]
    added = f"{len(new)} added to {len(there)} existing images"
    kept = _describe_kept(dataset.metadata[is_known], there)
    return RawDataset(
        metadata=pd.concat([there, new], ignore_index=True).astype("string"),
        images={
            **{file.name: file for file in file_there.values()},
            **{name: dataset.images[name] for name in new["image_file"]},
        },
        masks={
            **{str(name): out / "masks" / str(name) for name in there["mask_file"].dropna()},
            **{name: dataset.masks[name] for name in new["mask_file"].dropna()},
        },
        remarks="; ".join(filter(None, [added, dataset.remarks, kept])),
    )


def _describe_kept(given: pd.DataFrame, there: pd.DataFrame) -> str:
    """Name the images whose given row or mask says something that the present row does not."""
    old, new = (table.set_index("image_id").astype("string") for table in (there, given))
    new = new.drop(columns=["image_file", "file_sha256"], errors="ignore")  # their bytes are the same
    is_other = new.notna() & (new != old.reindex(index=new.index, columns=new.columns)).fillna(True)
    ids = sorted(new.index[is_other.any(axis=1)])
    return f"unused: new rows or masks of {len(ids)} existing images ({first_offenders(ids)})" if ids else ""


def _require_equal_bytes(
    dataset: RawDataset, rows: pd.DataFrame, file_there: dict[str, Path], out: Path
) -> None:
    unlike = [
        image_id
        for image_id, name in rows[["image_id", "image_file"]].itertuples(index=False)
        if not filecmp.cmp(dataset.images[name], file_there[image_id], shallow=False)
    ]
    if unlike:
        raise DataError(
            f"{len(unlike)} images exist in {out} with different content: {first_offenders(unlike)}. Leave "
            "them out, or run without --add to replace the whole dataset."
        )


def write_raw(dataset: RawDataset, out: Path) -> bool:
    """Write `images/`, `masks/` and `metadata.csv` to `out`, replacing its content.

    Returns:
        False if `out` holds exactly this already; nothing is written then.

    Raises:
        DataError: `out` is a file, or holds anything that is not part of a raw folder.
    """
    require_replaceable(out, dataset)
    if _holds_already(dataset, out):
        return False
    with atomic_folder(out) as unfinished:
        write_csv(dataset.metadata, unfinished / "metadata.csv")
        for folder, files in _folders(dataset, unfinished).items():
            folder.mkdir()
            for name, file in tqdm(files.items(), desc=folder.name, unit="file", disable=None):
                shutil.copyfile(file, folder / name)
    return True


def require_replaceable(out: Path, dataset: RawDataset | None = None) -> None:
    """Raise a `DataError` if `out` holds anything that is not part of a raw folder: it would be lost.

    Args:
        out: Raw folder, which need not exist.
        dataset: What is to be written; its files may be there, even if the present table is damaged.
    """
    if out.is_file():
        raise DataError(f"{out} is a file; expected a folder.")
    known = {"images", "masks", "metadata.csv"}
    found = [*out.glob("*")]
    listed = _listed_files(out)
    if listed or dataset:
        known |= listed
        found += [*out.glob("images/*"), *out.glob("masks/*")]
    if dataset:
        known |= {f"images/{name}" for name in dataset.images} | {f"masks/{name}" for name in dataset.masks}
    names = {_composed(path.relative_to(out).as_posix()) for path in found if not _is_of_the_system(path)}
    if foreign := sorted(names - known):
        raise DataError(
            f"{out} has {len(foreign)} entries that are not part of a raw folder: "
            f"{first_offenders(foreign)}. Move them away, or give another folder with --out."
        )


def _listed_files(out: Path) -> set[str]:
    """The files that the table of a raw folder names; none if it cannot be read."""
    try:
        table = read_metadata(out)
    except DataError:
        return set()
    images, masks = table["image_file"].dropna(), table["mask_file"].dropna()
    return {f"images/{name}" for name in images} | {f"masks/{name}" for name in masks}


def _is_of_the_system(path: Path) -> bool:
    """Whether macOS or Windows put the file there, to remember how the folder is shown."""
    return path.is_file() and (path.name.startswith("._") or path.name in SYSTEM_FILES)


def require_apart(source: Path, out: Path) -> None:
    """Raise a `DataError` if one folder is inside the other: replacing `out` would destroy `source`."""
    inner, outer = source.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise DataError(f"{source} and {out} overlap; move the source out of {out} first.")


def require_as_tracked(out: Path) -> None:
    """Raise a `DataError` if DVC tracks other content: what was added to it elsewhere would be lost."""
    pointer = out.with_name(f"{out.name}.dvc")
    if not pointer.is_file():
        return
    done = _run_dvc("status", "--json", str(pointer))
    if done.returncode:
        raise DataError(f"`dvc status {pointer}` failed: {_told(done)}")
    if json.loads(done.stdout) and not out.exists():
        raise DataError(
            f"{out} is missing, but {pointer} names it. Run `dvc pull {pointer}` first, which restores it, "
            "or run without --add to replace the dataset."
        )
    if json.loads(done.stdout):
        raise DataError(
            f"{out} differs from what {pointer} names. Run `dvc add {out}` first to keep it as it is, or "
            f"`dvc pull --force {pointer}` to discard the differences, or run without --add to replace the "
            "dataset."
        )


def put_under_dvc(folder: Path) -> None:
    """Run `dvc add` on a raw folder.

    Raises:
        DataError: DVC fails, for instance outside of a repository. The folder itself stays.
    """
    done = _run_dvc("add", str(folder))
    if done.returncode:
        raise DataError(f"{folder} was written, but `dvc add {folder}` failed: {_told(done)}")


def _run_dvc(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=False)


def _told(failed: subprocess.CompletedProcess[str]) -> str:
    """What DVC answered, and what to do."""
    answer = (failed.stderr + failed.stdout).strip()
    hint = "Run in the top folder of the repository, or add --no-dvc outside a repository."
    if "not a git repository" in answer:
        hint = "Without git, run `dvc config core.no_scm true` once, then this command again."
    return f"{answer}\n{hint}"


def _folders(dataset: RawDataset, out: Path) -> dict[Path, dict[str, Path]]:
    return {out / "images": dataset.images, out / "masks": dataset.masks}


def _holds_already(dataset: RawDataset, out: Path) -> bool:
    metadata = out / "metadata.csv"
    if not metadata.is_file() or metadata.read_bytes() != csv_text(dataset.metadata).encode():
        return False
    return all(_same_files(folder, files) for folder, files in _folders(dataset, out).items())


def _same_files(folder: Path, files: dict[str, Path]) -> bool:
    there = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return there == set(files) and all(
        filecmp.cmp(file, folder / name, shallow=False) for name, file in files.items()
    )
