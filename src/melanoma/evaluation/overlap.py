"""Overlap of predicted and drawn lesions: Dice and Jaccard with 95 % intervals over groups."""

from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation.bootstrap import described, draw_weights
from melanoma.evaluation.metrics import divide
from melanoma.schema import SPLITS

OVERLAPS = ("dice", "jaccard")


def summarize(table: pd.DataFrame, *, num_draws: int, seed: int) -> dict[str, Any]:
    """Summarise the overlap by split, and within a split by dataset.

    Args:
        table: One row per image: `split`, `dataset`, `group_id`, `dice`, `jaccard` (nan without a usable
            mask) and `is_found`, whether there is a box.
        num_draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        By split `num_images`, `num_with_mask`, `num_nothing_found` (of all images), the mean `dice` and
        `jaccard` over images with a mask as `value`, `low`, `high`, and `datasets`, the same of each.
    """
    options = {"num_draws": num_draws, "seed": seed}
    summary = {}
    for split in SPLITS:
        rows = table[table["split"] == split]
        by_dataset = {
            str(name): _measure(part, **options) for name, part in rows.groupby("dataset", sort=True)
        }
        summary[split] = _measure(rows, **options) | {"datasets": by_dataset}
    return summary


def _measure(rows: pd.DataFrame, *, num_draws: int, seed: int) -> dict[str, Any]:
    counts = {
        "num_images": len(rows),
        "num_with_mask": int(rows["dice"].notna().sum()),
        "num_nothing_found": int((~rows["is_found"]).sum()),
    }
    judged = rows[rows["dice"].notna()]
    if judged.empty:
        undefined = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
        return counts | dict.fromkeys(OVERLAPS, undefined)
    weights = draw_weights(judged["group_id"].to_numpy(), num_draws=num_draws, seed=seed)
    sums = weights @ judged[list(OVERLAPS)].to_numpy(np.float64)
    means = divide(sums, np.broadcast_to(weights.sum(axis=1, keepdims=True), sums.shape))
    return counts | {name: described(judged[name].mean(), means[:, at]) for at, name in enumerate(OVERLAPS)}
