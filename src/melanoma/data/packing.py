"""Writes a packed cohort: every image decoded once, at all sizes that networks take; see `packed`."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from melanoma.config.data import Execution
from melanoma.data import images
from melanoma.data.crops import Box, Cutting
from melanoma.data.packed import INDEX, MANIFEST, digest_of, images_name
from melanoma.errors import DataError, ImageError, first_offenders
from melanoma.execution.mapping import imap
from melanoma.files import atomic_folder, write_json
from melanoma.schema import INDEX_COLUMNS, MELANOMA, align, diagnosis_classes, positive_means

DIGEST_SIZE = 150  # of the pixels by which a picture is known; fixed, because the ledger keeps the digests


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
    sizes: Sequence[int],
    execution: Execution,
    cutting: Cutting | None = None,
    positive: Sequence[str] = (MELANOMA,),
) -> str:
    """Decode, cut and squash every image of `assigned` into `out`, in its order; memory stays flat.

    Args:
        assigned: Columns `schema.SPLIT_COLUMNS`.
        records: Accepted records of the cohort's datasets with `path`, `sha256` and `diagnosis`.
        out: The folder to write, whole or not at all.
        sizes: Sides of the squares in pixels, rising. A picture is read once for all of them.
        execution: `params.yaml: execution`. Workers read images and give pixels back; this process alone
            writes, so that they may run on other machines.
        cutting: What is cut out of the pictures; None: they stay whole.
        positive: Classes that the targets call positive, of `schema.CLASSES`.

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
    with atomic_folder(out) as unfinished:
        loaded = _load_all(rows, sizes, execution, cutting)
        sha256_of_size, digests = _write_images(loaded, unfinished, num_images=len(rows), sizes=sizes)
        rows.assign(picture_digest=digests)[list(INDEX_COLUMNS)].to_parquet(unfinished / INDEX, index=False)
        digest = digest_of(unfinished, sha256_of_size)
        manifest: dict[str, Any] = {"digest": digest, "num_images": len(rows)}
        manifest["sha256_of_size"] = {str(size): sha256 for size, sha256 in sha256_of_size.items()}
        manifest["is_synthetic"] = bool(rows["is_synthetic"].fillna(True).any())
        manifest |= {"positive": list(positive), "positive_means": positive_means(positive)}
        if cutting is not None:
            num_cut = int(rows["image_id"].isin(list(cutting.boxes)).sum())
            manifest |= {"crop": cutting.crop.to_dict(), "num_whole": len(rows) - num_cut}
        write_json(manifest, unfinished / MANIFEST)
    return digest


@dataclass(frozen=True)
class _Loaded:
    """The pixels of an image at all sizes, and the digest of the whole picture."""

    squares: list[np.ndarray]
    digest: str


def _load_all(
    rows: pd.DataFrame, sizes: Sequence[int], execution: Execution, cutting: Cutting | None
) -> Iterator[_Loaded | str]:
    """Each row's image, or the problem with its file."""
    boxes = {} if cutting is None else cutting.boxes
    sources = (
        _Source(Path(str(row.path)), str(row.sha256), boxes.get(str(row.image_id)))
        for row in rows.itertuples()
    )
    margin_fraction = 0.0 if cutting is None else cutting.crop.margin_fraction
    load = partial(_load, sizes=sizes, margin_fraction=margin_fraction)
    return imap(load, sources, num_items=len(rows), execution=execution, description="pack")


def _load(source: _Source, *, sizes: Sequence[int], margin_fraction: float) -> _Loaded | str:
    """An image; the problem, with the file's name, when there are no pixels to be had."""
    try:
        encoded = images.read_bytes(source.path)
        if hashlib.sha256(encoded).hexdigest() != source.sha256:
            return f"{source} (changed since it was inspected)"
        wanted = sorted({*sizes, DIGEST_SIZE})
        whole = dict(zip(wanted, images.load_squares(encoded, wanted), strict=True))
        digest = hashlib.sha256(whole[DIGEST_SIZE].tobytes()).hexdigest()[:32]
        if source.box is None:
            return _Loaded([whole[size] for size in sizes], digest)
        cut = images.load_squares(encoded, sizes, source.box, margin_fraction=margin_fraction)
        return _Loaded(cut, digest)
    except ImageError as error:
        return f"{source} ({error})"


def _write_images(
    loaded: Iterable[_Loaded | str], folder: Path, *, num_images: int, sizes: Sequence[int]
) -> tuple[dict[int, str], list[str]]:
    """Write pixels as they come; the SHA-256 of the file of each size, and the digest of each picture.

    Raises:
        DataError: There are problems among the pixels.
    """
    problems, digests = [], []
    with ExitStack() as stack:
        arrays = [
            stack.enter_context(_Array(folder / images_name(size), (num_images, size, size, 3)))
            for size in sizes
        ]
        for image in loaded:
            if isinstance(image, str):
                problems.append(image)
                continue
            digests.append(image.digest)
            for array, pixels in zip(arrays, image.squares, strict=True):
                array.write(pixels.tobytes())
    if problems:
        raise DataError(
            f"{len(problems)} of {num_images} images cannot be packed: {first_offenders(problems)}. Run `dvc "
            "repro` to inspect them again."
        )
    return {size: array.sha256.hexdigest() for size, array in zip(sizes, arrays, strict=True)}, digests


class _Array:
    """A uint8 array that is written image by image as numpy would save it.

    Not through a memory map: pages written there count as memory of the process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._stream = path.open("wb")
        self.sha256 = hashlib.sha256()
        header, content = io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, content)
        self.write(header.getvalue())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stream.close()

    def write(self, content: bytes) -> None:
        self._stream.write(content)
        self.sha256.update(content)
