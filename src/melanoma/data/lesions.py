"""Pictures with the masks that people drew over their lesions, and the boxes around those."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma.config.data import Execution
from melanoma.data import crops, images, masks
from melanoma.errors import DataError, ImageError, first_offenders
from melanoma.execution.mapping import imap
from melanoma.files import read_parquet
from melanoma.schema import align, require_columns

NO_MASK = "no mask"
OTHER_GEOMETRY = "the mask has another size than its picture"
NO_LESION = "no lesion found"
EDGES = ("left", "top", "right", "bottom")
# One row an image and way (`mask`, `unet`); edges are missing where nothing is to be cut, `problem` says why.
BOX_COLUMNS = ("image_id", "crop", *EDGES, "problem", "segmenter_sha256")


@dataclass(frozen=True)
class Pairs:
    """Pictures and where their lesions are, both squashed to the same square.

    Attributes:
        images: Shape `(num_images, size, size, 3)`, uint8, RGB.
        lesions: Shape `(num_images, size, size)`, bool; empty where there is no usable mask.
        problems: Of each mask: None where it is usable, else why not.
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
    """Every image of `assigned`, in its order, with its mask; all lie in memory (37 kB an image of 96 px).

    Args:
        assigned: Column `image_id`.
        records: Columns `image_id`, `path`, `sha256`, `mask_path`.
        size: Side of the square in pixels.
        execution: `params.yaml: execution`.

    Raises:
        DataError: A picture has no record or several, is missing, unreadable, or not the one that was
            inspected. A mask may be.
    """
    known = records[records["image_id"].isin(assigned["image_id"])].set_index("image_id")
    rows = align(known, assigned["image_id"], what="The accepted records")
    sources = [
        _Source(Path(str(path)), str(sha256), None if pd.isna(mask) else Path(mask))
        for path, sha256, mask in rows[["path", "sha256", "mask_path"]].itertuples(index=False)
    ]
    load = partial(_load, size=size)
    loaded = list(imap(load, sources, num_items=len(rows), execution=execution, description="segment"))
    problems = [one for one in loaded if isinstance(one, str)]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(rows)} images cannot be read: {first_offenders(problems)}. "
            "Run `dvc repro` so that they are inspected again."
        )
    pairs = [one for one in loaded if not isinstance(one, str)]
    return Pairs(
        np.stack([picture for picture, _, _ in pairs]),
        np.stack([lesion for _, lesion, _ in pairs]),
        [problem for _, _, problem in pairs],
        image_ids=rows.index.to_numpy(),
    )


def _load(source: _Source, *, size: int) -> tuple[np.ndarray, np.ndarray, str | None] | str:
    """Picture, lesion and the mask's problem; or the picture's."""
    try:
        encoded = images.read_bytes(source.path)
        if hashlib.sha256(encoded).hexdigest() != source.sha256:
            return f"{source} (changed since it was inspected)"
        picture = images.load_square(encoded, size)
    except ImageError as error:
        return f"{source} ({error})"
    lesion, problem = _load_lesion(source.mask, images.upright_size(images.open_image(encoded)), size)
    return picture, lesion, problem


def _load_lesion(
    path: Path | None, picture_size: tuple[int, int], size: int
) -> tuple[np.ndarray, str | None]:
    """The lesion; where the mask cannot be used, an empty one and why."""
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
    lesions: np.ndarray,
    problems: Sequence[str | None],
    *,
    min_lesion_fraction: float,
) -> pd.DataFrame:
    """The box of each lesion: columns `image_id`, the edges and `problem`.

    Args:
        image_ids: Of `num_images` images, in the order of `lesions` and `problems`.
        lesions: Shape `(num_images, height, width)`, bool.
        problems: Known already, else None.
        min_lesion_fraction: See `crops.find_box`.
    """
    rows = []
    for image_id, lesion, problem in zip(image_ids, lesions, problems, strict=True):
        box = None if problem else crops.find_box(lesion, min_lesion_fraction=min_lesion_fraction)
        edges = dict.fromkeys(EDGES, np.nan) if box is None else vars(box)
        found_nothing = NO_LESION if box is None else None
        rows.append({"image_id": image_id, **edges, "problem": problem or found_nothing})
    return pd.DataFrame(rows, columns=["image_id", *EDGES, "problem"]).astype({"problem": "string"})


def overlap(found: np.ndarray, lesions: np.ndarray) -> pd.DataFrame:
    """How well what was found covers the lesion, by image.

    Args:
        found: Shape `(num_images, height, width)`, bool.
        lesions: Likewise.

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
    """What is cut out of each picture; None for `none`: then nothing is read.

    Args:
        path: The table that the stage `segment` wrote.
        kind: `none`, `mask` or `unet`.
        image_ids: Images of the cohort. Each must have a row, also where nothing is cut.
        margin_fraction: See `crops.Crop`.
        min_lesion_fraction: Likewise; that by which the boxes were found.

    Raises:
        DataError: The table is missing, lacks a column or has no row of this kind, or not one row of this
            kind for each picture: without a row a picture would stay whole, and nobody would know.
    """
    if kind == crops.NONE:
        return None
    table = read_parquet(path)
    require_columns(table, BOX_COLUMNS, path)
    rows = table[table["crop"] == kind]
    if rows.empty:
        raise DataError(f"{path} has no boxes for the crop {kind!r}. Run `dvc repro segment`.")
    digests = rows["segmenter_sha256"].dropna().unique()
    wanted = pd.Index(image_ids)
    mine = rows[rows["image_id"].isin(wanted)].set_index("image_id")
    mine = align(mine, wanted, what=f"The boxes for the crop {kind!r} in {path}")
    crop = crops.Crop(kind, margin_fraction, min_lesion_fraction, str(digests[0]) if len(digests) else None)
    cut = mine.loc[mine["problem"].isna(), list(EDGES)]
    boxes_of = {str(row.Index): crops.Box(*map(float, row[1:])) for row in cut.itertuples()}
    return crops.Cutting(crop, boxes_of)
