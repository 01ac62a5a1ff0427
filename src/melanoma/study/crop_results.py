"""Does cropping to the lesion help? Kinds of crops compared on the same test images."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melanoma.data.crops import MASK, NONE, UNET
from melanoma.evaluation.bootstrap import in_words, number_in_words
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.schema import NOT_A_DEVICE
from melanoma.study import repeats
from melanoma.study.repeats import Bootstrap
from melanoma.study.report_folder import Captions

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
NAMES = {NONE: "whole image", MASK: "lesion, by a manual mask", UNET: "lesion, by the U-Net"}


def compare(predictions: pd.DataFrame, settings: Bootstrap) -> dict[str, Any]:
    """Metrics of each kind of crop, and its difference from the whole image.

    Args:
        predictions: Columns `crop`, `seed`, `image_id`, `group_id`, `target`, `probability`; every crop has
            the same seeds, and every network the same images.
        settings: Settings of the bootstrap.

    Returns:
        By crop `metrics` (see `repeats.measure`), and for all but `none` `minus_none` (see
        `repeats.paired_difference`).
    """
    ordered = predictions.sort_values("image_id", kind="stable")
    kinds = {
        str(crop): repeats.from_rows(ordered[ordered["crop"] == crop])
        for crop in predictions["crop"].unique()
    }
    compared: dict[str, Any] = {}
    for crop, networks in kinds.items():
        compared[crop] = {"metrics": _shown(repeats.measure(networks, settings))}
        if crop != NONE:
            compared[crop]["minus_none"] = _shown(repeats.paired_difference(networks, kinds[NONE], settings))
    return compared


def _shown(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: measured[name] for name in SHOWN}


def table(compared: dict[str, Any]) -> pd.DataFrame:
    """One row per crop: metrics with intervals, and the difference in AUC from whole images."""
    rows = []
    for crop, entry in compared.items():
        row = {"crop": crop, "the network sees": NAMES[crop]}
        row |= {f"not cropped, {split}": number for split, number in entry["num_whole"].items()}
        row |= {name: in_words(entry["metrics"][name]) for name in SHOWN}
        lead = entry.get("minus_none")
        row["auc_roc, each network"] = ", ".join(map(number_in_words, entry["metrics"][HEADLINE]["by_seed"]))
        row["auc_roc minus none"] = "" if lead is None else in_words(lead[HEADLINE])
        rows.append(row)
    return pd.DataFrame(rows)


def overlap_table(splits: dict[str, Any]) -> pd.DataFrame:
    """One row per split and dataset: how well the U-Net's lesions overlap with the manual masks.

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
                "Dice": in_words(entry["dice"]),
                "Jaccard": in_words(entry["jaccard"]),
            }
            for split, parts in splits.items()
            for dataset, entry in parts["datasets"].items()
        ]
    )


def finding(crop: str, entry: dict[str, Any]) -> str:
    """What the interval of the difference from the whole image means, for these networks."""
    lead = entry["minus_none"][HEADLINE]
    if lead["low"] is None or not np.isfinite(lead["low"]):
        verdict = "undefined"
    elif lead["low"] > 0:
        verdict = "significantly better"
    elif lead["high"] < 0:
        verdict = "significantly worse"
    else:
        verdict = "not significant"
    found = f"{in_words(lead)}{repeats.by_network(lead)}"
    return f"{NAMES[crop]}: difference in AUC from the whole image {found}; {verdict}"


def figure(compared: dict[str, Any], *, note: str) -> Figure:
    """AUC of each crop and its difference from the whole image, with intervals; a dot for each network."""
    drawn = new_figure(
        "Does cropping to the lesion help?", note, width=7.5, height=2.2 + 0.45 * len(compared)
    )
    left, right = drawn.subplots(1, 2, sharey=True)
    for row, entry in enumerate(compared.values()):
        auc = entry["metrics"][HEADLINE]
        _draw_interval(left, row, auc)
        left.scatter(auc["by_seed"], np.full(len(auc["by_seed"]), row + 0.2), s=12, color="#888888")
        if "minus_none" in entry:
            _draw_interval(right, row, entry["minus_none"][HEADLINE])
    left.set(
        xlabel="AUC on the test set (grey: each network)",
        yticks=range(len(compared)),
        yticklabels=[NAMES[crop] for crop in compared],
        ylim=(len(compared) - 0.5, -0.5),
    )
    right.axvline(0, color="#bbbbbb", linewidth=1)
    right.set(xlabel="AUC minus that of the whole image")
    return drawn


def _draw_interval(axes: Axes, row: int, entry: dict[str, Any]) -> None:
    axes.plot([entry["low"], entry["high"]], [row, row], color=CURVE, linewidth=2)
    axes.plot([entry["value"]], [row], "o", color=CURVE)


def captions(results: dict[str, Any], *, note: str) -> Captions:
    """By file name: `caption` and, where it differs, `alt`."""
    seeds = f"{len(results['seeds'])} networks each"
    device = f"{NOT_A_DEVICE.capitalize()}."
    return {
        "crops.csv": {
            "caption": f"The baseline on whole images and on crops to the lesion ({note}, {seeds}, leak-free "
            "splits), with 95 % intervals over groups of test images, for these networks. Images without a "
            "lesion box are not cropped and are counted. In clinical practice there are no manual masks. "
            f"{device}"
        },
        "crops.png": {
            "caption": f"AUC by kind of crop, and the paired difference from whole images ({note}). {device}",
            "alt": "Intervals of the AUC of each crop. " + ". ".join(results["in_words"]) + ".",
        },
    }
