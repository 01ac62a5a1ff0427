import numpy as np
import pytest

from melanoma.data.packed import Part
from melanoma.training.recipe import Arrays, Recipe


@pytest.fixture(scope="session")
def bright_or_dark():
    """24 training and 12 held-out images of 24 px: positive ones are dark. Learnt in a few epochs."""
    generator = np.random.default_rng(0)

    def draw(number: int) -> Part:
        targets = (np.arange(number) % 3 == 0).astype(np.float32)
        level = np.where(targets == 1, 60, 190)[:, None, None, None]
        noise = generator.integers(-40, 40, (number, 24, 24, 3))
        images, names = (level + noise).clip(0, 255).astype(np.uint8), np.arange(number).astype(str)
        return Part(images, np.arange(number), targets, image_ids=names)

    return Arrays(draw(24), draw(12))


@pytest.fixture
def recipe(params):
    """A tiny network; change it with `dataclasses.replace` and `model_copy`."""
    small = {"depth": 1, "filters": 2, "dense_units": 2, "batch_size": 8, "learning_rate": 1e-2}
    return Recipe(
        params.baseline.model_copy(update=small),
        params.model,
        params.augment.paper,
        params.train.model_copy(update={"patience": 4}),
    )
