"""A cohort in memory whose positive images are dark, and hyperparameters of tiny networks for it."""

from typing import Any

import numpy as np
import pandas as pd

from melanoma.data.packed import Packed

NUM_IMAGES, NUM_TRAINING = 60, 40
SMALL: dict[str, Any] = {
    "image_size": 32,
    "depth": 1,
    "filters": 2,
    "dense_units": 2,
    "batch_size": 16,
    "learning_rate": 1e-2,
}


def build() -> Packed:
    """60 images in groups of two, 40 of them for training; every fourth group is dark and positive."""
    number = np.arange(NUM_IMAGES)
    target = (number // 2 % 4 == 0).astype(int)
    index = pd.DataFrame(
        {
            "image_id": [f"i{one:02}" for one in number],
            "dataset": "toy",
            "group_id": [f"g{one // 2:02}" for one in number],
            "target": target,
            "diagnosis": np.where(target == 1, "melanoma", "nevus"),
            "split": np.repeat(["train", "validation", "test"], [NUM_TRAINING, 10, 10]),
        }
    )
    noise = np.random.default_rng(0).integers(-40, 40, (NUM_IMAGES, 32, 32, 3))
    level = np.where(target == 1, 60, 190)[:, None, None, None]
    images = (level + noise).clip(0, 255).astype(np.uint8)
    return Packed(images, index, "digest", is_synthetic=True)
