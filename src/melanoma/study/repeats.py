"""Metrics of a kind of network that was trained several times, and differences of two kinds.

The value is the mean over the networks, one for each seed. Its interval takes up both sources of chance: a
draw takes as many groups of test images, and as many networks, as there are, each with replacement. Few
networks make for a coarse idea of the second; of one network nothing is known of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from melanoma.errors import DataError, first_offenders
from melanoma.evaluation import bootstrap
from melanoma.evaluation.metrics import METRICS, compute_metrics
from melanoma.schema import align

PAPER_THRESHOLD = 0.5  # of a sigmoid, where nobody chose another
MIN_NETWORKS = 3  # of a kind, to say something of their spread


@dataclass(frozen=True)
class Repeats:
    """What networks of one kind say of the same test images.

    Attributes:
        target: Shape `(num_images,)`, 1 malignant, 0 benign.
        group_ids: Shape `(num_images,)`.
        probabilities: Shape `(num_networks, num_images)`, in 0..1; row i is of the i-th seed.
        image_ids: Shape `(num_images,)`, each once; all arrays have its order. `of_rows` builds them so.
    """

    target: np.ndarray
    group_ids: np.ndarray
    probabilities: np.ndarray
    image_ids: np.ndarray = field(kw_only=True)

    def take(self, chosen: np.ndarray) -> "Repeats":
        """The images at `chosen`: positions, or shape `(num_images,)`, bool."""
        return Repeats(
            self.target[chosen],
            self.group_ids[chosen],
            self.probabilities[:, chosen],
            image_ids=self.image_ids[chosen],
        )

    def pick(self, image_ids: np.ndarray) -> "Repeats":
        """The images with these ids, in their order.

        Raises:
            DataError: The networks were not asked about one of them.
        """
        positions = pd.Index(self.image_ids).get_indexer(pd.Index(image_ids))
        missing = np.asarray(image_ids)[positions < 0]
        if len(missing):
            raise DataError(
                f"{len(missing)} of {len(positions)} images have no prediction of these networks: "
                f"{first_offenders(missing)}. Run the stage again."
            )
        return self.take(positions)


def by_seed(
    rows: pd.DataFrame, *, image: str = "image_id", image_ids: Iterable[str] | None = None
) -> list[pd.DataFrame]:
    """The rows of each network, by rising seed: all with the same images in the same order.

    The order of `rows` does not matter.

    Args:
        rows: Columns `seed`, `image`, `target`, `group_id` and others; a row a network and image.
        image: The column that identifies an image.
        image_ids: The images of every network, in their order; default: those of the first seed.

    Returns:
        A frame a network, indexed by `image`.

    Raises:
        DataError: A network lacks an image, has another one or has one twice, or two networks have another
            target or group for an image.
    """
    found: list[pd.DataFrame] = []
    for seed, part in rows.groupby("seed", sort=True):
        mine = part.set_index(image)
        image_ids = mine.index if image_ids is None else image_ids
        mine = align(mine, image_ids, what=f"The predictions of seed {seed}")
        first = found[0] if found else mine
        is_unlike = (mine["target"] != first["target"]) | (mine["group_id"] != first["group_id"])
        if is_unlike.any():
            raise DataError(
                f"{int(is_unlike.sum())} images have another target or group in the predictions of seed "
                f"{seed}: {first_offenders(mine.index[is_unlike])}. Run the stage again."
            )
        found.append(mine)
    return found


def of_rows(
    rows: pd.DataFrame, *, image: str = "image_id", image_ids: Iterable[str] | None = None
) -> Repeats:
    """The networks of one kind; arguments and errors as for `by_seed`, with the column `probability`."""
    parts = by_seed(rows, image=image, image_ids=image_ids)
    first = parts[0]
    return Repeats(
        first["target"].to_numpy(),
        first["group_id"].to_numpy(),
        np.stack([part["probability"].to_numpy() for part in parts]),
        image_ids=first.index.to_numpy(),
    )


@dataclass(frozen=True)
class Draws:
    """How a bootstrap is drawn.

    Attributes:
        num_draws: How often.
        seed: Of the draws.
        threshold: A network calls malignant what has at least this probability.
    """

    num_draws: int
    seed: int
    threshold: float = PAPER_THRESHOLD


def warn_of_few(num_networks: int) -> str:
    """What a finding adds where so few networks of each kind were trained; else nothing."""
    if num_networks >= MIN_NETWORKS:
        return ""
    return f" (fewer than {MIN_NETWORKS} networks of each kind: their spread is hardly known)"


def measure_once(rows: pd.DataFrame) -> dict[str, float]:
    """Each metric of one network, without intervals; called malignant from `PAPER_THRESHOLD` on.

    Args:
        rows: A row an image, columns `target` and `probability`.
    """
    found = compute_metrics(
        rows["target"].to_numpy(),
        rows["probability"].to_numpy(),
        threshold=PAPER_THRESHOLD,
        weights=np.ones((1, len(rows))),
    )
    return {name: float(value[0]) for name, value in found.items()}


def measure(repeats: Repeats, draws: Draws) -> dict[str, dict[str, Any]]:
    """Each of `metrics.METRICS`: `value`, `low`, `high` (95 % interval) and `by_seed`, by network."""
    values = _values(repeats, draws)
    drawn = _drawn(repeats, draws)
    return {
        name: bootstrap.described(values[name].mean(), drawn[name])
        | {"by_seed": [float(value) for value in values[name]]}
        for name in METRICS
    }


def paired_difference(first: Repeats, second: Repeats, draws: Draws) -> dict[str, dict[str, float]]:
    """Each metric of `first` minus that of `second` on the same images, with its paired 95 % interval.

    Images are paired by their ids.

    Both see the same draws of groups; networks are drawn in pairs, the i-th of each, as they share a seed.

    Raises:
        ValueError: Other images, or another number of networks.
    """
    if set(first.image_ids) == set(second.image_ids):
        second = second.pick(first.image_ids)
    if not (
        np.array_equal(first.image_ids, second.image_ids)
        and np.array_equal(first.target, second.target)
        and np.array_equal(first.group_ids, second.group_ids)
    ):
        raise ValueError("a paired difference needs the same images with the same targets and groups")
    if len(first.probabilities) != len(second.probabilities):
        raise ValueError(
            "a paired difference needs as many networks of each kind, got "
            f"{len(first.probabilities)} and {len(second.probabilities)}"
        )
    return _difference(first, second, draws, draws)


def difference(first: Repeats, second: Repeats, draws: Draws) -> dict[str, dict[str, float]]:
    """Each metric of `first` minus that of `second`, on images of their own, with its 95 % interval."""
    return _difference(first, second, draws, Draws(draws.num_draws, draws.seed + 1, draws.threshold))


def _difference(
    first: Repeats, second: Repeats, of_first: Draws, of_second: Draws
) -> dict[str, dict[str, float]]:
    values = [_values(first, of_first), _values(second, of_second)]
    drawn = [_drawn(first, of_first), _drawn(second, of_second)]
    return {
        name: bootstrap.described(
            values[0][name].mean() - values[1][name].mean(), drawn[0][name] - drawn[1][name]
        )
        for name in METRICS
    }


def _values(repeats: Repeats, draws: Draws) -> dict[str, np.ndarray]:
    """Each metric by network, shape `(num_networks,)`, all images once."""
    once = np.ones((1, len(repeats.target)))
    found = [
        compute_metrics(repeats.target, probability, threshold=draws.threshold, weights=once)
        for probability in repeats.probabilities
    ]
    return {name: np.array([metrics[name][0] for metrics in found]) for name in METRICS}


def _drawn(repeats: Repeats, draws: Draws) -> dict[str, np.ndarray]:
    """Each metric by draw, shape `(num_draws,)`: its mean over the networks of the draw."""
    weights = bootstrap.draw_weights(repeats.group_ids, num_draws=draws.num_draws, seed=draws.seed)
    num_networks = len(repeats.probabilities)
    chosen = np.random.default_rng([draws.seed, 1]).integers(
        num_networks, size=(draws.num_draws, num_networks)
    )

    def of_network(probability: np.ndarray) -> np.ndarray:
        def all_metrics(weights: np.ndarray) -> np.ndarray:
            found = compute_metrics(repeats.target, probability, threshold=draws.threshold, weights=weights)
            return np.stack([found[name] for name in METRICS], axis=1)

        return bootstrap.in_blocks(all_metrics, weights)

    by_network = np.stack([of_network(probability) for probability in repeats.probabilities])
    # Shape (num_networks, num_draws, num_metrics); a draw takes the mean over its networks.
    mean = by_network[chosen, np.arange(draws.num_draws)[:, None]].mean(axis=1)  # (num_draws, num_metrics)
    return {name: mean[:, at] for at, name in enumerate(METRICS)}
