"""A cohort as one uint8 array with its index: decoded once, then read by every later stage.

A folder holds `images.npy` (num_images, size, size, 3), `index.parquet` (row i describes image i:
image_id, dataset, group_id, target, split) and `manifest.json`, written last, with the digest of both.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma.data import images
from melanoma.errors import DataError, ImageError, first_offenders
from melanoma.execution import map_processes
from melanoma.files import atomic_folder, read_json, read_parquet, require, sha256_of_file, write_json
from melanoma.schema import SPLIT_COLUMNS

IMAGES, INDEX, MANIFEST = "images.npy", "index.parquet", "manifest.json"


@dataclass(frozen=True)
class Packed:
    """A cohort opened for reading.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB, memory-mapped.
        index: Row i describes image i; columns `schema.SPLIT_COLUMNS`.
        digest: Hex digest of images and index: the identity of the data.
        is_synthetic: Whether any image is synthetic.
    """

    images: np.ndarray
    index: pd.DataFrame
    digest: str
    is_synthetic: bool

    def take(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images `(n, size, size, 3)` uint8 and targets `(n,)` float32 of one split, in memory."""
        rows = np.flatnonzero(self.index["split"] == split)
        return self.images[rows], self.index["target"].to_numpy(np.float32)[rows]


@dataclass(frozen=True)
class _Cell:
    """One image to decode into one row of the array."""

    path: Path
    sha256: str
    array: Path
    row: int
    size: int


def pack(assigned: pd.DataFrame, records: pd.DataFrame, out: Path, *, size: int, num_workers: int) -> str:
    """Decode and squash every image of `assigned` into `out`, in its order.

    Args:
        assigned: Columns `schema.SPLIT_COLUMNS`.
        records: Accepted records of the cohort's datasets with `path` and `sha256`.
        out: The folder to write, whole or not at all.
        size: Side of the square in pixels.
        num_workers: See `execution.map_processes`.

    Returns:
        The digest of the packed cohort.

    Raises:
        DataError: An image is missing, unreadable, or not the one that was inspected.
    """
    rows = assigned.merge(records[["image_id", "path", "sha256", "is_synthetic"]], on="image_id", how="left")
    with atomic_folder(out) as unfinished:
        shape = (len(rows), size, size, 3)
        np.lib.format.open_memmap(unfinished / IMAGES, "w+", np.uint8, shape).flush()
        cells = [
            _Cell(Path(str(row.path)), str(row.sha256), unfinished / IMAGES, number, size)
            for number, row in enumerate(rows.itertuples())
        ]
        problems = map_processes(_fill, cells, num_workers=num_workers, description="pack")
        bad = [problem for problem in problems if problem is not None]
        if bad:
            raise DataError(
                f"{len(bad)} of {len(rows)} images cannot be packed: {first_offenders(bad)}. "
                "Run `dvc repro` so that they are inspected again."
            )
        rows[list(SPLIT_COLUMNS)].to_parquet(unfinished / INDEX, index=False)
        digest = _digest(unfinished)
        is_synthetic = bool(rows["is_synthetic"].fillna(True).any())
        manifest = {"digest": digest, "num_images": len(rows), "image_size": size}
        write_json(manifest | {"is_synthetic": is_synthetic}, unfinished / MANIFEST)
    return digest


def _fill(cell: _Cell) -> str | None:
    """Decode one image into its row; the problem, with the file's name, when that cannot be done."""
    try:
        encoded = images.read_bytes(cell.path)
        if hashlib.sha256(encoded).hexdigest() != cell.sha256:
            return f"{cell.path} (changed since it was inspected)"
        pixels = images.load_square(encoded, cell.size)
    except ImageError as error:
        return f"{cell.path} ({error})"
    array = np.lib.format.open_memmap(cell.array, "r+")
    array[cell.row] = pixels
    return None


def _digest(folder: Path) -> str:
    parts = sha256_of_file(folder / IMAGES) + sha256_of_file(folder / INDEX)
    return hashlib.sha256(parts.encode()).hexdigest()


def open_packed(folder: Path) -> Packed:
    """Open a packed cohort and check it against its digest.

    Raises:
        DataError: Missing, incomplete, or not what was written.
    """
    manifest = read_json(folder / MANIFEST)
    require(folder / IMAGES)
    require(folder / INDEX)
    if _digest(folder) != manifest.get("digest"):
        raise DataError(
            f"{folder} is not what was packed (its digest differs). "
            f"Run `dvc repro --force pack@{folder.name}`."
        )
    array = np.load(folder / IMAGES, mmap_mode="r")
    index = read_parquet(folder / INDEX)
    return Packed(array, index, str(manifest["digest"]), bool(manifest["is_synthetic"]))
