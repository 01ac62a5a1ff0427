"""A cohort as one uint8 array with its index: decoded once, then read by every later stage.

A folder holds `images.npy` (num_images, size, size, 3), `index.parquet` (row i describes image i:
image_id, dataset, group_id, target, split, diagnosis_class) and `manifest.json`, written last, with the
digest of both.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma.config.data import Execution
from melanoma.data import images
from melanoma.data.crops import Box, Crop, Cutting
from melanoma.errors import DataError, ImageError, first_offenders
from melanoma.execution.mapping import imap
from melanoma.files import atomic_folder, read_json, read_parquet, require, write_json
from melanoma.fingerprint import sha256_of_file
from melanoma.schema import (
    CLASSES,
    INDEX_COLUMNS,
    SPLIT_COLUMNS,
    align,
    diagnosis_classes,
    require_columns,
)

IMAGES, INDEX, MANIFEST = "images.npy", "index.parquet", "manifest.json"
IMAGES_AT_ONCE = 512  # in memory while a digest is computed


@dataclass(frozen=True)
class Part:
    """Some images of an array that may be larger than memory.

    Attributes:
        images: Shape `(num_images_of_all_parts, size, size, 3)`, uint8, RGB; memory-mapped or not.
        rows: Shape `(n,)`: where the part's images lie in `images`.
        targets: Shape `(n,)`, float32, 1 = positive, 0 = negative.
        classes: Shape `(n,)`, int64, positions in `schema.CLASSES`; None where they were not packed.
        image_ids: Shape `(n,)`, each once: `rows`, `targets`, `classes` and `image_ids` describe the same
            images in the same order.
        images_digest: Hex digest that identifies `images`, where it is known.
    """

    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    classes: np.ndarray | None = None
    image_ids: np.ndarray = field(kw_only=True)
    images_digest: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse arrays of unlike length."""
        if not len(self.rows) == len(self.targets) == len(self.image_ids):
            raise ValueError(
                f"A part needs equal numbers of rows, targets and image_ids, got {len(self.rows)}, "
                f"{len(self.targets)} and {len(self.image_ids)}"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray | slice) -> np.ndarray:
        """Images `(len(positions), size, size, 3)` at `positions` of this part, in memory."""
        return self.images[self.rows[positions]]

    def digest(self, *, with_classes: bool) -> str:
        """Hex digest of pixels, targets and optionally classes.

        Pixels are read only where there is no `images_digest`.
        """
        digest = hashlib.sha256(np.ascontiguousarray(self.targets).tobytes())
        if with_classes and self.classes is not None:
            digest.update(np.ascontiguousarray(self.classes).tobytes())
        if self.images_digest is not None:
            digest.update(self.images_digest.encode() + np.ascontiguousarray(self.rows).tobytes())
            return digest.hexdigest()
        for start in range(0, len(self), IMAGES_AT_ONCE):
            digest.update(self.take(slice(start, start + IMAGES_AT_ONCE)).tobytes())
        return digest.hexdigest()

    def pictures(self, image_ids: Iterable[str]) -> np.ndarray:
        """Images `(len(image_ids), size, size, 3)` by their ids, in memory.

        Raises:
            DataError: An image is not in this part.
        """
        wanted = pd.Index(image_ids)
        positions = pd.Index(self.image_ids).get_indexer(wanted)
        missing = wanted[positions < 0]
        if len(missing):
            raise DataError(
                f"{len(missing)} of {len(wanted)} images are not among the {len(self)} packed images: "
                f"{first_offenders(missing)}. Run `dvc repro`."
            )
        return self.take(positions)

    def by_image(self, values: np.ndarray) -> pd.Series:
        """Values `(n,)` in the order of this part, for instance a network's scores, indexed by image_id."""
        return pd.Series(values, index=pd.Index(self.image_ids, name="image_id"))


@dataclass(frozen=True)
class Packed:
    """A cohort opened for reading.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB, memory-mapped.
        index: Row i describes image i; columns `schema.INDEX_COLUMNS`, or only `schema.SPLIT_COLUMNS` where
            the cohort was packed before classes were.
        digest: Hex digest of images and index: the identity of the data.
        is_synthetic: Whether any image is synthetic.
        crop: What was cut out of the pictures; None: they are whole.

    Raises:
        DataError: The index has another number of rows than there are images, was shuffled or filtered, or
            names an image twice.
    """

    images: np.ndarray
    index: pd.DataFrame
    digest: str
    is_synthetic: bool
    crop: Crop | None = None

    def __post_init__(self) -> None:
        """Refuse an index whose rows are not those of the array."""
        # Labels that are not 0, 1, 2, ... are left by a shuffle or a filter of the index alone.
        if not self.index.index.equals(pd.RangeIndex(len(self.images))):
            raise DataError(
                f"The index of a packed cohort must have the rows 0 to {len(self.images) - 1} in this "
                f"order, as its array has; it has {len(self.index)} rows, or others. Select parts with "
                "`Packed.part` or `Packed.at`, which keep images and rows together."
            )
        twice = self.index.loc[self.index["image_id"].duplicated(), "image_id"]
        if len(twice):
            raise DataError(
                f"A packed cohort must have each image once; {len(twice)} rows repeat an image: "
                f"{first_offenders(twice)}. Run `dvc repro --force pack`."
            )

    def by_image(self, values: np.ndarray) -> pd.Series:
        """Values `(num_images,)` in the order of `images`, for instance scores, indexed by image_id."""
        return pd.Series(values, index=pd.Index(self.index["image_id"], name="image_id"))

    def part(self, split: str) -> Part:
        """The images of one split; nothing is read yet."""
        return self.at(np.flatnonzero(self.index["split"] == split))

    def at(self, rows: np.ndarray) -> Part:
        """The images at some rows of the index."""
        classes = class_positions(self.index)
        return Part(
            self.images,
            rows,
            self.index["target"].to_numpy(np.float32)[rows],
            None if classes is None else classes[rows],
            image_ids=self.index["image_id"].to_numpy()[rows],
            images_digest=self.digest,
        )

    def rows_of(self, part: Part) -> pd.DataFrame:
        """The index of a part's images, in its order.

        Raises:
            DataError: The part has images that are not of this cohort.
        """
        mine = self.index[self.index["image_id"].isin(part.image_ids)].set_index("image_id")
        rows = align(mine, part.image_ids, what="The index of the packed cohort")
        return rows.reset_index()[list(self.index.columns)]


def class_positions(index: pd.DataFrame) -> np.ndarray | None:
    """Shape `(num_images,)`, int64: where the class of each image stands in `schema.CLASSES`.

    Returns:
        None where the index has no classes.

    Raises:
        DataError: It names a class that is not known.
    """
    if "diagnosis_class" not in index:
        return None
    positions = pd.Index(CLASSES).get_indexer(pd.Index(index["diagnosis_class"]))
    unknown = index.loc[positions < 0, "diagnosis_class"].unique()
    if len(unknown):
        raise DataError(
            f"The packed cohort has unknown classes: {first_offenders(unknown)}. Expected {list(CLASSES)}. "
            "Run `dvc repro --force pack`."
        )
    return np.asarray(positions, dtype=np.int64)


@dataclass(frozen=True)
class _Source:
    """The file of an image, what it held when it was inspected, and where it is cut."""

    path: Path
    sha256: str
    box: Box | None

    def __str__(self) -> str:
        return str(self.path)


def pack(
    assigned: pd.DataFrame,
    records: pd.DataFrame,
    out: Path,
    *,
    size: int,
    execution: Execution,
    cutting: Cutting | None = None,
) -> str:
    """Decode, cut and squash every image of `assigned` into `out`, in its order; memory stays flat.

    Args:
        assigned: Columns `schema.SPLIT_COLUMNS`.
        records: Accepted records of the cohort's datasets with `path`, `sha256` and `diagnosis`.
        out: The folder to write, whole or not at all.
        size: Side of the square in pixels.
        execution: `params.yaml: execution`. Workers read images and give pixels back; this process alone
            writes, so that they may run on other machines.
        cutting: What is cut out of the pictures; None: they stay whole.

    Returns:
        The digest of the packed cohort.

    Raises:
        DataError: An image has no record or several, is missing, unreadable, or not the one that was
            inspected.
    """
    known = records[["image_id", "path", "sha256", "is_synthetic"]].assign(
        diagnosis_class=diagnosis_classes(records["diagnosis"])
    )
    known = known[known["image_id"].isin(assigned["image_id"])].set_index("image_id")
    known = align(known, assigned["image_id"], what="The accepted records")
    rows = assigned.merge(known.reset_index(), on="image_id", validate="one_to_one")
    boxes = {} if cutting is None else cutting.boxes
    sources = (
        _Source(Path(str(row.path)), str(row.sha256), boxes.get(str(row.image_id)))
        for row in rows.itertuples()
    )
    margin_fraction = 0.0 if cutting is None else cutting.crop.margin_fraction
    with atomic_folder(out) as unfinished:
        squares = imap(
            partial(_load, size=size, margin_fraction=margin_fraction),
            sources,
            num_items=len(rows),
            execution=execution,
            description="pack",
        )
        images_sha256 = _write_images(squares, unfinished / IMAGES, shape=(len(rows), size, size, 3))
        rows[list(INDEX_COLUMNS)].to_parquet(unfinished / INDEX, index=False)
        digest = _digest(unfinished, images_sha256)
        is_synthetic = bool(rows["is_synthetic"].fillna(True).any())
        manifest: dict[str, Any] = {"digest": digest, "num_images": len(rows), "image_size": size}
        manifest["is_synthetic"] = is_synthetic
        if cutting is not None:
            num_cut = int(rows["image_id"].isin(list(boxes)).sum())
            manifest |= {"crop": cutting.crop.to_dict(), "num_whole": len(rows) - num_cut}
        write_json(manifest, unfinished / MANIFEST)
    return digest


def _load(source: _Source, *, size: int, margin_fraction: float) -> np.ndarray | str:
    """The pixels of an image; the problem, with the file's name, when there are none to be had."""
    try:
        encoded = images.read_bytes(source.path)
        if hashlib.sha256(encoded).hexdigest() != source.sha256:
            return f"{source} (changed since it was inspected)"
        if source.box is None:
            return images.load_square(encoded, size)
        return images.load_crop(encoded, size, source.box, margin_fraction=margin_fraction)
    except ImageError as error:
        return f"{source} ({error})"


def _write_images(squares: Iterable[np.ndarray | str], path: Path, *, shape: tuple[int, ...]) -> str:
    """Write pixels as they come; the SHA-256 of the file.

    Raises:
        DataError: There are problems among the pixels.
    """
    header, problems = io.BytesIO(), []
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    digest = hashlib.sha256(header.getvalue())
    with path.open("wb") as stream:
        # Not through a memory map: pages written there count as memory of the process.
        stream.write(header.getvalue())
        for square in squares:
            if isinstance(square, str):
                problems.append(square)
            else:
                pixels = square.tobytes()
                stream.write(pixels)
                digest.update(pixels)
    if problems:
        raise DataError(
            f"{len(problems)} of {shape[0]} images cannot be packed: {first_offenders(problems)}. Run `dvc "
            "repro` to inspect them again."
        )
    return digest.hexdigest()


def _digest(folder: Path, images_sha256: str | None = None) -> str:
    """Digest of a packed cohort; its images are read only where their SHA-256 is not known."""
    images_sha256 = images_sha256 or sha256_of_file(folder / IMAGES)
    return hashlib.sha256((images_sha256 + sha256_of_file(folder / INDEX)).encode()).hexdigest()


def open_packed(folder: Path, *, verified_digest: str | None = None) -> Packed:
    """Open a packed cohort and check it against its manifest and its digest.

    Args:
        folder: Folder that `pack` wrote.
        verified_digest: Digest of the cohort, where another process of the same run has just verified it. By
            default every byte is read to compute it (about a second for 20,000 images of 150 px).

    Raises:
        DataError: Missing, incomplete, not what was written, or packed again since it was verified.
    """
    manifest = _read_manifest(folder)
    for name in (IMAGES, INDEX):
        require(folder / name)
    array = _open_images(folder, manifest)
    if verified_digest is None:
        if _digest(folder) != manifest["digest"]:
            raise _unusable(folder, "has changed since it was packed: its digest differs")
    elif verified_digest != manifest["digest"]:
        raise DataError(f"{folder} was packed again while it was in use. Run `dvc repro` again.")
    index = read_parquet(folder / INDEX)
    require_columns(index, SPLIT_COLUMNS, folder / INDEX)
    if len(index) != len(array):
        raise _unusable(folder, f"has {len(array)} images, but its {INDEX} has {len(index)} rows")
    crop = Crop.from_dict(manifest.get("crop"))
    return Packed(array, index, str(manifest["digest"]), bool(manifest["is_synthetic"]), crop)


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    missing = {"digest", "num_images", "image_size", "is_synthetic"} - set(manifest)
    if missing:
        raise _unusable(folder, f"has a {MANIFEST} that lacks {sorted(missing)}")
    return manifest


def _open_images(folder: Path, manifest: dict[str, Any]) -> np.ndarray:
    """The array, mapped: bytes are read when pixels are asked for."""
    try:
        array: np.ndarray = np.load(folder / IMAGES, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise _unusable(folder, f"has an {IMAGES} that is truncated or not an array ({error})") from error
    size = manifest["image_size"]
    expected = (manifest["num_images"], size, size, 3)
    if array.shape != expected or array.dtype != np.uint8:
        raise _unusable(
            folder,
            f"has an {IMAGES} of {array.dtype} {array.shape}; its {MANIFEST} says uint8 {expected}",
        )
    return array


def _unusable(folder: Path, problem: str) -> DataError:
    return DataError(f"{folder} {problem}. Run `dvc repro --force pack@{folder.name}`.")
