"""Inspects one file, in a worker process.

This module imports little, because each worker pays for it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from melanoma.config.data import Inspect
from melanoma.data import images, masks
from melanoma.data.checks import headers
from melanoma.data.checks.measures import measure
from melanoma.data.hashes import perceptual_hashes, thumbnail
from melanoma.errors import ImageError


@dataclass(frozen=True)
class ImageFile:
    """One image to inspect, with its mask if it has one."""

    image_id: str
    path: Path
    mask_path: Path | None

    def __str__(self) -> str:
        return str(self.path)


def use_one_thread() -> None:
    """Let OpenCV use one thread, as each core has its own worker."""
    cv2.setNumThreads(1)


def inspect_file(file: ImageFile, *, settings: Inspect) -> dict[str, object]:
    """The facts of one file, by names of `FACT_DTYPES`; facts that cannot be measured are absent."""
    facts: dict[str, object] = {"image_id": file.image_id, "decodes": False}
    mask, mask_facts = _open_mask(file.mask_path)
    try:
        for found in _measure_file(file.path, settings, mask):
            facts |= found
    except ImageError as error:
        facts["problem"] = str(error)
    if mask is not None:
        mask_facts = masks.describe_mask(mask, (facts.get("width"), facts.get("height")))
    return facts | mask_facts


def _open_mask(path: Path | None) -> tuple[Image.Image | None, dict[str, object]]:
    """The mask, or None and the facts that say why, if there is a path."""
    try:
        return (None if path is None else masks.open_mask(path)), {}
    except ImageError as error:
        return None, {"mask_decodes": False, "mask_problem": str(error)}


def _measure_file(path: Path, settings: Inspect, mask: Image.Image | None) -> Iterator[dict[str, object]]:
    """Yield facts until an `ImageError` says why the next ones cannot be measured."""
    encoded = images.read_bytes(path)
    yield {"num_bytes": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}
    yield headers.describe_bytes(encoded, path)
    image = headers.open_header(encoded)
    yield headers.describe(image, encoded, path)
    images.require_usable(image)
    pixels = images.upright_rgb(image)
    # Once more, because the orientation of a PNG may follow its pixels.
    yield {"decodes": True} | headers.describe(image, encoded, path)
    fits = mask is not None and mask.size == pixels.shape[1::-1]
    lesion = masks.lesion_of(mask, settings.working_size) if mask is not None and fits else None
    yield _measure_pixels(pixels, settings, lesion)


def _measure_pixels(pixels: np.ndarray, settings: Inspect, lesion: np.ndarray | None) -> dict[str, object]:
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    working = _squash(pixels, settings.working_size)
    grey = cv2.cvtColor(working, cv2.COLOR_RGB2GRAY)
    return {
        "pixels_sha256": digest.hexdigest(),
        **measure(working, grey, settings, lesion=lesion),
        "phashes": perceptual_hashes(grey),
        "thumbnail": thumbnail(grey),
    }


def _squash(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize the picture to a square of `size` by averaging areas.

    It is halved while at least twice the size remains, because exact halves are many times faster. An odd
    last row or column is left out then.
    """
    while min(pixels.shape[:2]) >= 4 * size:
        height, width = (length // 2 for length in pixels.shape[:2])
        even = pixels[: 2 * height, : 2 * width]
        pixels = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA))
