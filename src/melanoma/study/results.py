"""What the study says of a cohort: each kind of network under each protocol, and what the protocol adds."""

from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import metrics
from melanoma.study import repeats
from melanoma.study.repeats import Draws, Repeats

MAIN_NETWORK = "conv_blocks_3"  # the published one
TEST_VIEW = "test"
BALANCED_VIEW = "test_balanced_by_copies"  # of leak_free: the same test images, balanced as `paper` balances
PREDICTION_COLUMNS = (
    "network",
    "protocol",
    "view",
    "seed",
    "picture_id",
    "image_id",
    "group_id",
    "target",
    "is_copy",
    "has_relative",
    "probability",
)
GRID = np.linspace(0, 1, 101)  # of ROC curves


def of_network(predictions: pd.DataFrame, draws: Draws) -> dict[str, Any]:
    """Everything about one kind of network.

    Args:
        predictions: Its rows, columns `PREDICTION_COLUMNS`; each seed has the same pictures, in any order.
        draws: Of the intervals.

    Returns:
        By protocol: `views` (by name, see `repeats.measure`, with counts of images and groups) and
        `confusion` (counts by seed); and `paper_minus_leak_free`, by view of `leak_free`: the difference of
        each metric with its interval, where both protocols are there.
    """
    by_view = {
        (str(protocol), str(view)): rows
        for (protocol, view), rows in predictions.groupby(["protocol", "view"])
    }
    found: dict[str, Any] = {"protocols": {}}
    for (protocol, view), rows in by_view.items():
        entry = found["protocols"].setdefault(protocol, {"views": {}})
        entry["views"] |= _parts(rows, view, draws)
        if view == TEST_VIEW:
            entry["confusion"] = confusion_by_seed(rows, threshold=draws.threshold)
    if ("paper", TEST_VIEW) in by_view:
        ours = as_repeats(by_view["paper", TEST_VIEW])
        found["paper_minus_leak_free"] = {
            view: repeats.difference(ours, as_repeats(rows), draws)
            for (protocol, view), rows in by_view.items()
            if protocol == "leak_free"
        }
    return found


def _parts(rows: pd.DataFrame, view: str, draws: Draws) -> dict[str, Any]:
    """The view, and where the protocol leaks its parts: without copies, and without relatives in training."""
    parts = {view: np.ones(len(rows), dtype=bool)}
    if rows["has_relative"].any():
        parts[f"{view}_without_copies"] = ~rows["is_copy"].to_numpy()
        parts[f"{view}_without_relatives"] = ~rows["has_relative"].to_numpy()
        parts[f"{view}_with_relatives"] = rows["has_relative"].to_numpy()
    return {name: _measured(as_repeats(rows[is_in]), draws) for name, is_in in parts.items() if is_in.any()}


def _measured(kind: Repeats, draws: Draws) -> dict[str, Any]:
    counts = {
        "num_images": len(kind.target),
        "num_malignant": int(kind.target.sum()),
        "num_malignant_groups": len(set(kind.group_ids[kind.target == 1])),
        "num_benign_groups": len(set(kind.group_ids[kind.target == 0])),
    }
    return counts | repeats.measure(kind, draws)


def minus_main(predictions: pd.DataFrame, network: str, draws: Draws) -> dict[str, Any]:
    """A kind of network less the published one, on the same test images.

    Args:
        predictions: Of both, columns `PREDICTION_COLUMNS`.
        network: The kind.
        draws: Of the intervals.

    Returns:
        By protocol: the difference of each metric with its paired interval; nothing for the published network
        itself, and where it was not trained.
    """
    tested = predictions[predictions["view"] == TEST_VIEW]
    found = {}
    for protocol, rows in tested.groupby("protocol"):
        kinds = {str(name): as_repeats(mine) for name, mine in rows.groupby("network")}
        if network != MAIN_NETWORK and {network, MAIN_NETWORK} <= set(kinds):
            found[str(protocol)] = repeats.paired_difference(kinds[network], kinds[MAIN_NETWORK], draws)
    return found


def as_repeats(rows: pd.DataFrame) -> Repeats:
    """Predictions of one view; a copy has the image_id of its original, so pictures are told by their own."""
    return repeats.of_rows(rows, image="picture_id")


def confusion_by_seed(rows: pd.DataFrame, *, threshold: float) -> dict[str, dict[str, int]]:
    """True and false positives and negatives of each seed's network."""
    return {
        str(seed): {
            name: int(count[0])
            for name, count in metrics.confusion_counts(
                part["target"].to_numpy(),
                part["probability"].to_numpy() >= threshold,
                weights=np.ones((1, len(part))),
            ).items()
        }
        for seed, part in rows.groupby("seed", sort=True)
    }


def roc_points(predictions: pd.DataFrame) -> pd.DataFrame:
    """ROC curves of the test views on a grid, one of each network, protocol and seed.

    Returns:
        Columns `network`, `protocol`, `seed`, `false_positive_fraction`, `sensitivity` (four digits).
    """
    curves = []
    tested = predictions[predictions["view"] == TEST_VIEW]
    for (network, protocol, seed), rows in tested.groupby(["network", "protocol", "seed"], sort=True):
        curve = metrics.roc_curve(rows["target"].to_numpy(), rows["probability"].to_numpy())
        at = np.searchsorted(curve["false_positive_fraction"], GRID + 1e-9, side="right") - 1
        curves.append(
            pd.DataFrame(
                {
                    "network": network,
                    "protocol": protocol,
                    "seed": seed,
                    "false_positive_fraction": GRID.round(4),
                    "sensitivity": curve["sensitivity"][at].round(4),
                }
            )
        )
    return pd.concat(curves, ignore_index=True)
