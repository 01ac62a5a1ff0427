import base64
import io

import numpy as np
import pytest
from PIL import Image

from melanoma.errors import DataError
from melanoma.page import pictures
from tests.page.toys import draw_picture


def opened(picture: pictures.Picture) -> Image.Image:
    head, body = picture.uri.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def embed(path, max_width=400) -> pictures.Picture:
    return pictures.embed(path, caption="c", alt="a", max_width=max_width)


def test_a_picture_travels_without_loss(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = embed(tmp_path / "a.png")
    assert (np.asarray(opened(picture).convert("RGB")) == pixels).all()
    assert (picture.width, picture.height) == (30, 20)


def test_a_wide_picture_is_shrunk_in_proportion_and_one_of_the_bound_is_not(tmp_path):
    wide = embed(draw_picture(tmp_path / "a.png", size=(800, 200)))
    just = embed(draw_picture(tmp_path / "b.png", size=(400, 200)))
    assert opened(wide).size == (wide.width, wide.height) == (400, 100)
    assert (just.width, just.height) == (400, 200)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        embed(tmp_path / "a.png")


def test_a_picture_far_too_large_for_a_figure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100 * 100)
    embed(draw_picture(tmp_path / "a.png", size=(100, 100)))
    with pytest.raises(DataError, match="101 x 100 pixels: too many for a figure"):
        embed(draw_picture(tmp_path / "b.png", size=(101, 100)))
