import numpy as np
import pytest
from PIL import Image

from melanoma.data.masks import load_lesion
from melanoma.errors import ImageError


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
