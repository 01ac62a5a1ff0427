"""Metrics of a kind of network that was trained several times, and differences of two kinds.

The value is the mean over the networks, one for each seed. Its interval takes up both sources of chance: a
draw takes as many groups of test images, and as many networks, as there are, each with replacement. Few
networks make for a coarse idea of the second; of one network nothing is known of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import bootstrap
from melanoma.evaluation.metrics import METRICS, compute_metrics

PAPER_THRESHOLD = 0.5  # of a sigmoid, where nobody chose another
MIN_NETWORKS = 3  # of a kind, to say something of their spread


@dataclass(frozen=True)
class Repeats:
    """What networks of one kind say of the same test images.

    Attributes:
        target: Shape `(num_images,)`, 1 malignant, 0 benign.
        group_ids: Shape `(num_images,)`.
        probabilities: Shape `(num_networks, num_images)`, in 0..1; row i is of the i-th seed.
    """

    target: np.ndarray
    group_ids: np.ndarray
    probabilities: np.ndarray

    def take(self, is_in: np.ndarray) -> "Repeats":
        """The images `is_in`, shape `(num_images,)`, bool."""
        return Repeats(self.target[is_in], self.group_ids[is_in], self.probabilities[:, is_in])


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

    Both see the same draws of groups; networks are drawn in pairs, the i-th of each, as they share a seed.

    Raises:
        ValueError: Other images, or another number of networks.
    """
    if not (
        np.array_equal(first.target, second.target) and np.array_equal(first.group_ids, second.group_ids)
    ):
        raise ValueError("a paired difference needs the same images in the same order")
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
