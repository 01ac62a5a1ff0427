import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma.data.checks import contact_sheet
from melanoma.data.checks.contact_sheet import (
    GAP,
    HEADER_HEIGHT,
    HEADING_HEIGHT,
    MAX_TILES,
    TILE_HEIGHT,
    TILE_SIDE,
)

RED, GREEN = (200, 30, 30), (30, 160, 60)
EMPTY = (230, 234, 238)


def write(folder, name: str, colour: tuple[int, int, int], *, height: int = 40, width: int = 40) -> str:
    Image.fromarray(np.full((height, width, 3), colour, np.uint8)).save(folder / name)
    return name


def rows_of(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "path", "reasons"]).astype("string")


def draw(folder, rows: pd.DataFrame) -> np.ndarray:
    return np.asarray(contact_sheet.draw(rows, root=folder, title="Left out", note="a note"))


def tile(sheet: np.ndarray, number: int, *, top: int = HEADER_HEIGHT + HEADING_HEIGHT) -> np.ndarray:
    """The thumbnail of one tile of the group whose tiles start at `top`."""
    row, column = divmod(number, contact_sheet.NUM_COLUMNS)
    y, x = top + row * (TILE_HEIGHT + GAP), GAP + column * (TILE_SIDE + GAP)
    return sheet[y : y + TILE_SIDE, x : x + TILE_SIDE]


def test_images_stand_under_their_first_reason_in_the_order_of_ids(tmp_path):
    red, green = write(tmp_path, "red.png", RED), write(tmp_path, "green.png", GREEN)
    rows = rows_of(
        ("c", red, "clipped"), ("a", red, "blurred; clipped"), ("b", green, "blurred; clipped; hairy")
    )
    sheet = draw(tmp_path, rows)
    assert (tile(sheet, 0) == RED).all()
    assert (tile(sheet, 1) == GREEN).all()
    assert (tile(sheet, 2) == 255).all()  # only two are blurred
    second_group = HEADER_HEIGHT + HEADING_HEIGHT + TILE_HEIGHT + GAP + HEADING_HEIGHT
    assert (tile(sheet, 0, top=second_group) == RED).all()
    assert sheet.shape == (second_group + TILE_HEIGHT + GAP + GAP, contact_sheet.WIDTH, 3)


def test_sides_keep_their_proportion(tmp_path):
    sheet = draw(tmp_path, rows_of(("a", write(tmp_path, "wide.png", RED, height=30, width=60), "blurred")))
    shown = tile(sheet, 0)
    quarter = TILE_SIDE // 4
    assert (shown[quarter:-quarter] == RED).all()
    assert (shown[: quarter - 1] == EMPTY).all()
    assert (shown[-quarter + 1 :] == EMPTY).all()


def test_ids_and_headings_are_written(tmp_path):
    path = write(tmp_path, "red.png", RED)
    one, other = (draw(tmp_path, rows_of((name, path, "blurred"))) for name in ("a", "b"))
    caption = slice(HEADER_HEIGHT + HEADING_HEIGHT + TILE_SIDE, None)
    assert (one[caption] != other[caption]).any()
    assert (one[: caption.start] == other[: caption.start]).all()
    heading = slice(HEADER_HEIGHT, HEADER_HEIGHT + HEADING_HEIGHT)
    assert (one[heading] != draw(tmp_path, rows_of(("a", path, "clipped")))[heading]).any()


@pytest.mark.parametrize("name", ["broken.jpg", "absent.jpg", "folder.jpg"])
def test_a_file_that_cannot_be_shown_is_a_grey_tile_with_words(tmp_path, name):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "folder.jpg").mkdir()
    shown = tile(draw(tmp_path, rows_of(("a", name, "unreadable"))), 0)
    is_ground = (shown == EMPTY).all(axis=-1)
    assert 0.5 < is_ground.mean() < 1


@pytest.mark.parametrize(
    ("num_images", "heading"),
    [
        (MAX_TILES, f"blurred · {MAX_TILES}"),
        (MAX_TILES + 37, f"blurred · {MAX_TILES + 37} ({MAX_TILES} shown, 37 more not shown)"),
    ],
)
def test_of_many_images_some_are_shown_and_the_others_counted(tmp_path, num_images, heading):
    path = write(tmp_path, "red.png", RED)
    rows = rows_of(*((f"i{number:03}", path, "blurred") for number in range(num_images)))
    assert contact_sheet._groups(rows, tmp_path)[0][0] == heading
    sheet = draw(tmp_path, rows)
    assert (tile(sheet, MAX_TILES - 1) == RED).all()
    assert len(sheet) == HEADER_HEIGHT + HEADING_HEIGHT + 2 * (TILE_HEIGHT + GAP) + GAP


def test_when_nothing_was_quarantined_the_sheet_says_so(tmp_path):
    sheet = draw(tmp_path, rows_of())
    assert sheet.shape == (HEADER_HEIGHT + HEADING_HEIGHT + GAP, contact_sheet.WIDTH, 3)
    assert (sheet[HEADER_HEIGHT:] < 128).any()  # dark letters


def test_odd_ids_fit_their_tile(tmp_path):
    path = write(tmp_path, "red.png", RED)
    for image_id in ("n" * 300, "мелано́ма 黒色腫 ü", "two\nlines", " "):
        sheet = draw(tmp_path, rows_of((image_id, path, "blurred")))
        caption = sheet[HEADER_HEIGHT + HEADING_HEIGHT + TILE_SIDE :]
        assert (caption[:, GAP + TILE_SIDE + 1 :] == 255).all()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = rows_of(("a", write(tmp_path, "red.png", RED), "blurred"), ("b", "absent.jpg", "unreadable"))
    shuffled = rows.iloc[::-1].reset_index(drop=True)
    for name, variant in (("one.png", rows), ("two.png", shuffled)):
        contact_sheet.draw(variant, root=tmp_path, title="t", note="n").save(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
