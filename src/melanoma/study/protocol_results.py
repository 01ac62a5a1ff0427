"""Results of the stage `protocols`: metrics of each kind of network under each protocol, and differences."""

from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import metrics
from melanoma.study import repeats
from melanoma.study.repeats import Bootstrap, SeedPredictions

MAIN_NETWORK = "conv_blocks_3"  # the published one
TEST_VIEW = "test"
BALANCED_VIEW = "test_balanced_by_copies"  # the leak-free test set, balanced as the paper's protocol does
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
GRID = np.linspace(0, 1, 101)  # false positive fractions of ROC curves


def measure_network(predictions: pd.DataFrame, settings: Bootstrap) -> dict[str, Any]:
    """All metrics of one kind of network.

    Args:
        predictions: Its rows, columns `PREDICTION_COLUMNS`; every seed has the same pictures, in any order.
        settings: Settings of the bootstrap.

    Returns:
        By protocol, `views` (by name, see `repeats.measure`, with counts of images and groups) and
        `confusion` (counts by seed). If both protocols are there, also `paper_minus_leak_free`: for each view
        of `leak_free`, the difference of each metric with its interval.
    """
    by_view = {
        (str(protocol), str(view)): rows
        for (protocol, view), rows in predictions.groupby(["protocol", "view"])
    }
    found: dict[str, Any] = {"protocols": {}}
    for (protocol, view), rows in by_view.items():
        entry = found["protocols"].setdefault(protocol, {"views": {}})
        entry["views"] |= _measure_parts(rows, view, settings)
        if view == TEST_VIEW:
            entry["confusion"] = confusion_by_seed(rows, threshold=settings.threshold)
    if ("paper", TEST_VIEW) in by_view:
        paper = to_seed_predictions(by_view["paper", TEST_VIEW])
        found["paper_minus_leak_free"] = {
            view: repeats.difference(paper, to_seed_predictions(rows), settings)
            for (protocol, view), rows in by_view.items()
            if protocol == "leak_free"
        }
    return found


def _measure_parts(rows: pd.DataFrame, view: str, settings: Bootstrap) -> dict[str, Any]:
    """The view and, if the protocol leaks, its parts with and without copies and relatives."""
    parts = {view: np.ones(len(rows), dtype=bool)}
    if rows["has_relative"].any():
        parts[f"{view}_without_copies"] = ~rows["is_copy"].to_numpy()
        parts[f"{view}_without_relatives"] = ~rows["has_relative"].to_numpy()
        parts[f"{view}_with_relatives"] = rows["has_relative"].to_numpy()
    return {
        name: _measure_view(to_seed_predictions(rows[is_in]), settings)
        for name, is_in in parts.items()
        if is_in.any()
    }


def _measure_view(predictions: SeedPredictions, settings: Bootstrap) -> dict[str, Any]:
    target, group_ids = predictions.target, predictions.group_ids
    counts = {
        "num_images": len(target),
        "num_malignant": int(target.sum()),
        "num_malignant_groups": len(set(group_ids[target == 1])),
        "num_benign_groups": len(set(group_ids[target == 0])),
    }
    return counts | repeats.measure(predictions, settings)


def difference_from_main(predictions: pd.DataFrame, network: str, settings: Bootstrap) -> dict[str, Any]:
    """One kind of network minus the published one, on the same test images.

    Args:
        predictions: Rows of both, columns `PREDICTION_COLUMNS`.
        network: Name of the kind of network.
        settings: Settings of the bootstrap.

    Returns:
        By protocol, the difference of each metric with its paired interval. Empty for the published network
        itself, and for protocols under which it was not trained.
    """
    tested = predictions[predictions["view"] == TEST_VIEW]
    found = {}
    for protocol, rows in tested.groupby("protocol"):
        kinds = {str(name): to_seed_predictions(mine) for name, mine in rows.groupby("network")}
        if network != MAIN_NETWORK and {network, MAIN_NETWORK} <= set(kinds):
            found[str(protocol)] = repeats.paired_difference(kinds[network], kinds[MAIN_NETWORK], settings)
    return found


def to_seed_predictions(rows: pd.DataFrame) -> SeedPredictions:
    """Predictions of one view; pictures are identified by picture_id, as copies share an image_id."""
    return repeats.from_rows(rows, image="picture_id")


def confusion_by_seed(rows: pd.DataFrame, *, threshold: float) -> dict[str, dict[str, int]]:
    """Confusion matrix of each seed's network."""
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
    """ROC curves on the test set on a grid, one for each network, protocol and seed.

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
