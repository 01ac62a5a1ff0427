"""Images with lesion masks drawn by people, and the boxes around lesions."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma.config.data import Execution
from melanoma.data import crops, images, masks
from melanoma.errors import DataError, ImageError, first_offenders
from melanoma.execution.mapping import imap
from melanoma.files import read_parquet
from melanoma.schema import align, require_columns

NO_MASK = "no mask"
OTHER_GEOMETRY = "the mask and the image differ in size"
NO_LESION = "no lesion found"
EDGES = ("left", "top", "right", "bottom")
# One row per image and crop (`mask`, `unet`); edges are missing where there is no box, `problem` says why.
BOX_COLUMNS = ("image_id", "crop", *EDGES, "problem", "segmenter_sha256")


@dataclass(frozen=True)
class Pairs:
    """Images and lesion masks, both resized to the same square.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB.
        lesions: Shape `(num_images, size, size)`, bool; empty where there is no usable mask.
        problems: None for each usable mask, else the reason why it is not.
        image_ids: Shape `(num_images,)`, each once: all four describe the same images in the same order.
    """

    images: np.ndarray
    lesions: np.ndarray
    problems: Sequence[str | None]
    image_ids: np.ndarray = field(kw_only=True)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_mask(self) -> np.ndarray:
        """Shape `(num_images,)`, bool."""
        return np.array([problem is None for problem in self.problems], dtype=bool)

    def take(self, chosen: np.ndarray) -> "Pairs":
        """Those at `chosen`: positions, or shape `(num_images,)`, bool."""
        positions = np.arange(len(self))[chosen]
        problems = [self.problems[position] for position in positions]
        return Pairs(
            self.images[positions],
            self.lesions[positions],
            problems,
            image_ids=self.image_ids[positions],
        )


@dataclass(frozen=True)
class _Source:
    """The files of an image, and what the picture held when it was inspected."""

    path: Path
    sha256: str
    mask: Path | None

    def __str__(self) -> str:
        return str(self.path)


def read_pairs(assigned: pd.DataFrame, records: pd.DataFrame, *, size: int, execution: Execution) -> Pairs:
    """Every image of `assigned`, in its order, with its mask; all in memory (37 kB an image of 96 px).

    Args:
        assigned: Column `image_id`.
        records: Columns `image_id`, `path`, `sha256`, `mask_path`.
        size: Side of the square in pixels.
        execution: `params.yaml: execution`.

    Raises:
        DataError: An image has no record or several, is missing, unreadable, or has changed since it was
            inspected. A mask may be missing or broken.
    """
    image_ids, loaded = _read(_load_pair, assigned, records, size=size, execution=execution)
    return Pairs(
        np.stack([picture for picture, _, _ in loaded]),
        np.stack([lesion for _, lesion, _ in loaded]),
        [problem for _, _, problem in loaded],
        image_ids=image_ids,
    )


def mask_boxes(
    assigned: pd.DataFrame,
    records: pd.DataFrame,
    *,
    size: int,
    min_lesion_fraction: float,
    execution: Execution,
) -> pd.DataFrame:
    """Box around the mask of every image of `assigned`, in its order; only masks are decoded.

    Args:
        assigned: See `read_pairs`.
        records: See `read_pairs`.
        size: Side in pixels of the square in which a box is found.
        min_lesion_fraction: See `crops.find_box`.
        execution: `params.yaml: execution`.

    Returns:
        Columns `BOX_COLUMNS`.

    Raises:
        DataError: See `read_pairs`.
    """
    image_ids, loaded = _read(_load_mask, assigned, records, size=size, execution=execution)
    return boxes(
        image_ids,
        [lesion for lesion, _ in loaded],
        [problem for _, problem in loaded],
        crop=crops.MASK,
        min_lesion_fraction=min_lesion_fraction,
    )


def _read(
    load: Callable[..., Any],
    assigned: pd.DataFrame,
    records: pd.DataFrame,
    *,
    size: int,
    execution: Execution,
) -> tuple[np.ndarray, list[Any]]:
    """Image ids of `assigned`, and what `load` gives for each."""
    known = records[records["image_id"].isin(assigned["image_id"])].set_index("image_id")
    rows = align(known, assigned["image_id"], what="The accepted records")
    sources = [
        _Source(Path(str(path)), str(sha256), None if pd.isna(mask) else Path(mask))
        for path, sha256, mask in rows[["path", "sha256", "mask_path"]].itertuples(index=False)
    ]
    loaded = list(
        imap(
            partial(load, size=size),
            sources,
            num_items=len(rows),
            execution=execution,
            description="segment",
        )
    )
    problems = [one for one in loaded if isinstance(one, str)]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(rows)} images cannot be read: {first_offenders(problems)}. Run `dvc "
            "repro` to inspect them again."
        )
    return rows.index.to_numpy(), loaded


def _load_pair(source: _Source, *, size: int) -> tuple[np.ndarray, np.ndarray, str | None] | str:
    """Picture, lesion and the problem of the mask; or the problem of the picture."""
    try:
        encoded = _read_unchanged(source)
        return images.load_square(encoded, size), *_load_lesion(source.mask, encoded, size)
    except ImageError as error:
        return f"{source} ({error})"


def _load_mask(source: _Source, *, size: int) -> tuple[np.ndarray, str | None] | str:
    """Lesion and the problem of the mask; or the problem of the picture, of which only the header is read."""
    try:
        return _load_lesion(source.mask, _read_unchanged(source), size)
    except ImageError as error:
        return f"{source} ({error})"


def _read_unchanged(source: _Source) -> bytes:
    encoded = images.read_bytes(source.path)
    if hashlib.sha256(encoded).hexdigest() != source.sha256:
        raise ImageError("changed since it was inspected")
    return encoded


def _load_lesion(path: Path | None, encoded: bytes, size: int) -> tuple[np.ndarray, str | None]:
    """The lesion in the picture `encoded`; an empty one and the reason where the mask cannot be used."""
    picture_size = images.upright_size(images.open_image(encoded))
    empty = np.zeros((size, size), bool)
    if path is None:
        return empty, NO_MASK
    try:
        if images.upright_size(images.open_image(images.read_bytes(path))) != picture_size:
            return empty, OTHER_GEOMETRY
        lesion = masks.load_lesion(path, size)
    except ImageError as error:
        return empty, f"the mask is broken ({error})"
    return (lesion, None) if lesion.any() else (empty, NO_LESION)


def boxes(
    image_ids: Iterable[str],
    lesions: Iterable[np.ndarray],
    problems: Sequence[str | None],
    *,
    crop: str,
    min_lesion_fraction: float,
    segmenter_sha256: str | None = None,
) -> pd.DataFrame:
    """Box of each lesion, columns `BOX_COLUMNS`.

    Args:
        image_ids: Shape `(num_images,)`, in the order of `lesions` and `problems`.
        lesions: Shape `(num_images, height, width)`, bool.
        problems: Why there is no lesion, where that is known; else None.
        crop: Who drew the lesions: `mask` or `unet`.
        min_lesion_fraction: See `crops.find_box`.
        segmenter_sha256: Digest of the exported U-Net that found the lesions.
    """
    rows = []
    for image_id, lesion, problem in zip(image_ids, lesions, problems, strict=True):
        box = None if problem else crops.find_box(lesion, min_lesion_fraction=min_lesion_fraction)
        edges = dict.fromkeys(EDGES, np.nan) if box is None else vars(box)
        rows.append(
            {"image_id": image_id, **edges, "problem": problem or (NO_LESION if box is None else None)}
        )
    table = pd.DataFrame(rows).assign(crop=crop, segmenter_sha256=segmenter_sha256)
    return table.astype({"problem": "string", "segmenter_sha256": "string"})[list(BOX_COLUMNS)]


def no_boxes() -> pd.DataFrame:
    """An empty table of boxes."""
    return pd.DataFrame(columns=list(BOX_COLUMNS)).astype(
        dict.fromkeys(BOX_COLUMNS, "string") | dict.fromkeys(EDGES, "float64")
    )


def overlap(found: np.ndarray, lesions: np.ndarray) -> pd.DataFrame:
    """Overlap of found and true lesions, by image.

    Args:
        found: Shape `(num_images, height, width)`, bool.
        lesions: Shape of `found`, bool: true lesions.

    Returns:
        Columns `dice` (twice the common area by the sum of both) and `jaccard` (the common area by that of
        their union); 1 where they are equal, 0 where they have nothing in common, nan where both are empty.
    """
    common = (found & lesions).sum(axis=(1, 2))
    both = found.sum(axis=(1, 2)) + lesions.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"dice": 2 * common / both, "jaccard": common / (both - common)})


def read_cutting(
    path: Path, kind: str, *, image_ids: Iterable[str], margin_fraction: float, min_lesion_fraction: float
) -> crops.Cutting | None:
    """How each picture is cropped; None for `none`: then nothing is read.

    Args:
        path: Table of the stage `segment`.
        kind: `none`, `mask` or `unet`.
        image_ids: Images of the cohort. Each must have a row, also where nothing is cropped.
        margin_fraction: See `crops.Crop`.
        min_lesion_fraction: Fraction by which the boxes were found, see `crops.Crop`.

    Raises:
        DataError: The table is missing, lacks a column or has no row of this kind, or not one row of this
            kind for each image: an image without a row would silently stay whole.
    """
    if kind == crops.NONE:
        return None
    table = read_parquet(path)
    require_columns(table, BOX_COLUMNS, path)
    rows = table[table["crop"] == kind]
    if rows.empty:
        raise DataError(f"{path} has no boxes for pack.crop: {kind}. Run `dvc repro segment`.")
    wanted = pd.Index(image_ids)
    rows = rows[rows["image_id"].isin(wanted)].set_index("image_id")
    rows = align(rows, wanted, what=f"The boxes for the crop {kind!r} in {path}").reset_index()
    return cutting(rows, kind, margin_fraction=margin_fraction, min_lesion_fraction=min_lesion_fraction)


def cutting(
    table: pd.DataFrame, kind: str, *, margin_fraction: float, min_lesion_fraction: float
) -> crops.Cutting:
    """How each picture is cropped by a table of boxes of one kind; see `read_cutting`."""
    digests = table["segmenter_sha256"].dropna().unique()
    crop = crops.Crop(kind, margin_fraction, min_lesion_fraction, str(digests[0]) if len(digests) else None)
    found = table[table["problem"].isna()].set_index("image_id")[list(EDGES)]
    return crops.Cutting(
        crop, {str(row.Index): crops.Box(*map(float, row[1:])) for row in found.itertuples()}
    )
