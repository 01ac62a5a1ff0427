"""Draws the contact sheet of quarantined images by reason.

An image is shown under its first reason; its caption names further ones. At most `MAX_TILES` images a reason
are shown, so that the sheet stays small.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from melanoma.data import images
from melanoma.errors import ImageError

NUM_COLUMNS = 8
MAX_TILES = 2 * NUM_COLUMNS
TILE_SIDE = 128  # pixels of a thumbnail; the caption stands below
TILE_HEIGHT = TILE_SIDE + 36
GAP = 12
WIDTH = NUM_COLUMNS * (TILE_SIDE + GAP) + GAP
HEADER_HEIGHT, HEADING_HEIGHT = 64, 34

PAPER, INK, FAINT, EMPTY = "white", "#1c2733", "#5c6770", "#e6eaee"


@dataclass(frozen=True)
class Tile:
    """One image of the sheet, and the lines of its caption."""

    path: Path
    lines: list[str]


def draw(quarantined: pd.DataFrame, *, root: Path, title: str, note: str) -> Image.Image:
    """Draw thumbnails under headings, one heading per reason.

    Args:
        quarantined: Columns `image_id`, `path` (relative to `root`) and `reasons` (joined by `; `); may be
            empty.
        root: Folder to which the paths are relative.
        title: Title of the sheet.
        note: Line under the title about the origin of the images.

    Returns:
        RGB image, `WIDTH` pixels wide. A file that cannot be shown is a grey tile with the reason.
    """
    groups = _groups(quarantined, root)
    heights = [HEADING_HEIGHT + _num_rows(tiles) * (TILE_HEIGHT + GAP) for _, tiles in groups]
    body = sum(heights) if groups else HEADING_HEIGHT
    sheet = Image.new("RGB", (WIDTH, HEADER_HEIGHT + body + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), title, INK, _font(20))
    pen.text((GAP, GAP + 28), note, FAINT, _font(13))
    if not groups:
        pen.text((GAP, HEADER_HEIGHT), "nothing was quarantined", INK, _font(16))
    top = HEADER_HEIGHT
    for (heading, tiles), height in zip(groups, heights, strict=True):
        pen.text((GAP, top + GAP // 2), heading, INK, _font(16))
        for tile, corner in zip(tiles, _corners(top + HEADING_HEIGHT), strict=False):
            _paste(sheet, tile, corner)
        top += height
    return sheet


def _groups(quarantined: pd.DataFrame, root: Path) -> list[tuple[str, list[Tile]]]:
    """Headings and tiles by first reason, in alphabetical order of reasons and ids."""
    rows = quarantined.sort_values("image_id")
    first = rows["reasons"].str.split("; ").str[0]
    return [
        (_heading(str(reason), len(group)), [_tile(row, root) for row in group.head(MAX_TILES).itertuples()])
        for reason, group in rows.groupby(first.to_numpy())
    ]


def _heading(reason: str, num_images: int) -> str:
    hidden = num_images - MAX_TILES
    return f"{reason} · {num_images}" + (
        f" ({MAX_TILES} shown, {hidden} more not shown)" if hidden > 0 else ""
    )


def _tile(row, root: Path) -> Tile:  # type: ignore[no-untyped-def]
    further = row.reasons.split("; ")[1:]
    also = f"{len(further)} more reasons" if len(further) > 1 else "".join(f"+ {name}" for name in further)
    return Tile(root / row.path, [" ".join(str(row.image_id).split()), also])


def _num_rows(tiles: list[Tile]) -> int:
    return -(-len(tiles) // NUM_COLUMNS)


def _corners(top: int) -> Iterator[tuple[int, int]]:
    """Yield the upper left corners of the tiles of a group, row by row."""
    for number in range(MAX_TILES):
        row, column = divmod(number, NUM_COLUMNS)
        yield GAP + column * (TILE_SIDE + GAP), top + row * (TILE_HEIGHT + GAP)


def _paste(sheet: Image.Image, tile: Tile, corner: tuple[int, int]) -> None:
    left, top = corner
    sheet.paste(_thumbnail(tile.path), corner)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(tile.lines):
        where = (left, top + TILE_SIDE + 2 + 16 * number)
        pen.text(where, _shortened(line, _font(11)), FAINT if number else INK, _font(11))


def _thumbnail(path: Path) -> Image.Image:
    """The picture in a square, with its aspect ratio; or the reason why it cannot be shown."""
    try:
        pixels: np.ndarray = images.decode(images.read_bytes(path), min_side=TILE_SIDE)
    except ImageError as error:
        return _placeholder(str(error))
    small = ImageOps.contain(Image.fromarray(pixels), (TILE_SIDE, TILE_SIDE), Image.Resampling.BOX)
    return ImageOps.pad(small, (TILE_SIDE, TILE_SIDE), color=EMPTY)


def _placeholder(problem: str) -> Image.Image:
    """A grey tile with as much of `problem` as it holds."""
    tile = Image.new("RGB", (TILE_SIDE, TILE_SIDE), EMPTY)
    font, lines = _font(11), [""]
    for word in problem.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= TILE_SIDE - GAP:
            lines[-1] = longer
        else:
            lines.append(word)
    text = "\n".join(_shortened(line, font) for line in lines[:7])
    ImageDraw.Draw(tile).text((GAP // 2, GAP // 2), text, FAINT, font)
    return tile


def _shortened(line: str, font: ImageFont.FreeTypeFont) -> str:
    """`line`, without its middle if it is wider than a tile."""
    shown = line
    while font.getlength(shown) > TILE_SIDE and len(shown) > 3:
        half = (len(shown) - 2) // 2
        shown = f"{line[:half]}…{line[-half:]}"
    return shown


def _font(size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib, so that all machines draw the same."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
