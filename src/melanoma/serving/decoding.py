"""Decode the images of a request, in this process or in the decoder processes of a server.

Both ways call `decode`, so the pixels are the same.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from melanoma.data import images
from melanoma.data.crops import Box
from melanoma.errors import ImageError

# Pillow releases Python's lock while it decodes. A pool without work has no threads yet.
_POOL = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


@dataclass(frozen=True)
class Job:
    """One square to decode.

    Attributes:
        encoded: The image file.
        size: Side of the square in pixels.
        max_pixels: An image with more stored pixels is refused.
        box: Box of the lesion to cut out; None decodes the whole image.
        margin_fraction: Margin around the box, see `crops.square_around`.
    """

    encoded: bytes
    size: int
    max_pixels: int
    box: Box | None = None
    margin_fraction: float = 0.0


class Decoding(Protocol):
    """Decodes the images of one request."""

    def squares(self, jobs: Sequence[Job]) -> list[np.ndarray | ImageError]:
        """Pixels `(size, size, 3)`, uint8, of each job in order, or why there are none."""

    def require_wanted(self) -> None:
        """Raise an error if the answer to this request is no longer wanted."""


class InProcess:
    """Decodes in threads of this process: for notebooks and batches."""

    def squares(self, jobs: Sequence[Job]) -> list[np.ndarray | ImageError]:
        """See `Decoding`."""
        return list(_POOL.map(decode_or_refuse, jobs) if len(jobs) > 1 else map(decode_or_refuse, jobs))

    def require_wanted(self) -> None:
        """Do nothing: the answer is always wanted."""


IN_PROCESS = InProcess()


def decode(job: Job) -> np.ndarray:
    """The pixels of a job, `(size, size, 3)`, uint8.

    Raises:
        ImageError: The image cannot be decoded (see `images.decode`), or has too many pixels.
    """
    width, height = images.open_image(job.encoded).size
    if width * height > job.max_pixels:  # in case our reading of the header differs from Pillow's
        raise ImageError(f"the image has {width} x {height} pixels, more than {job.max_pixels:,}")
    if job.box is None:
        return images.load_square(job.encoded, job.size)
    return images.load_crop(job.encoded, job.size, job.box, margin_fraction=job.margin_fraction)


def decode_or_refuse(job: Job) -> np.ndarray | ImageError:
    """The pixels of a job, or the reason for a refusal as a value."""
    try:
        return decode(job)
    except ImageError as error:
        return error
