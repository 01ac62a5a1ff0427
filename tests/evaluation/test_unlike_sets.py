import numpy as np
import pytest

from melanoma.data.images import resize_square
from melanoma.evaluation import unlike, unlike_sets
from melanoma.scoring.quality import Bounds
from tests.data.zoo import skin

SIZE = 64


def mean_colours(images: np.ndarray) -> np.ndarray:
    """Mean and spread of each channel in each quarter, as pooled features."""
    halves = [images[:, y : y + SIZE // 2, x : x + SIZE // 2] for y in (0, SIZE // 2) for x in (0, SIZE // 2)]
    parts = [getattr(half / 255, name)(axis=(1, 2)) for half in halves for name in ("mean", "std")]
    return np.concatenate(parts, axis=1) + 0.01


@pytest.fixture(scope="module")
def images():
    return np.stack([resize_square(skin(seed), SIZE) for seed in range(60)])


@pytest.fixture(scope="module")
def found(images):
    bounds = Bounds({"sharpness": (30.0, None)}, 1.0, 0.0, 1)
    features = mean_colours(images)
    fitted = unlike.fit(features[:40], features[40:], referred_fraction=0.05, bounds=bounds)
    return unlike_sets.measure(images, mean_colours, fitted)


def test_every_kind_is_measured(found):
    assert set(found) == {"unchanged", *unlike_sets.COPIES, "photographs", "noise", "one colour"}
    assert found["unchanged"]["num_images"] == 60
    assert found["photographs"]["num_images"] == 10  # two, whole and in quarters


def test_what_is_no_dermoscopy_is_refused_or_referred_and_test_images_are_not(found):
    for name in ("photographs", "noise", "one colour"):
        assert found[name]["refused_fraction"] + found[name]["referred_fraction"] > 0.9, name
    assert found["noise"]["refused_fraction"] == found["one colour"]["refused_fraction"] == 1
    assert found["unchanged"]["referred_fraction"] <= 0.1
    assert found["unchanged"]["refused_fraction"] == 0


def test_blurred_copies_are_referred(found):
    assert found["blurred"]["referred_fraction"] > 0.5


def test_copies_are_changed_as_they_are_called(images):
    image = images[0]
    assert unlike_sets.COPIES["half the light"](image).mean() == pytest.approx(image.mean() / 2, abs=1)
    tinted = unlike_sets.COPIES["tinted"](image).astype(float).mean((0, 1))
    assert tinted[0] == pytest.approx(0.7 * image[..., 0].mean(), abs=1)
    assert tinted[2] > image[..., 2].mean()
    compressed = unlike_sets.COPIES["JPEG quality 10"](image)
    np.testing.assert_allclose(compressed.mean((0, 1)), image.mean((0, 1)), atol=4)
    assert not np.array_equal(compressed, image)


def test_the_table_has_a_row_for_each_kind(found):
    assert unlike_sets.table(found)["pictures"].tolist() == list(found)
