"""A frozen VGG-16: trained on features that are computed once, and on images in every epoch."""

import time
from pathlib import Path
from unittest import mock

from tests.benchmarks.contestants import ROOT
from tests.benchmarks.rows import Row, Spread, ratios
from tests.benchmarks.sizes import Size

PART = "frozen"
NUM_EPOCHS = 6  # a training takes more, which gains more
AT_MOST = 0.5


def measure(size: Size, folder: Path) -> list[Row]:
    """Seconds of a whole training of few epochs both ways, the features computed within it, and once more."""
    import keras
    import numpy as np

    from melanoma import config
    from melanoma.data.packed import Part
    from melanoma.training import features, fit
    from melanoma.training.recipe import Arrays, Recipe

    params = config.load(ROOT / "params.yaml")
    weights = folder / "vgg16.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None).save_weights(weights)
    number = max(size.num_images // 8, 8)
    pixels = np.random.default_rng(1).integers(
        0, 256, (number, size.image_size, size.image_size, 3), dtype=np.uint8
    )
    rows = np.arange(number)
    part = Part(pixels, rows, (rows % 2).astype(np.float32), image_ids=rows.astype(str))
    kept = {"family": "vgg16", "depth": 5, "weights": str(weights), "frozen_stages": 5}

    def seconds(checkpoints: Path, *, on_features: bool) -> float:
        recipe = Recipe(
            params.baseline.with_drawn(kept),
            params.model.model_copy(update={"num_views": 2}),
            params.augment.paper,
            params.train.model_copy(update={"checkpoints": str(checkpoints), "patience": NUM_EPOCHS}),
        )
        way = features.compute if on_features else lambda *_: None
        with mock.patch.object(features, "compute", way):
            started = time.perf_counter()
            fit.train(Arrays(part, part), recipe, num_epochs=NUM_EPOCHS, seed=1)
            return time.perf_counter() - started

    plain, first, again = [], [], []
    for turn in range(max(size.num_rounds // 2, 1)):
        place = folder / str(turn)
        plain.append(seconds(place, on_features=False))
        first.append(seconds(place, on_features=True))
        again.append(seconds(place, on_features=True))
    what = f"{NUM_EPOCHS} epochs of {number} images, as many scored after each, 2 views"
    shorter = ratios(first, plain, to="on images", at_most=AT_MOST)
    return [
        Row(PART, "VGG-16 trained on images", "s", Spread.of(plain), note=what),
        Row(PART, "on features, computed within", "s", Spread.of(first), shorter),
        Row(PART, "on features that are there", "s", Spread.of(again), ratios(again, plain, to="on images")),
    ]
