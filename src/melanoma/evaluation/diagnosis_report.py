"""Tables and figures of the results of `diagnosis.measure`."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.diagnosis import MACRO, PER_CLASS
from melanoma.evaluation.figures import new_figure
from melanoma.schema import CLASSES

TOO_SMALL = "n too small"
COLORS = dict(
    zip(
        CLASSES,
        ("#b23a48", "#5b8fb9", "#c98a1b", "#3d7a4e", "#7b4b94", "#c2577f", "#4a4a4a", "#8d99a6"),
        strict=True,
    )
)
STYLES = dict(zip(CLASSES, 2 * ("-", "--", "-.", ":"), strict=True))
NAMES = {  # column titles
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "ppv",
    "f1_score": "F1",
    "auc_roc": "AUC, one class against the rest",
}


def class_table(measured: dict[str, Any]) -> pd.DataFrame:
    """A row per class and one for the macro average: images, groups, metrics with 95 % intervals."""
    rows = [
        {"class": name, "test images": entry["num_images"], "groups": entry["num_groups"]}
        | {
            NAMES[metric]: TOO_SMALL if entry["is_too_small"] else in_words(entry[metric])
            for metric in PER_CLASS
        }
        for name, entry in measured["per_class"].items()
    ]
    macro = measured["macro"]
    mean = {
        "class": f"macro ({', '.join(macro['classes']) or 'no class'})",
        "test images": measured["num_images"],
        "groups": measured["num_groups"],
    } | {NAMES[metric]: in_words(macro[metric]) if metric in MACRO else "" for metric in PER_CLASS}
    return pd.DataFrame([*rows, mean])


def confusion_table(measured: dict[str, Any]) -> pd.DataFrame:
    """A row per true class: images by prediction (mean over networks) and shares with 95 % intervals."""
    rows = []
    for truth, counts in measured["confusion"]["counts"].items():
        shares = measured["confusion"]["shares"][truth]
        is_too_small = measured["per_class"][truth]["is_too_small"]
        row: dict[str, Any] = {"truth": truth}
        for called in counts:
            share = TOO_SMALL if is_too_small else in_words(shares[called])
            row |= {f"called {called}": round(counts[called], 1), f"share called {called}": share}
        rows.append(row)
    return pd.DataFrame(rows)


def summary_line(measured: dict[str, Any]) -> str:
    """The macro averages with intervals, and their classes, in one line."""
    macro = measured["macro"]
    parts = [f"{NAMES[name]} {in_words(macro[name])}" for name in MACRO]
    return f"macro over {', '.join(macro['classes']) or 'no class'}: {'; '.join(parts)}"


def roc_figure(bands: dict[str, pd.DataFrame], measured: dict[str, Any], *, title: str, note: str) -> Figure:
    """The ROC curve of each class against the rest, with its band and its AUC.

    Args:
        bands: Bands from `diagnosis.roc_bands`.
        measured: Result of `diagnosis.measure`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(title, note)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=(0, (1, 3)), label="chance")
    for name, band in bands.items():
        x, color = band["false_positive_fraction"], COLORS[name]
        auc = in_words(measured["per_class"][name]["auc_roc"])
        axes.plot(x, band["sensitivity"], color=color, linestyle=STYLES[name], label=f"{name}: AUC {auc}")
        axes.fill_between(x, band["low"], band["high"], color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(
        loc="lower right",
        fontsize=7,
        title="95 % bands and intervals over groups",
        title_fontsize=7,
    )
    return figure


def confusion_figure(measured: dict[str, Any], *, title: str, note: str) -> Figure:
    """Confusion matrix of truth (rows) and prediction (columns): counts and shares of the row.

    Args:
        measured: Result of `diagnosis.measure`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    by_truth = measured["confusion"]["counts"]
    counts = np.array([list(row.values()) for row in by_truth.values()])
    of_truth = counts.sum(1, keepdims=True)
    shares = np.divide(counts, of_truth, out=np.zeros_like(counts), where=of_truth > 0)
    figure = new_figure(title, note, width=max(5.6, 1.1 * len(counts)), height=max(4.6, len(counts)))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    words = [textwrap.fill(name, 16) for name in by_truth]
    places = range(len(words))
    axes.set(xticks=places, yticks=places)
    axes.set_xticklabels(words, rotation=90 if len(words) > 4 else 0, fontsize=7)
    axes.set_yticklabels(words, fontsize=7)
    axes.set(xlabel="answer", ylabel="truth")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{count:g}" if float(count).is_integer() else f"{count:.1f}"
        if of_truth[row, 0]:
            text += f"\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=10)
    return figure
