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
    """Accuracy, loss and ranking scores by epoch, side by side.

    Args:
        history: From `training.fit.train`.
        title: Of the figure.
        note: As for `roc_figure`.
    """
    figure = new_figure(title, note, width=9.6)
    panels = {
        "accuracy": {"accuracy": "train (augmented)", "val_accuracy": "validation"},
        "loss": {"loss": "train (augmented)", "val_loss": "validation"},
        "ranking on validation": {
            "val_auc_roc": "AUC",
            "val_average_precision": "average precision",
            "val_specificity_at_95_sensitivity": "specificity at 95 % sensitivity",
        },
    }
    for axes, (name, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for column, label in lines.items():
            axes.plot(history["epoch"], history[column], label=label)
        axes.set(xlabel="epoch", title=name)
        axes.legend(fontsize=8)
    return figure


def seeds_figure(comparison: dict[str, Any], *, score: str, note: str) -> Figure:
    """A dot for each seed and model, lines between the dots of a seed, a bar at the mean of each model.

    Args:
        comparison: From `seeds.compare`.
        score: Which of its scores.
        note: As for `roc_figure`.
    """
    figure = new_figure(f"{score} of the kept epochs, by seed", note, width=4.8)
    axes = figure.subplots()
    of_model = {model: comparison[model][score] for model in COLORS}
    for seed in comparison["seeds"]:
        pair = [described["by_seed"][str(seed)] for described in of_model.values()]
        axes.plot([0, 1], pair, color="#dddddd", linewidth=1, zorder=1)
        axes.annotate(f"seed {seed}", (1, pair[1]), xytext=(7, -3), textcoords="offset points", fontsize=8)
    for place, (model, described) in enumerate(of_model.items()):
        values = list(described["by_seed"].values())
        axes.scatter([place] * len(values), values, color=COLORS[model], zorder=2)
        axes.hlines(described["mean"], place - 0.12, place + 0.12, color=COLORS[model], linewidth=2)
    axes.set(xticks=[0, 1], xticklabels=list(of_model), xlim=(-0.5, 1.5), ylabel=score)
    return figure
