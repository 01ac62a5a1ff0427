"""What each image file really is: measured from its bytes, one row an image.

A file that cannot be read or decoded becomes a row that says so (`decodes` false, `problem` the
reason, measures missing), never an exception.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from melanoma.data import images
from melanoma.errors import DataError, ImageError, first_offenders
from melanoma.execution import map_processes

THUMBNAIL_SIDE = 48  # pixels; small enough to keep, fine enough to tell lesions apart

FACT_DTYPES = {
    "image_id": "string",
    "decodes": "boolean",
    "problem": "string",  # why it does not decode
    "format": "string",  # by content, not by file name
    "mode": "string",
    "width": "Int64",
    "height": "Int64",
    "num_bytes": "Int64",
    "sha256": "string",  # of the file
    "pixels_sha256": "string",  # of the decoded RGB pixels and their shape
    "sharpness": "Float64",  # variance of the Laplacian of grey, at the working size
    "brightness": "Float64",  # mean grey, 0..1
    "contrast": "Float64",  # standard deviation of grey, 0..1
    "phashes": "object",  # 8 perceptual hashes as 64-bit integers, one an orientation
    "thumbnail": "object",  # THUMBNAIL_SIDE x THUMBNAIL_SIDE grey bytes
}


@dataclass(frozen=True)
class ImageFile:
    """One file to inspect."""

    image_id: str
    path: Path
    working_size: int


def inspect_images(
    records: pd.DataFrame, *, root: Path, working_size: int, num_workers: int, description: str
) -> pd.DataFrame:
    """Facts of every image of `records`, in their order, over processes.

    Args:
        records: Columns `image_id` and `path` (relative to `root`).
        root: The top of the repository.
        working_size: Side in pixels of the square on which sharpness, brightness and contrast are
            measured, so that they compare across resolutions.
        num_workers: See `execution.map_processes`.
        description: Of the progress bar.

    Returns:
        Columns and types of `FACT_DTYPES`.
    """
    todo = [
        ImageFile(image_id, root / path, working_size)
        for image_id, path in zip(records["image_id"], records["path"], strict=True)
    ]
    rows = map_processes(inspect_file, todo, num_workers=num_workers, description=description)
    return pd.DataFrame(rows).reindex(columns=list(FACT_DTYPES)).astype(FACT_DTYPES)


def require_facts(records: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Every image of `records` must have been inspected; facts of further images do no harm.

    Raises:
        DataError: Some have no facts; names the first five.
    """
    unknown = records.loc[~records["image_id"].isin(facts["image_id"]), "image_id"]
    if len(unknown):
        raise DataError(
            f"{len(unknown)} images of the records were not inspected: {first_offenders(unknown)}. "
            "Run `dvc repro inspect`."
        )


def inspect_file(file: ImageFile) -> dict[str, object]:
    """The facts of one file, by the names of `FACT_DTYPES`; absent where they cannot be known."""
    facts: dict[str, object] = {"image_id": file.image_id, "decodes": False}
    try:
        encoded = images.read_bytes(file.path)
        facts |= {"num_bytes": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}
        header = images.open_image(encoded)
        facts |= {
            "format": header.format,
            "mode": header.mode,
            "width": header.width,
            "height": header.height,
        }
        pixels = images.decode(encoded)
    except ImageError as error:
        return facts | {"problem": str(error)}
    return facts | {"decodes": True} | _measure(pixels, file.working_size)


def _measure(pixels: np.ndarray, working_size: int) -> dict[str, object]:
    shape = str(pixels.shape).encode()
    small = cv2.resize(pixels, (working_size, working_size), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return {
        "pixels_sha256": hashlib.sha256(shape + pixels.tobytes()).hexdigest(),
        "sharpness": float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        "brightness": float(grey.mean() / 255),
        "contrast": float(grey.std() / 255),
        "phashes": [perceptual_hash(view) for view in orientations(grey)],
        "thumbnail": thumbnail.tobytes(),
    }


def orientations(grey: np.ndarray) -> list[np.ndarray]:
    """The 8 rotations and mirrorings of a square picture; the first is the picture itself."""
    turns = [np.rot90(grey, quarter) for quarter in range(4)]
    return turns + [np.fliplr(turn) for turn in turns]


def perceptual_hash(grey: np.ndarray) -> int:
    """64 bits that hardly change under resizing and recompression: the signs of low frequencies.

    The picture is shrunk to 32 x 32; the lowest 8 x 8 cosine frequencies are compared with their median.

    Args:
        grey: Shape `(side, side)`, uint8.
    """
    small = cv2.resize(np.ascontiguousarray(grey), (32, 32), interpolation=cv2.INTER_AREA)
    frequencies = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    bits = frequencies > np.median(frequencies[1:])  # without the mean brightness
    return int(np.packbits(bits).view(">u8")[0].astype(np.int64))
