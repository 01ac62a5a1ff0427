"""Pictures of results; every function returns a matplotlib figure and touches no global state."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.schema import NOT_A_DEVICE

COLORS = {"baseline": "#6c757d", "tuned": "#0b6e99"}


def new_figure(title: str, note: str, *, width: float = 5.6, height: float = 4.6) -> Figure:
    """An empty figure (inches) with a title; `note` and that this is no device stand under it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"{note} · {NOT_A_DEVICE}", fontsize=7, color="#555555")
    return figure


def roc_figure(curves: dict[str, pd.DataFrame], labels: dict[str, str], *, title: str, note: str) -> Figure:
    """ROC curves of several models in one plot.

    Args:
        curves: By model: columns `false_positive_fraction` and `sensitivity`.
        labels: By model: what the legend says.
        title: Of the figure.
        note: Where the images come from; stands under the plot.
    """
    figure = new_figure(title, note)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--", label="chance")
    for model, curve in curves.items():
        axes.plot(
            curve["false_positive_fraction"],
            curve["sensitivity"],
            color=COLORS[model],
            drawstyle="steps-post",
            label=labels[model],
        )
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", fontsize=8)
    return figure


def confusion_figure(counts: dict[str, float], *, title: str, note: str) -> Figure:
    """The four counts as a 2 x 2 picture, rows the truth, columns the decision.

    Args:
        counts: `true_positives`, `false_negatives`, `false_positives`, `true_negatives`.
        title: Of the figure.
        note: As for `roc_figure`.
    """
    matrix = np.array(
        [
            [counts["true_negatives"], counts["false_positives"]],
            [counts["false_negatives"], counts["true_positives"]],
        ]
    )
    figure = new_figure(title, note, width=4.8)
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues", vmin=0)
    names = ["benign", "malignant"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    axes.set(xlabel="decision", ylabel="truth")
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if count > matrix.max() / 2 else "black"
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=14)
    return figure


def history_figure(history: pd.DataFrame, *, title: str, note: str) -> Figure:
    """Accuracy, loss and validation AUC by epoch, side by side.

    Args:
        history: From `training.fit.fit`.
        title: Of the figure.
        note: As for `roc_figure`.
    """
    figure = new_figure(title, note, width=9.6)
    panels = {
        "accuracy": {"accuracy": "train (augmented)", "val_accuracy": "validation"},
        "loss": {"loss": "train (augmented)", "val_loss": "validation"},
        "AUC": {"val_auc_roc": "validation"},
    }
    for axes, (name, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for column, label in lines.items():
            axes.plot(history["epoch"], history[column], label=label)
        axes.set(xlabel="epoch", title=name)
        axes.legend(fontsize=8)
    return figure


def trials_figure(trials: list[dict[str, Any]], *, note: str) -> Figure:
    """Every completed trial by learning rate, depth and validation AUC; the baseline is marked.

    Args:
        trials: As in `tuning.json`; only completed ones are drawn.
        note: As for `roc_figure`.
    """
    figure = new_figure("trials of the study", note, width=6.4)
    axes = figure.subplots()
    done = [trial for trial in trials if trial["val_auc_roc"] is not None]
    points = axes.scatter(
        [trial["learning_rate"] for trial in done],
        [trial["val_auc_roc"] for trial in done],
        c=[trial["depth"] for trial in done],
        cmap="viridis",
        vmin=1,
        vmax=5,
        s=60,
    )
    for trial in done:
        name = "baseline" if trial["is_baseline"] else str(trial["trial"])
        place = (trial["learning_rate"], trial["val_auc_roc"])
        axes.annotate(name, place, xytext=(5, 4), textcoords="offset points", fontsize=8)
    figure.colorbar(points, ax=axes, label="depth (blocks)", ticks=range(1, 6))
    axes.set(xscale="log", xlabel="learning rate", ylabel="validation AUC")
    return figure
