"""Pictures that tests draw: by formulas in whole numbers, so that every machine draws the same pixels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def drawn(*, height: int = 300, width: int = 400) -> np.ndarray:
    """Three gradients, a dark disc and a bright bar; `(height, width, 3)`, uint8."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width)])
    pixels = np.moveaxis(pixels, 0, -1).astype(np.uint8)
    disc = (x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2
    pixels[disc] = (90, 50, 40)
    pixels[height // 10 : height // 5, width // 2 : width // 2 + width // 8] = (250, 240, 20)
    return pixels


def textured(seed: int, *, side: int = 128) -> np.ndarray:
    """A blurred random pattern of its own for each seed; `(side, side, 3)`, uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, size=(12, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encode(picture: np.ndarray | Image.Image, format_name: str, **options: Any) -> bytes:
    """`picture` as a file of Pillow's `format_name`."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def write(picture: np.ndarray | Image.Image, path: Path, **options: Any) -> Path:
    """`picture` in the format that the suffix of `path` names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path
