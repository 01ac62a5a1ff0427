"""The same facts as `inspect`, written plainly: one process, Pillow, numpy, scipy and ImageHash.

What `bench_inspect` compares with. Two ways to write it: `plain_facts` takes each tool at its word;
`careful_facts` hashes the picture at working size and borrows OpenCV's morphology, so that what is
left between it and `inspect` is how files are read, decoded, resized, hashed and spread over processes.
"""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from melanoma.config.data import Inspect
from melanoma.data.checks import measures

TURNS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def plain_facts(path: Path, mask_path: Path | None, settings: Inspect) -> dict[str, Any]:
    """The facts of one image, with the obvious call for each."""
    facts, picture, working, grey = _common(path, mask_path, settings)
    border = _dark_border(grey, settings)
    return facts | {
        "dark_border_fraction": border.mean(),
        "hair_fraction": (_hairs(grey, settings) & ~border).mean(),
        "ink_fraction": _ink(working, settings).mean(),
        "phashes": _hashes(picture),
    }


def careful_facts(path: Path, mask_path: Path | None, settings: Inspect) -> dict[str, Any]:
    """The same by one who has looked for what is slow, but stays with Pillow and one process."""
    facts, _, working, grey = _common(path, mask_path, settings)
    pixels, grey = np.asarray(working), np.asarray(grey)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    border = measures.dark_border(grey, settings)
    return facts | {
        "dark_border_fraction": border.mean(),
        "hair_fraction": (measures.hairs(grey, settings) & ~border).mean(),
        "ink_fraction": measures.ink(pixels, hsv, settings).mean(),
        "phashes": _hashes(working),
    }


def _common(path: Path, mask_path: Path | None, settings: Inspect) -> tuple[dict[str, Any], Any, Any, Any]:
    """The facts that both write alike, the picture, and it at working size in colour and grey."""
    encoded = path.read_bytes()
    with Image.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        orientation = image.getexif().get(0x0112)
        picture = ImageOps.exif_transpose(image).convert("RGB")
        facts = {"format": image.format, "mode": image.mode, "num_frames": frames, "exif": orientation}
    working = picture.resize((settings.working_size,) * 2, Image.Resampling.BOX)
    grey = working.convert("L")
    levels = np.asarray(grey) / 255
    saturation, value = (np.asarray(band) / 255 for band in working.convert("HSV").split()[1:])
    facts |= {
        "num_bytes": path.stat().st_size,
        "is_truncated": encoded.rfind(b"\xff\xd9") < 0,
        "sha256": hashlib.sha256(encoded).hexdigest(),
        "pixels_sha256": hashlib.sha256(np.asarray(picture).tobytes()).hexdigest(),
        "width": picture.width,
        "height": picture.height,
        "sharpness": ndimage.laplace(np.asarray(grey).astype(float)).var(),
        "brightness": levels.mean(),
        "contrast": levels.std(),
        "saturation": saturation.mean(),
        "clipped_fraction": (value >= settings.clipping_level).mean(),
        "thumbnail": grey.resize((48, 48), Image.Resampling.BOX).tobytes(),
    }
    if mask_path is not None:
        with Image.open(mask_path) as mask:
            facts |= {
                "mask_fits": mask.size == picture.size,
                "lesion_fraction": (np.asarray(mask.convert("L")) > 127).mean(),
            }
    return facts, picture, working, grey


def _hashes(picture: Image.Image) -> list[str]:
    turned = [picture if turn is None else picture.transpose(turn) for turn in TURNS]
    return [str(imagehash.phash(view)) for view in turned]


def _dark_border(grey: Image.Image, settings: Inspect) -> np.ndarray:
    width = settings.hair_max_width
    dark = np.pad(np.asarray(grey) <= settings.dark_border_max_brightness * 255, width, constant_values=True)
    labels, _ = ndimage.label(ndimage.binary_opening(dark, np.ones((width, width))))
    return (labels == labels[width, 0])[width:-width, width:-width]


def _hairs(grey: Image.Image, settings: Inspect) -> np.ndarray:
    reach = settings.hair_max_width // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    depth = ndimage.black_tophat(np.asarray(grey), footprint=np.hypot(x, y) <= reach)
    thin = depth >= settings.hair_min_depth * 255
    lines = measures.lines(settings.hair_min_length)
    return np.any([ndimage.binary_opening(thin, line) for line in lines], axis=0)


def _ink(working: Image.Image, settings: Inspect) -> np.ndarray:
    hue, saturation, value = (np.asarray(band).astype(float) for band in working.convert("HSV").split())
    cool = (hue >= settings.ink_min_hue_degrees * 255 / 360) & (
        hue <= settings.ink_max_hue_degrees * 255 / 360
    )
    strong = (saturation >= settings.ink_min_saturation * 255) & (value >= settings.ink_min_brightness * 255)
    chroma = np.asarray(working.convert("YCbCr")).astype(float)[..., 1:]
    far = np.linalg.norm(chroma - np.median(chroma, axis=(0, 1)), axis=-1) >= settings.ink_min_colour_distance
    return cool & strong & far
