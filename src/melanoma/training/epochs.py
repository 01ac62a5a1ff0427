"""Random draws of an epoch: images, their order, and the warp and colour change of each.

All of it follows from the seed and the number of the epoch. An image that is repeated in an epoch is warped
differently each time: the warp of image i at its k-th repetition depends on (seed, epoch, i, k) alone, not on
batches or threads.
"""

import math
from dataclasses import dataclass

import numpy as np

from melanoma.config.training import Augment
from melanoma.data.augment import NUM_DRAWS, draw_colours, draw_uniform, draw_warps
from melanoma.data.sampling import share_out

MAX_TURNS = 10  # repetitions of an image in an epoch, where its class is far rarer than the others


@dataclass(frozen=True)
class Epoch:
    """The images of an epoch in their order.

    Attributes:
        positions: Shape `(n,)`: which images of the part.
        warps: Shape `(n, 2, 3)`, see `augment.draw_warps`.
        colours: Shape `(n, 3, 4)`, see `augment.draw_colours`; None to keep colours.
        rounds: Shape `(n,)`: number of the epoch plus the earlier repetitions of the image in it.
    """

    positions: np.ndarray
    warps: np.ndarray
    colours: np.ndarray | None
    rounds: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, chosen: slice) -> "Epoch":
        colours = None if self.colours is None else self.colours[chosen]
        return Epoch(self.positions[chosen], self.warps[chosen], colours, self.rounds[chosen])


@dataclass(frozen=True)
class Sampling:
    """Draws epochs from a training set.

    Attributes:
        targets: Shape `(num_images,)`, 0 or 1: targets of the images to draw from.
        image_size: Side in pixels.
        sampling_power: 0 draws each image once, 1 each class equally often, see `data.sampling`.
        amounts: Amounts of augmentation.
        seed: Seed of all draws.
        classes: Shape `(num_images,)`, from 0: the labels to learn. None to learn the targets.
        num_classes: Number of classes.
    """

    targets: np.ndarray
    image_size: int
    sampling_power: float
    amounts: Augment
    seed: int
    classes: np.ndarray | None = None
    num_classes: int = 1

    def draw(self, epoch: int) -> Epoch:
        """Epoch number `epoch`."""
        # The first number tells streams apart: numpy pads seeds with zeros, so that one of three numbers
        # could be the same as one of two.
        generator = np.random.default_rng([0, self.seed, epoch])
        positions = self._draw_order(generator)
        turns = count_turns(positions)
        draws = self._draws(positions, turns, epoch)
        warps = draw_warps(draws, self.amounts, size=self.image_size)
        return Epoch(positions, warps, draw_colours(draws, self.amounts), epoch + turns)

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Labels of some images, float32: targets `(b,)`, or one-hot classes `(b, num_classes)`."""
        if self.classes is None:
            return self.targets[positions]
        return np.eye(self.num_classes, dtype=np.float32)[self.classes[positions]]

    def _draw_order(self, generator: np.random.Generator) -> np.ndarray:
        if not self.sampling_power:
            return draw_all(self.targets, generator)
        return draw_classes(self.targets, generator, power=self.sampling_power, classes=self.classes)

    def _draws(self, positions: np.ndarray, turns: np.ndarray, epoch: int) -> np.ndarray:
        """Shape `(n, NUM_DRAWS)`, uniform in 0..1: row i of table k is for image i at its k-th repetition."""
        draws = np.empty((len(positions), NUM_DRAWS))
        for turn in range(turns.max(initial=-1) + 1):
            table = draw_uniform(np.random.default_rng([1, self.seed, epoch, turn]), len(self.targets))
            draws[turns == turn] = table[positions[turns == turn]]
        return draws


def count_turns(positions: np.ndarray) -> np.ndarray:
    """Number of earlier occurrences of each entry: `[7, 3, 7, 7]` gives `[0, 0, 1, 2]`."""
    grouped = np.argsort(positions, kind="stable")
    ordered = positions[grouped]
    turns = np.empty_like(positions)
    turns[grouped] = np.arange(len(positions)) - np.searchsorted(ordered, ordered)
    return turns


def draw_all(targets: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every row number once, in random order."""
    return generator.permutation(len(targets))


def draw_classes(
    targets: np.ndarray,
    generator: np.random.Generator,
    *,
    power: float,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """As many row numbers as there are rows, with a share of each class by `data.sampling`, in random order.

    With a power of 1, half of them are of each target. The rows of the class that is drawn more often than it
    is found are repeated (each equally often, give or take one), the other one loses rows at random; the next
    epoch loses others.

    With several classes, targets have the same shares, so that the score of positive means the same as that
    of a network with one output; the classes of a target share its draws. No row comes more than `MAX_TURNS`
    times: two images of a class would otherwise fill a third of all epochs. The remainder goes to the other
    classes; the largest class has no bound.

    Args:
        targets: Shape `(num_images,)`, 0 or 1, both present.
        generator: Random generator.
        power: Sampling power, above 0, at most 1.
        classes: Shape `(num_images,)`, whole numbers; None for two classes, the targets.
    """
    sides = [np.flatnonzero(targets == value) for value in (0, 1)]
    num_positive = share_out(len(targets), [len(sides[1]), len(sides[0])], power)  # rounded down
    numbers = [len(targets) - num_positive, num_positive]
    if classes is None:
        drawn = [_draw_rows(rows, number, generator) for rows, number in zip(sides, numbers, strict=True)]
    else:
        drawn = [
            _draw_side(classes, rows, number, generator, power=power)
            for rows, number in zip(sides, numbers, strict=True)
        ]
    return generator.permutation(np.concatenate(drawn))


def _draw_side(
    classes: np.ndarray, rows: np.ndarray, number: int, generator: np.random.Generator, *, power: float
) -> np.ndarray:
    """Draw `number` of the rows of a target, the rarest class first; later classes share its remainder."""
    by_class = sorted((rows[classes[rows] == one] for one in np.unique(classes[rows])), key=len)
    drawn = []
    for at, mine in enumerate(by_class):
        sizes = [len(others) for others in by_class[at:]]
        share = number
        if len(sizes) > 1:
            share = min(share_out(number, sizes, power), MAX_TURNS * len(mine))
        drawn.append(_draw_rows(mine, share, generator))
        number -= share
    return np.concatenate(drawn)


def _draw_rows(rows: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
    rounds = [generator.permutation(rows) for _ in range(math.ceil(number / len(rows)))]
    return np.concatenate([rows[:0], *rounds])[:number]  # the first so that none can be drawn
