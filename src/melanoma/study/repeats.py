"""Metrics of networks that were trained with several seeds, and differences between two kinds of networks.

The value is the mean over the networks, one per seed. Its interval is over groups of test images, for these
networks: a bootstrap of three networks would make their variance a third too small. How networks of other
seeds may differ is shown by the values of each network, `by_seed`, from which nothing is concluded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from melanoma.errors import DataError, first_offenders
from melanoma.evaluation import bootstrap, intervals
from melanoma.evaluation.intervals import Entry
from melanoma.evaluation.metrics import compute_metrics
from melanoma.schema import align

PAPER_THRESHOLD = 0.5  # the usual threshold of a sigmoid


@dataclass(frozen=True)
class SeedPredictions:
    """Predictions of networks of one kind, trained with different seeds, on the same test images.

    Attributes:
        target: Shape `(num_images,)`, 1 positive, 0 negative.
        group_ids: Shape `(num_images,)`.
        probabilities: Shape `(num_networks, num_images)`, in 0..1; row i belongs to the i-th seed.
        image_ids: Shape `(num_images,)`, unique; the order of all arrays.
    """

    target: np.ndarray
    group_ids: np.ndarray
    probabilities: np.ndarray
    image_ids: np.ndarray = field(kw_only=True)

    def take(self, chosen: np.ndarray) -> "SeedPredictions":
        """The images at `chosen`: positions, or a boolean mask of shape `(num_images,)`."""
        return SeedPredictions(
            self.target[chosen],
            self.group_ids[chosen],
            self.probabilities[:, chosen],
            image_ids=self.image_ids[chosen],
        )

    def select(self, image_ids: np.ndarray) -> "SeedPredictions":
        """The images with these ids, in this order.

        Raises:
            DataError: There is no prediction for one of them.
        """
        positions = pd.Index(self.image_ids).get_indexer(pd.Index(image_ids))
        missing = np.asarray(image_ids)[positions < 0]
        if len(missing):
            raise DataError(
                f"{len(missing)} of {len(positions)} images have no prediction of these networks: "
                f"{first_offenders(missing)}. Run the stage again."
            )
        return self.take(positions)

    def replace(self, probabilities: np.ndarray) -> "SeedPredictions":
        """Other probabilities for the same images."""
        return SeedPredictions(self.target, self.group_ids, probabilities, image_ids=self.image_ids)


def split_by_seed(
    rows: pd.DataFrame, *, image: str = "image_id", image_ids: Iterable[str] | None = None
) -> list[pd.DataFrame]:
    """The rows of each network, by increasing seed, all with the same images in the same order.

    Args:
        rows: One row per network and image, in any order; columns `seed`, `image`, `target`, `group_id` and
            others.
        image: The column that identifies an image.
        image_ids: The images of every network, in the wanted order; by default those of the first seed.

    Returns:
        One frame per network, indexed by `image`.

    Raises:
        DataError: A network has missing, unknown or repeated images, or two networks disagree about the
            target or group of an image.
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


def from_rows(
    rows: pd.DataFrame, *, image: str = "image_id", image_ids: Iterable[str] | None = None
) -> SeedPredictions:
    """Predictions of one kind of network; see `split_by_seed`, with the additional column `probability`."""
    parts = split_by_seed(rows, image=image, image_ids=image_ids)
    first = parts[0]
    return SeedPredictions(
        first["target"].to_numpy(),
        first["group_id"].to_numpy(),
        np.stack([part["probability"].to_numpy() for part in parts]),
        image_ids=first.index.to_numpy(),
    )


@dataclass(frozen=True)
class Bootstrap:
    """Settings of a bootstrap.

    Attributes:
        num_draws: Number of draws.
        seed: Random seed of the draws.
        threshold: A prediction is positive from this probability on.
    """

    num_draws: int
    seed: int
    threshold: float = PAPER_THRESHOLD

    @property
    def draws(self) -> bootstrap.Draws:
        """The draws of groups."""
        return bootstrap.Draws(self.num_draws, self.seed)


def by_network(difference: Mapping[str, Any]) -> str:
    """The difference of each pair of networks, to stand beside the interval of their mean.

    Args:
        difference: An entry of `paired_difference`, also as read from JSON.
    """
    values = [value for value in difference.get("by_seed", ()) if value is not None and np.isfinite(value)]
    return f", by network {', '.join(f'{value:+.3f}' for value in values)}" if values else ""


def measure_single(rows: pd.DataFrame) -> dict[str, float]:
    """Each metric of one network at `PAPER_THRESHOLD`, without intervals.

    Args:
        rows: One row per image, columns `target` and `probability`.
    """
    found = compute_metrics(
        rows["target"].to_numpy(),
        rows["probability"].to_numpy(),
        threshold=PAPER_THRESHOLD,
        weights=np.ones((1, len(rows))),
    )
    return {name: float(value[0]) for name, value in found.items()}


def measure(predictions: SeedPredictions, settings: Bootstrap) -> dict[str, dict[str, Any]]:
    """Each metric as mean over the networks, `value`, `low`, `high`, and of each network, `by_seed`.

    The 95 % interval is for these networks on other test groups.
    """
    found = bootstrap.mean_with_intervals(
        predictions.target,
        predictions.probabilities,
        predictions.group_ids,
        threshold=settings.threshold,
        draws=settings.draws,
    )
    return _with_networks(found, _values(predictions, settings))


def paired_difference(
    first: SeedPredictions, second: SeedPredictions, settings: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Each metric of `first` minus that of `second` on the same images, with its paired 95 % interval.

    Images are paired by their ids. `by_seed` has the differences of the i-th networks of each kind, which
    share a seed.

    Raises:
        ValueError: The images or the numbers of networks differ.
    """
    if set(first.image_ids) == set(second.image_ids):
        second = second.select(first.image_ids)
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
    found = bootstrap.mean_difference(
        first.target,
        first.probabilities,
        second.probabilities,
        first.group_ids,
        threshold=settings.threshold,
        draws=settings.draws,
    )
    return _with_networks(found, _subtracted(first, second, settings))


def difference(
    first: SeedPredictions, second: SeedPredictions, settings: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Each metric of `first` minus that of `second` on different images, with its 95 % interval.

    `by_seed` is there if both kinds have as many networks.
    """
    one, other = measure(first, settings), measure(second, settings)
    found = {name: intervals.independent_difference(one[name], other[name]) for name in one}
    if len(first.probabilities) != len(second.probabilities):
        return found
    return _with_networks(found, _subtracted(first, second, settings))


def _with_networks(found: dict[str, Entry], values: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Entries with the value of each network; nan where the metric is undefined for these images."""
    return {
        name: entry | {"by_seed": [float(value) for value in values[name] + 0 * entry["value"]]}
        for name, entry in found.items()
    }


def _subtracted(
    first: SeedPredictions, second: SeedPredictions, settings: Bootstrap
) -> dict[str, np.ndarray]:
    one, other = _values(first, settings), _values(second, settings)
    return {name: one[name] - other[name] for name in one}


def _values(predictions: SeedPredictions, settings: Bootstrap) -> dict[str, np.ndarray]:
    """Each metric by network, shape `(num_networks,)`, on all images."""
    once = np.ones((1, len(predictions.target)))
    found = [
        compute_metrics(predictions.target, probability, threshold=settings.threshold, weights=once)
        for probability in predictions.probabilities
    ]
    return {name: np.array([metrics[name][0] for metrics in found]) for name in found[0]}
