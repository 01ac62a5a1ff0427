"""A cohort as uint8 arrays with their index: decoded once, then read by every later stage.

A folder holds `images_<size>.npy` (num_images, size, size, 3) for each size that a network takes,
`index.parquet` (row i describes image i: image_id, dataset, group_id, target, split, diagnosis_class) and
`manifest.json`, written last, with the digest of each array and one of everything.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma.data import classes as data_classes
from melanoma.data.crops import Crop
from melanoma.errors import DataError, first_offenders
from melanoma.files import read_json, read_parquet, require
from melanoma.fingerprint import sha256_of_file
from melanoma.schema import (
    MELANOMA,
    SPLIT_COLUMNS,
    align,
    positive_means,
    require_columns,
)

INDEX, MANIFEST = "index.parquet", "manifest.json"
IMAGES_AT_ONCE = 512  # in memory while a digest is computed


@dataclass(frozen=True)
class Part:
    """Some images of an array that may be larger than memory.

    Attributes:
        images: Shape `(num_images_of_all_parts, size, size, 3)`, uint8, RGB; memory-mapped or not.
        rows: Shape `(n,)`: where the part's images lie in `images`.
        targets: Shape `(n,)`, float32, 1 = positive, 0 = negative.
        classes: Shape `(n,)`, int64, positions in `class_names`, or `classes.NOT_TOLD`; None where they were
            not packed.
        image_ids: Shape `(n,)`, each once: `rows`, `targets`, `classes` and `image_ids` describe the same
            images in the same order.
        class_names: The classes that a network of the cohort tells apart, see `data.classes`.
        positive_classes: Positions of the positive ones in `class_names`.
        images_digest: Hex digest that identifies `images`, where it is known.
    """

    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    classes: np.ndarray | None = None
    image_ids: np.ndarray = field(kw_only=True)
    class_names: tuple[str, ...] = field(default=(), kw_only=True)
    positive_classes: tuple[int, ...] = field(default=(), kw_only=True)
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

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return int(self.images.shape[1])

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
            digest.update(repr((self.class_names, self.positive_classes)).encode())
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
class Pixels:
    """The images of a cohort at one size.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB, memory-mapped.
        sha256: Hex digest of their file.
    """

    images: np.ndarray
    sha256: str


@dataclass(frozen=True)
class Packed:
    """A cohort opened for reading, at one of the sizes that are packed.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB, memory-mapped.
        index: Row i describes image i; columns `schema.INDEX_COLUMNS`, or only `schema.SPLIT_COLUMNS` where
            the cohort was packed before classes were.
        digest: Hex digest of the images of all sizes and the index: the identity of the data.
        is_synthetic: Whether any image is synthetic.
        crop: What was cut out of the pictures; None: they are whole.
        positive: Classes that the targets call positive.
        sizes: The pixels of every packed size, `images` included, by their side.

    Raises:
        DataError: The index has another number of rows than there are images, was shuffled or filtered, or
            names an image twice.
    """

    images: np.ndarray
    index: pd.DataFrame
    digest: str
    is_synthetic: bool
    crop: Crop | None = None
    positive: Sequence[str] = field(default=(MELANOMA,), kw_only=True)
    sizes: Mapping[int, Pixels] = field(default_factory=dict, kw_only=True)

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

    @property
    def positive_means(self) -> str:
        """What `positive` means, in words."""
        return positive_means(self.positive)

    @property
    def image_size(self) -> int:
        """Side of `images` in pixels."""
        return int(self.images.shape[1])

    def has_size(self, size: int) -> bool:
        """Whether the cohort was packed at this size."""
        return size == self.image_size or size in self.sizes

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes that a network tells apart, see `data.classes`; empty where they were not packed.

        Raises:
            DataError: The index names a class that is not known.
        """
        if "diagnosis_class" not in self.index:
            return ()
        return data_classes.present(self.index, self.positive)

    @property
    def positive_classes(self) -> tuple[str, ...]:
        """Those of `classes` that are positive."""
        return tuple(name for name in self.classes if name in self.positive)

    def of_size(self, size: int) -> "Packed":
        """The same cohort with the images that a network of this size takes.

        Raises:
            DataError: The cohort was not packed at this size.
        """
        if size == self.image_size:
            return self
        if not self.has_size(size):
            packed = ", ".join(str(side) for side in sorted(self.sizes) or [self.image_size])
            raise DataError(
                f"The cohort is packed at {packed} pixels, and a network takes {size}. Name this size in "
                "params.yaml (image_size of baseline, backbone or a search space) and run `dvc repro`."
            )
        return replace(self, images=self.sizes[size].images)

    def by_image(self, values: np.ndarray) -> pd.Series:
        """Values `(num_images,)` in the order of `images`, for instance scores, indexed by image_id."""
        return pd.Series(values, index=pd.Index(self.index["image_id"], name="image_id"))

    def part(self, split: str) -> Part:
        """The images of one split; nothing is read yet."""
        return self.at(np.flatnonzero(self.index["split"] == split))

    def at(self, rows: np.ndarray) -> Part:
        """The images at some rows of the index."""
        names, classes = self.classes, None
        if "diagnosis_class" in self.index:
            classes = data_classes.positions(self.index, names, self.positive)
        pixels = self.sizes.get(self.image_size)
        return Part(
            self.images,
            rows,
            self.index["target"].to_numpy(np.float32)[rows],
            None if classes is None else classes[rows],
            image_ids=self.index["image_id"].to_numpy()[rows],
            class_names=names,
            positive_classes=tuple(at for at, name in enumerate(names) if name in self.positive),
            images_digest=self.digest if pixels is None else pixels.sha256,
        )

    def rows_of(self, part: Part) -> pd.DataFrame:
        """The index of a part's images, in its order.

        Raises:
            DataError: The part has images that are not of this cohort.
        """
        mine = self.index[self.index["image_id"].isin(part.image_ids)].set_index("image_id")
        rows = align(mine, part.image_ids, what="The index of the packed cohort")
        return rows.reset_index()[list(self.index.columns)]


def images_name(size: int) -> str:
    """Name of the file with the images of a size."""
    return f"images_{size}.npy"


def digest_of(folder: Path, sha256_of_size: Mapping[int, str]) -> str:
    """Digest of a packed cohort: of the images of all sizes, and of its index."""
    digests = [*(sha256_of_size[size] for size in sorted(sha256_of_size)), sha256_of_file(folder / INDEX)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def open_packed(folder: Path, *, verified_digest: str | None = None) -> Packed:
    """Open a packed cohort at its smallest size and check it against its manifest and its digest.

    Args:
        folder: Folder that `pack` wrote.
        verified_digest: Digest of the cohort, where another process of the same run has just verified it. By
            default every byte is read to compute it (about a second for 20,000 images of 150 px).

    Raises:
        DataError: Missing, incomplete, not what was written, or packed again since it was verified.
    """
    manifest = _read_manifest(folder)
    sha256_of_size = {int(size): sha256 for size, sha256 in manifest["sha256_of_size"].items()}
    for name in (*(images_name(size) for size in sha256_of_size), INDEX):
        require(folder / name)
    sizes = {
        size: Pixels(_open_images(folder, size, manifest["num_images"]), sha256_of_size[size])
        for size in sorted(sha256_of_size)
    }
    if verified_digest is None:
        found = {size: sha256_of_file(folder / images_name(size)) for size in sizes}
        if found != sha256_of_size or digest_of(folder, found) != manifest["digest"]:
            raise _unusable(folder, "has changed since it was packed: its digest differs")
    elif verified_digest != manifest["digest"]:
        raise DataError(f"{folder} was packed again while it was in use. Run `dvc repro` again.")
    smallest = sizes[min(sizes)].images
    index = read_parquet(folder / INDEX)
    require_columns(index, SPLIT_COLUMNS, folder / INDEX)
    if len(index) != len(smallest):
        raise _unusable(folder, f"has {len(smallest)} images, but its {INDEX} has {len(index)} rows")
    crop = Crop.from_dict(manifest.get("crop"))
    is_synthetic = bool(manifest["is_synthetic"])
    positive = tuple(manifest["positive"])
    return Packed(
        smallest, index, str(manifest["digest"]), is_synthetic, crop, positive=positive, sizes=sizes
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    missing = {"digest", "num_images", "sha256_of_size", "is_synthetic", "positive"} - set(manifest)
    if missing:
        raise _unusable(folder, f"has a {MANIFEST} that lacks {sorted(missing)}")
    if not manifest["sha256_of_size"]:
        raise _unusable(folder, f"has a {MANIFEST} without images of any size")
    return manifest


def _open_images(folder: Path, size: int, num_images: int) -> np.ndarray:
    """The array, mapped: bytes are read when pixels are asked for."""
    name = images_name(size)
    try:
        array: np.ndarray = np.load(folder / name, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise _unusable(folder, f"has an {name} that is truncated or not an array ({error})") from error
    expected = (num_images, size, size, 3)
    if array.shape != expected or array.dtype != np.uint8:
        raise _unusable(
            folder,
            f"has an {name} of {array.dtype} {array.shape}; its {MANIFEST} says uint8 {expected}",
        )
    return array


def _unusable(folder: Path, problem: str) -> DataError:
    return DataError(f"{folder} {problem}. Run `dvc repro --force pack@{folder.name}`.")
