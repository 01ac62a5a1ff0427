"""Batches of training images: drawn class by class, warped, repeatable from the seed alone."""

import math

import keras
import numpy as np

from melanoma.data.augment import augment_image
from melanoma.sections import Augment


class TrainingBatches(keras.utils.PyDataset):
    """One epoch of augmented training images; every epoch draws anew.

    What an image looks like depends on `(seed, epoch, position in the epoch)` and on nothing else.
    """

    def __init__(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        *,
        batch_size: int,
        balance_classes: bool,
        amounts: Augment,
        seed: int,
    ) -> None:
        """Hold references to `images` (n, size, size, 3) uint8 and `targets` (n,) float32."""
        super().__init__()
        self._images, self._targets = images, targets
        self._batch_size, self._balance_classes = batch_size, balance_classes
        self._amounts, self._seed, self._epoch = amounts, seed, 0
        self._order = self._draw_order()

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Images `(b, size, size, 3)` uint8 and targets `(b,)` of one batch."""
        start = batch * self._batch_size
        rows = self._order[start : start + self._batch_size]
        warped = [
            augment_image(
                self._images[row],
                self._amounts,
                np.random.default_rng([self._seed, self._epoch, start + position]),
            )
            for position, row in enumerate(rows)
        ]
        return np.stack(warped), self._targets[rows]

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch; called by Keras."""
        self._epoch += 1
        self._order = self._draw_order()

    def _draw_order(self) -> np.ndarray:
        generator = np.random.default_rng([self._seed, self._epoch])
        if not self._balance_classes:
            return generator.permutation(len(self._targets))
        return draw_balanced(self._targets, generator)


def draw_balanced(targets: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """As many row numbers as there are rows, half of each class, in random order.

    The rarer class is repeated (each of its rows equally often, give or take one), the more frequent
    one loses rows at random; the next epoch loses others.

    Args:
        targets: Shape `(num_images,)`, 0 or 1, both present.
        generator: Where rows are drawn from.
    """
    num_malignant = len(targets) // 2  # an odd one out is benign
    drawn = [
        _draw_rows(np.flatnonzero(targets == value), number, generator)
        for value, number in ((0, len(targets) - num_malignant), (1, num_malignant))
    ]
    return generator.permutation(np.concatenate(drawn))


def _draw_rows(rows: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
    rounds = [generator.permutation(rows) for _ in range(math.ceil(number / len(rows)))]
    return np.concatenate(rounds)[:number]
