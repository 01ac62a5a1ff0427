"""Compare the mean of networks over seeds with that of networks over folds, on images that none learned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import bootstrap
from melanoma.evaluation.bootstrap import in_words

SEEDS, FOLDS = KINDS = ("seeds", "folds")
SHOWN = ("auc_roc", "specificity_at_95_sensitivity")
THRESHOLD = 0.5  # of metrics that are not shown


def compare(rows: pd.DataFrame, *, draws: bootstrap.Draws) -> dict[str, Any]:
    """What each kind of ensemble reaches over all outer folds, and the paired difference of the two.

    Args:
        rows: One row per kind and image: `outer` (fold), `kind` (one of `KINDS`), `image_id`, `group_id`,
            `target` (1 positive, 0 negative), `score` of the mean, `singles` (scores of its networks).
        draws: Draws of groups for the intervals.

    Returns:
        `outer_folds`, `num_images`, `num_positive`, `num_groups`; by kind each of `SHOWN` of the mean with
        its 95 % interval, and the mean over its networks under `single`; `folds_minus_seeds` with paired
        intervals; `better`: the kind whose mean has the higher AUC, `seeds` on a tie: it has no choice.
    """
    by_kind = {kind: part.sort_values(["outer", "image_id"]) for kind, part in rows.groupby("kind")}
    seeds, folds = (by_kind[kind] for kind in KINDS)
    target, group_ids = seeds["target"].to_numpy(), seeds["group_id"].to_numpy()
    means = {kind: by_kind[kind]["score"].to_numpy()[None] for kind in KINDS}
    options: dict[str, Any] = {"threshold": THRESHOLD, "draws": draws}
    measured = {
        kind: bootstrap.mean_with_intervals(target, mean, group_ids, **options)
        for kind, mean in means.items()
    }
    singles = {kind: np.stack(by_kind[kind]["singles"].to_list()).T for kind in KINDS}
    alone = {
        kind: bootstrap.mean_with_intervals(target, one, group_ids, **options)
        for kind, one in singles.items()
    }
    difference = bootstrap.mean_difference(target, means[FOLDS], means[SEEDS], group_ids, **options)
    is_higher = measured[FOLDS]["auc_roc"]["value"] > measured[SEEDS]["auc_roc"]["value"]
    return {
        "outer_folds": sorted({int(outer) for outer in folds["outer"]}),
        "num_images": len(seeds),
        "num_positive": int(target.sum()),
        "num_groups": int(seeds["group_id"].nunique()),
        **{
            kind: {
                **{name: measured[kind][name] for name in SHOWN},
                "single": {name: alone[kind][name] for name in SHOWN},
            }
            for kind in KINDS
        },
        "folds_minus_seeds": {name: difference[name] for name in SHOWN},
        "better": FOLDS if is_higher else SEEDS,
    }


def summary_line(results: Mapping[str, Any]) -> str:
    """Both means, their networks and the difference, in one line."""
    parts = [
        f"over {kind} AUC {in_words(results[kind]['auc_roc'])}, "
        f"its networks alone {results[kind]['single']['auc_roc']['value']:.3f}"
        for kind in KINDS
    ]
    difference = in_words(results["folds_minus_seeds"]["auc_roc"])
    return (
        f"mean of {results['num_networks']} networks on {results['num_images']} training images, out of "
        f"fold: {'; '.join(parts)}; folds minus seeds {difference}. The higher is train.ensemble: "
        f"{results['better']}"
    )
