"""A zoo of broken and odd files, each with the reasons for which it must be refused.

Every specimen is drawn from a seed of its own, so that none is a copy of another. The picture behind
them passes every limit of params.yaml: a specimen without reasons is legal.
"""

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.data.pictures import encode, textured

HEIGHT, WIDTH = 240, 320
ORIENTATION = 0x0112  # the tag of EXIF
PLAIN = {"blurred", "bad_exposure", "no_contrast", "no_colour"}


@dataclass(frozen=True)
class Specimen:
    """One file and the names of `validate.image_checks` that must fail for it, no more and no fewer."""

    name: str
    path: Path
    reasons: frozenset[str]
    mask_path: Path | None = None


def build_zoo(folder: Path) -> list[Specimen]:
    """Write every specimen into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = (_truncated, _no_pictures, _odd_names, _modes, _frames, _oddly_legal, _damaged, _poor_pictures)
    return [specimen for group in groups for specimen in group(folder)] + list(_masked(folder))


def skin(seed: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Textured skin with a brown lesion, other for each seed; `(height, width, 3)`, uint8."""
    side = max(height, width)
    texture = textured(seed, side=side)[:height, :width].astype(np.float64) - 127.5
    grain = np.random.default_rng(seed).normal(0, 6, size=(height, width, 1))
    y, x = np.mgrid[:height, :width]
    lesion = np.hypot(y - height / 2, x - width / 2) < min(height, width) / 4
    colour = np.where(lesion[..., None], (120, 80, 60), (205, 160, 140))
    return np.clip(colour + 0.15 * texture + grain, 0, 250).astype(np.uint8)


# ---- ways to write ---------------------------------------------------------------------------


def _write(folder: Path, name: str, file_name: str, content: bytes, *reasons: str) -> Specimen:
    path = folder / file_name
    path.write_bytes(content)
    return Specimen(name, path, frozenset(reasons))


def _encoded(seed: int, format_name: str, **options: Any) -> bytes:
    return encode(skin(seed), format_name, **options)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds ten bytes of pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _scribbled(encoded: bytes, *, seed: int) -> bytes:
    """`encoded` with a tenth of its bytes, in the middle, written over."""
    start, length = len(encoded) // 2, len(encoded) // 10
    return encoded[:start] + random.Random(seed).randbytes(length) + encoded[start + length :]


# ---- groups of specimens ---------------------------------------------------------------------


def _truncated(folder: Path) -> Iterator[Specimen]:
    suffixes = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "WEBP": "webp"}
    for number, (format_name, suffix) in enumerate(suffixes.items()):
        for tenths in range(1, 10):
            whole = _encoded(100 + 10 * number + tenths, format_name)
            name = f"{format_name.lower()}_of_{tenths}_tenths"
            cut = whole[: len(whole) * tenths // 10]
            yield _write(folder, name, f"{name}.{suffix}", cut, "unreadable", "truncated")
    whole = _encoded(150, "JPEG", progressive=True)
    yield _write(folder, "progressive_half", "half.jpg", whole[: len(whole) // 2], "unreadable", "truncated")


def _no_pictures(folder: Path) -> Iterator[Specimen]:
    yield _write(folder, "empty", "empty.jpg", b"", "unreadable")
    yield _write(folder, "zeros", "zeros.jpg", bytes(5000), "unreadable")
    yield _write(folder, "text", "text.jpg", b"<html>404 Not Found</html>\n" * 50, "unreadable")
    yield _write(folder, "bomb", "bomb.png", _png_header(30_000, 30_000), "unreadable")
    yield _write(folder, "hollow", "hollow.png", _png_header(800, 600), "unreadable")
    (folder / "folder.jpg").mkdir(exist_ok=True)
    yield Specimen("folder", folder / "folder.jpg", frozenset({"unreadable"}))
    for name, target in (("dangling_link", "nowhere.jpg"), ("endless_link", "endless_link.jpg")):
        link = folder / f"{name}.jpg"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        yield Specimen(name, link, frozenset({"unreadable"}))
    yield Specimen("absent", folder / "absent.jpg", frozenset({"unreadable"}))


def _odd_names(folder: Path) -> Iterator[Specimen]:
    names = {
        "name_not_ascii": "мелано́ма 黒色腫 ü.jpg",
        "name_long": "n" * 251 + ".jpg",  # 255 bytes: as long as file systems allow
        "name_with_newline": "two\nlines.jpg",
        "name_with_quotes": "a, \"b\" 'c'; %d {x} $HOME.jpg",
        "name_in_capitals": "CAPITALS.JPG",
        "name_with_dots": "a.png.jpg",
        "name_like_an_option": "--out.jpg",
    }
    for seed, (name, file_name) in enumerate(names.items(), start=200):
        yield _write(folder, name, file_name, _encoded(seed, "JPEG"))


def _modes(folder: Path) -> Iterator[Specimen]:
    mode, depth = "mode_not_allowed", "bit_depth_not_allowed"
    pictures = [Image.fromarray(skin(seed)) for seed in range(300, 306)]
    cmyk = pictures[0].convert("CMYK")
    yield _write(folder, "cmyk", "cmyk.jpg", encode(cmyk, "JPEG"), mode)
    deep = np.asarray(pictures[1].convert("L")).astype(np.uint16) * 257
    yield _write(folder, "16_bit", "16_bit.png", encode(deep, "PNG"), mode, depth, "no_colour")
    yield _write(folder, "palette", "palette.png", encode(pictures[2].quantize(64), "PNG"), mode)
    pictures[3].putalpha(128)
    yield _write(folder, "alpha", "alpha.png", encode(pictures[3], "PNG"), mode)
    grey = pictures[4].convert("L")
    yield _write(folder, "grey", "grey.jpg", encode(grey, "JPEG"), mode, "no_colour")
    _, deep_colour = cv2.imencode(".png", skin(306)[..., ::-1].astype(np.uint16) * 257)
    yield _write(folder, "16_bit_colour", "16_bit_colour.png", deep_colour.tobytes(), depth)


def _frames(folder: Path) -> Iterator[Specimen]:
    reasons = ("unreadable", "animated")
    first, second, third = (Image.fromarray(skin(seed)) for seed in (400, 401, 402))
    for name, format_name in (("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG")):
        moving = encode(first, format_name, save_all=True, append_images=[second, third], duration=100)
        also = ("mode_not_allowed",) if format_name == "GIF" else ()
        yield _write(folder, f"animated_{name}", f"animated.{name}", moving, *reasons, *also)
    still = encode(Image.fromarray(skin(403)).quantize(64), "GIF")
    yield _write(folder, "still_gif", "still.gif", still, "unreadable", "mode_not_allowed")
    stereo = encode(Image.fromarray(skin(404)), "MPO", save_all=True, append_images=[second])
    yield _write(folder, "stereo_jpeg", "stereo.jpg", stereo)


def _oddly_legal(folder: Path) -> Iterator[Specimen]:
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        rotated = _encoded(500 + orientation, "JPEG", exif=exif)
        yield _write(folder, f"exif_{orientation}", f"exif_{orientation}.jpg", rotated)
    yield _write(folder, "garbage_at_end", "garbage.jpg", _encoded(510, "JPEG") + b"\xff\xd8 garbage" * 99)
    yield _write(folder, "garbage_at_end_of_png", "garbage.png", _encoded(511, "PNG") + bytes(99))
    yield _write(folder, "progressive", "progressive.jpg", _encoded(512, "JPEG", progressive=True))
    yield _write(folder, "with_thumbnail", "with_thumbnail.jpg", _with_thumbnail(513))
    for seed, suffix in enumerate(("jpeg", "png", "bmp", "webp"), start=520):
        yield _write(folder, f"plain_{suffix}", f"plain.{suffix}", _encoded(seed, suffix.upper()))
    yield _write(folder, "restart_markers", "restarts.jpg", _encoded(530, "JPEG", restart_marker_rows=2))


def _with_thumbnail(seed: int) -> bytes:
    """A JPEG that carries a small JPEG, whole, in a segment of its header."""
    small = encode(skin(seed, height=60, width=80), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 8) + b"Exif\0\0" + small
    whole = _encoded(seed, "JPEG")
    return whole[:2] + segment + whole[2:]


def _damaged(folder: Path) -> Iterator[Specimen]:
    jpeg, png = _scribbled(_encoded(600, "JPEG"), seed=1), _scribbled(_encoded(601, "PNG"), seed=2)
    yield _write(folder, "damaged_jpeg", "damaged.jpg", jpeg, "unreadable")
    yield _write(folder, "damaged_png", "damaged.png", png, "unreadable")
    contradicts = "extension_contradicts_format"
    yield _write(folder, "png_as_jpg", "png_as.jpg", _encoded(602, "PNG"), contradicts)
    yield _write(folder, "jpeg_as_png", "jpeg_as.png", _encoded(603, "JPEG"), contradicts)
    yield _write(folder, "no_extension", "no_extension", _encoded(604, "JPEG"), contradicts)


def _poor_pictures(folder: Path) -> Iterator[Specimen]:
    def png(name: str, pixels: np.ndarray, *reasons: str) -> Specimen:
        return _write(folder, name, f"{name}.png", encode(pixels, "PNG"), *reasons)

    def plain(*colour: int) -> np.ndarray:
        return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)

    yield png("tiny", skin(700, height=24, width=32), "too_small")
    yield png("low", skin(701, height=149, width=400), "too_small")
    yield png("just_large_enough", skin(702, height=150, width=150))
    yield png("black", plain(0, 0, 0), *PLAIN, "dark_border")
    yield png("white", plain(255, 255, 255), *PLAIN, "clipped")
    yield png("one_colour", plain(205, 160, 140), "blurred", "no_contrast")
    yield png("blurred", cv2.GaussianBlur(skin(703), (0, 0), 12), "blurred")
    grey = cv2.cvtColor(skin(704), cv2.COLOR_RGB2GRAY)
    yield png("without_colour", np.repeat(grey[..., None], 3, axis=2), "no_colour")
    yield png("overexposed", _with_red_at_its_end(skin(705)), "clipped")
    yield png("keyhole", _seen_through_a_hole(skin(706), radius=75), "dark_border")
    yield png("dark_corners", _seen_through_a_hole(skin(707), radius=150))
    yield png("hairy", _with_lines(skin(708)), "hairy")


def _with_red_at_its_end(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    pixels[..., 0] = 255
    return pixels


def _seen_through_a_hole(pixels: np.ndarray, *, radius: int) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.where((np.hypot(y - HEIGHT / 2, x - WIDTH / 2) < radius)[..., None], pixels, 4).astype(np.uint8)


def _with_lines(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    for x in range(-HEIGHT, WIDTH, 12):
        cv2.line(pixels, (x, 0), (x + HEIGHT // 2, HEIGHT), (30, 20, 15), thickness=3, lineType=cv2.LINE_AA)
    return pixels


def _masked(folder: Path) -> Iterator[Specimen]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = (np.hypot(y - HEIGHT / 2, x - WIDTH / 2) < 60).astype(np.uint8) * 255
    speck = np.zeros_like(disc)
    speck[:4, :4] = 255
    whole = encode(disc, "PNG")
    masks = {
        "mask_fits": (whole, ()),
        "mask_truncated": (whole[: len(whole) // 2], ("mask_broken",)),
        "mask_smaller": (encode(disc[::2, ::2], "PNG"), ("mask_of_other_geometry",)),
        "mask_of_a_speck": (encode(speck, "PNG"), ("lesion_tiny",)),
    }
    for seed, (name, (mask, reasons)) in enumerate(masks.items(), start=800):
        mask_path = folder / f"{name}_mask.png"
        mask_path.write_bytes(mask)
        image = _write(folder, name, f"{name}.png", _encoded(seed, "PNG"), *reasons)
        yield Specimen(name, image.path, image.reasons, mask_path)
    image = _write(folder, "mask_absent", "mask_absent.png", _encoded(810, "PNG"), "mask_broken")
    yield Specimen("mask_absent", image.path, image.reasons, folder / "no_mask.png")
