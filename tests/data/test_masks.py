import numpy as np
import pytest
from PIL import Image

from melanoma.data.crops import Box
from melanoma.data.images import ORIENTATION_TAG, load_crop
from melanoma.data.masks import describe_mask, load_lesion, open_mask
from melanoma.errors import ImageError
from tests.data.pictures import encode, write


def quarter(value: int, *, dtype=np.uint8) -> np.ndarray:
    """A mask of which a quarter is lesion."""
    mask = np.zeros((20, 40), dtype)
    mask[:10, :20] = value
    return mask


def inspect_mask(path, size):
    return describe_mask(open_mask(path), size)


@pytest.mark.parametrize("value", [1, 128, 255])
def test_the_fraction_of_a_lesion_is_counted_whatever_value_stands_for_it(tmp_path, value):
    path = write(quarter(value), tmp_path / "a.png")
    assert inspect_mask(path, (40, 20)) == {"mask_decodes": True, "mask_fits": True, "lesion_fraction": 1 / 4}


def test_masks_of_one_bit_palettes_and_jpegs_are_read(tmp_path):
    grey = Image.fromarray(quarter(255))
    for name, mask in (
        ("a.png", grey.convert("1")),
        ("b.png", grey.convert("RGB").quantize(2)),
        ("c.jpg", grey),
    ):
        assert inspect_mask(write(mask, tmp_path / name), (40, 20))["lesion_fraction"] == pytest.approx(
            1 / 4, abs=0.01
        )


@pytest.mark.parametrize(("value", "fraction"), [(0, 0), (255, 1)])
def test_a_mask_of_nothing_or_of_all_is_a_mask(tmp_path, value, fraction):
    path = write(np.full((20, 40), value, np.uint8), tmp_path / "a.png")
    assert inspect_mask(path, (40, 20))["lesion_fraction"] == fraction


@pytest.mark.parametrize(
    ("size", "fits"), [((40, 20), True), ((20, 40), False), ((41, 20), False), ((None, None), None)]
)
def test_a_mask_fits_a_picture_of_its_own_width_and_height(tmp_path, size, fits):
    assert inspect_mask(write(quarter(255), tmp_path / "a.png"), size)["mask_fits"] is fits


def test_a_mask_is_turned_upright_as_pictures_are(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    path = write(quarter(255), tmp_path / "a.png", exif=exif)
    assert inspect_mask(path, (20, 40))["mask_fits"] is True


def test_a_broken_or_missing_mask_says_why(tmp_path):
    whole = encode(quarter(255), "PNG")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_bytes(b"no picture")
    reasons = {"half": "decoded completely", "text": "the bytes are not a JPEG", "absent": "cannot be read"}
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            open_mask(tmp_path / f"{name}.png")


@pytest.mark.parametrize("bright", [1, 255])
def test_a_mask_is_squashed_without_values_in_between(tmp_path, bright):
    lesion = np.zeros((40, 80), dtype=np.uint8)
    lesion[10:30, 20:60] = bright  # the middle half of both sides
    Image.fromarray(lesion).save(tmp_path / "mask.png")
    loaded = load_lesion(tmp_path / "mask.png", 20)
    expected = np.zeros((20, 20), dtype=bool)
    expected[5:15, 5:15] = True
    assert loaded.dtype == bool
    np.testing.assert_array_equal(loaded, expected)


def test_a_mask_that_is_missing_or_broken_is_refused(tmp_path):
    with pytest.raises(ImageError):
        load_lesion(tmp_path / "none.png", 20)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        load_lesion(tmp_path / "broken.png", 20)


def test_a_mask_is_cut_as_its_picture(tmp_path):
    lesion = np.zeros((60, 120), np.uint8)
    lesion[20:40, 40:70] = 255  # 30 x 20 pixels: the square is 30 x 30, with the margin 36 x 36
    box = Box(40 / 120, 20 / 60, 70 / 120, 40 / 60)
    path = write(lesion, tmp_path / "mask.png")
    cut = load_lesion(path, 36, box=box, margin_fraction=0.1)
    expected = np.zeros((36, 36), bool)
    expected[8:28, 3:33] = True
    np.testing.assert_array_equal(cut, expected)
    picture = encode(np.repeat(lesion[..., None], 3, axis=2), "PNG")
    np.testing.assert_array_equal(load_crop(picture, 36, box, margin_fraction=0.1)[..., 0] > 127, cut)
