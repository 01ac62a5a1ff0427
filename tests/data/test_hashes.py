import cv2
import numpy as np
import pytest

from melanoma.data import hashes
from melanoma.data.hashes import THUMBNAIL_SIDE, orientations, perceptual_hash, perceptual_hashes
from tests.data.pictures import textured


def bits_apart(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def grey(seed: int, *, side: int = 128) -> np.ndarray:
    return np.asarray(cv2.cvtColor(textured(seed, side=side), cv2.COLOR_RGB2GRAY))


def recompressed(pixels: np.ndarray) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


def test_the_eight_orientations_of_a_picture_without_symmetry_are_all_different():
    picture = np.arange(9, dtype=np.uint8).reshape(3, 3)
    views = orientations(picture)
    np.testing.assert_array_equal(views[0], picture)
    assert len({view.tobytes() for view in views}) == 8
    assert {view.tobytes() for view in orientations(np.rot90(picture))} == {view.tobytes() for view in views}


@pytest.mark.parametrize("side", [32, 128, 256])
def test_the_hashes_from_one_transform_are_those_of_the_turned_pictures(side):
    for seed in range(20):
        picture = grey(seed, side=side)
        assert perceptual_hashes(picture) == [perceptual_hash(view) for view in orientations(picture)]


@pytest.mark.parametrize("orientation", range(8))
def test_the_hash_of_a_turned_copy_is_that_of_the_same_orientation_of_the_original(orientation):
    original = perceptual_hashes(grey(5))
    copy = perceptual_hash(orientations(grey(5))[orientation])
    assert copy == original[orientation]
    assert min(bits_apart(copy, original[other]) for other in range(8) if other != orientation) > 12


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pixels: cv2.resize(pixels, (90, 90), interpolation=cv2.INTER_AREA), id="resized"),
        pytest.param(recompressed, id="recompressed"),
        pytest.param(lambda pixels: (pixels * 0.9).astype(np.uint8), id="darker"),
    ],
)
def test_the_hash_hardly_changes_under_harmless_changes(change):
    assert bits_apart(perceptual_hash(grey(5)), perceptual_hash(change(grey(5)))) <= 4


def test_hashes_of_unlike_pictures_are_far_apart_in_every_orientation():
    hashed = [perceptual_hashes(grey(seed)) for seed in range(8)]
    apart = [
        min(bits_apart(hashed[one][0], turned) for turned in hashed[other])
        for one in range(8)
        for other in range(one)
    ]
    assert min(apart) > 12


def test_a_hash_fits_into_64_bits_with_a_sign():
    for seed in range(8):
        assert all(-(2**63) <= number < 2**63 for number in perceptual_hashes(grey(seed)))
    assert perceptual_hash(np.zeros((40, 40), np.uint8)) == 0


def test_the_thumbnail_is_the_grey_picture_made_small():
    assert hashes.thumbnail(np.full((90, 90), 77, np.uint8)) == bytes([77]) * THUMBNAIL_SIDE**2
    halves = np.zeros((96, 96), np.uint8)
    halves[48:] = 200
    half = THUMBNAIL_SIDE**2 // 2
    assert hashes.thumbnail(halves) == bytes(half) + bytes([200]) * half
