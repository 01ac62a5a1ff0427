"""Whether it helps to cut out the lesion first: kinds of crops compared on the same test images."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.data.crops import MASK, NONE, UNET
from melanoma.evaluation import bootstrap
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.study import repeats
from melanoma.study.repeats import Draws

SHOWN = (
    "auc_roc",
    "average_precision",
    "specificity_at_95_sensitivity",
    "balanced_accuracy",
    "accuracy",
    "sensitivity",
    "specificity",
)
HEADLINE = "auc_roc"
NAMES = {NONE: "whole picture", MASK: "lesion by a person's mask", UNET: "lesion by the U-Net"}


def compare(predictions: pd.DataFrame, draws: Draws) -> dict[str, Any]:
    """Metrics of each kind of crop, and what it adds to the whole picture.

    Args:
        predictions: Columns `crop`, `seed`, `image_id`, `group_id`, `target`, `probability`; every crop has
            the same seeds, and every network the same images.
        draws: Of the intervals, and the threshold.

    Returns:
        By crop `metrics` (see `repeats.measure`), and for all but `none` `minus_none` (see
        `repeats.paired_difference`).
    """
    ordered = predictions.sort_values("image_id", kind="stable")
    found = {
        str(crop): repeats.of_rows(ordered[ordered["crop"] == crop]) for crop in predictions["crop"].unique()
    }
    compared: dict[str, Any] = {}
    for crop, networks in found.items():
        compared[crop] = {"metrics": _shown(repeats.measure(networks, draws))}
        if crop != NONE:
            compared[crop]["minus_none"] = _shown(repeats.paired_difference(networks, found[NONE], draws))
    return compared


def _shown(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: measured[name] for name in SHOWN}


def table(compared: dict[str, Any]) -> pd.DataFrame:
    """One row a crop, for people: metrics with intervals, then what it adds to the AUC of whole pictures."""
    rows = []
    for crop, entry in compared.items():
        row = {"crop": crop, "the network sees": NAMES[crop]}
        row |= {f"stayed whole, {split}": number for split, number in entry["num_whole"].items()}
        row |= {name: bootstrap.in_words(entry["metrics"][name]) for name in SHOWN}
        lead = entry.get("minus_none")
        row["auc_roc minus none"] = "" if lead is None else bootstrap.in_words(lead[HEADLINE])
        rows.append(row)
    return pd.DataFrame(rows)


def overlap_table(splits: dict[str, Any]) -> pd.DataFrame:
    """One row a split and dataset, for people: how well the U-Net's lesions cover the drawn ones.

    Args:
        splits: `splits` of the report of the stage `segment`.
    """
    return pd.DataFrame(
        [
            {
                "split": split,
                "dataset": dataset,
                "images": entry["num_images"],
                "with a mask": entry["num_with_mask"],
                "nothing found": entry["num_nothing_found"],
                "Dice": bootstrap.in_words(entry["dice"]),
                "Jaccard": bootstrap.in_words(entry["jaccard"]),
            }
            for split, parts in splits.items()
            for dataset, entry in parts["datasets"].items()
        ]
    )


def in_a_sentence(crop: str, entry: dict[str, Any]) -> str:
    """What the interval of the difference to the whole picture says."""
    lead = entry["minus_none"][HEADLINE]
    few = repeats.warn_of_few(len(entry["metrics"][HEADLINE]["by_seed"]))
    said = f"{NAMES[crop]}: AUC {bootstrap.in_words(lead)} against the whole picture{few}"
    if lead["low"] is None or not np.isfinite(lead["low"]):
        return f"{said}; nothing can be said"
    if lead["low"] > 0:
        return f"{said}; it helps"
    return (
        f"{said}; it harms"
        if lead["high"] < 0
        else f"{said}; the interval holds 0, so no difference is shown"
    )


def figure(compared: dict[str, Any], *, note: str) -> Figure:
    """AUC of each crop and its difference to the whole picture, with intervals; a dot for each network."""
    drawn = new_figure(
        "Does it help to cut out the lesion?", note, width=7.5, height=2.2 + 0.45 * len(compared)
    )
    left, right = drawn.subplots(1, 2, sharey=True)
    for row, (_, entry) in enumerate(compared.items()):
        auc = entry["metrics"][HEADLINE]
        _draw_interval(left, row, auc)
        left.scatter(auc["by_seed"], np.full(len(auc["by_seed"]), row + 0.2), s=12, color="#888888")
        if "minus_none" in entry:
            _draw_interval(right, row, entry["minus_none"][HEADLINE])
    left.set(
        xlabel="AUC on test (grey: each network)",
        yticks=range(len(compared)),
        yticklabels=[NAMES[crop] for crop in compared],
        ylim=(len(compared) - 0.5, -0.5),
    )
    right.axvline(0, color="#bbbbbb", linewidth=1)
    right.set(xlabel="AUC minus that of the whole picture")
    return drawn


def _draw_interval(axes: Any, row: int, entry: dict[str, Any]) -> None:
    axes.plot([entry["low"], entry["high"]], [row, row], color=CURVE, linewidth=2)
    axes.plot([entry["value"]], [row], "o", color=CURVE)
