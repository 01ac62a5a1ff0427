"""Figures of results; every function returns a matplotlib figure and changes no global state."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melanoma.schema import DECISIONS, MODEL_NAMES, NOT_A_DEVICE
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, OperatingPoint

COLORS = {"baseline": "#6c757d", "backbone": "#b8860b", "tuned": "#0b6e99"}
CURVE = "#0b6e99"
CLASSES = {0: NEGATIVE, 1: POSITIVE}
CLASS_COLORS = {0: "#5b8fb9", 1: "#b23a48"}


def test_set_note(cohort: str, *, is_synthetic: bool, positive_means: str) -> str:
    """The note under figures of a cohort's test set: synthetic or not, and what `positive` means."""
    kind = ", SYNTHETIC images" if is_synthetic else ""
    return f"cohort {cohort}, test split{kind}; positive: {positive_means}"


def new_figure(title: str, note: str, *, width: float = 5.6, height: float = 4.6) -> Figure:
    """An empty figure with a title; `note` and the disclaimer are written below. Sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    line = textwrap.fill(f"{note} · {NOT_A_DEVICE}", width=int(20 * width))
    figure.supxlabel(line, fontsize=7, color="#555555")
    return figure


def roc_figure(
    curves: dict[str, pd.DataFrame],
    labels: dict[str, str],
    *,
    title: str,
    note: str,
    bands: dict[str, pd.DataFrame] | None = None,
) -> Figure:
    """ROC curves of several models in one plot.

    Args:
        curves: Curve of each model, columns `false_positive_fraction` and `sensitivity`.
        labels: Legend label of each model.
        bands: Band of each model from `bands.roc_band`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
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
        if bands is not None:
            band = bands[model]
            _fill(axes, band["false_positive_fraction"], band, COLORS[model])
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _fill(axes: Axes, x: pd.Series, band: pd.DataFrame, color: str) -> None:
    axes.fill_between(x, band["low"], band["high"], color=color, alpha=0.15, linewidth=0, label="95 % band")


def precision_figure(band: pd.DataFrame, *, prevalence: float, label: str, title: str, note: str) -> Figure:
    """Precision by recall with its band, and the line of a random model.

    Args:
        band: Band from `bands.precision_band`.
        prevalence: Fraction of positive images, in 0..1.
        label: Legend label of the curve.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(title, note)
    axes = figure.subplots()
    axes.axhline(prevalence, color="#bbbbbb", linewidth=1, linestyle="--", label="chance")
    axes.plot(band["recall"], band["precision"], color=CURVE, label=label)
    _fill(axes, band["recall"], band, CURVE)
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (ppv)", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize=8)
    return figure


def calibration_figure(curve: pd.DataFrame, bins: pd.DataFrame, *, title: str, note: str) -> Figure:
    """Smoothed positive fraction by probability with its band, that of bins, and images per bin.

    Args:
        curve: Curve from `calibration_curve.smooth`.
        bins: Bins from `calibration_curve.bins`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(title, note)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    shown = bins[bins["num_images"] > 0]
    upper.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--", label="calibrated")
    upper.plot(curve["mean_probability"], curve["malignant_fraction"], color=CURVE, label="smoothed")
    _fill(upper, curve["mean_probability"], curve, CURVE)
    upper.plot(shown["mean_probability"], shown["malignant_fraction"], "o", color="#444444", label="bins")
    _explain(upper, curve["undefined"])
    upper.set(ylabel="positive in truth", xlim=(0, 1), ylim=(-0.02, 1.02))
    upper.legend(loc="upper left", fontsize=8)
    width = bins["bin_high"] - bins["bin_low"]
    lower.bar(
        bins["bin_low"], bins["num_images"], width=width, align="edge", color="#c9d3da", edgecolor="white"
    )
    lower.set(xlabel="probability", ylabel="images")
    return figure


def _explain(axes: Axes, reasons: pd.Series) -> None:
    """Write into a panel why its curve or band is missing, if it is."""
    words = textwrap.fill("; ".join(sorted(set(reasons) - {""})), 40)
    if words:
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", fontsize=7, color="#888888")


def histogram_figure(
    target: np.ndarray, probability: np.ndarray, point: OperatingPoint, *, title: str, note: str
) -> Figure:
    """Histograms of the probabilities of each class, with the threshold and the referral band.

    Args:
        target: Shape `(num_images,)`, 0 or 1.
        probability: Shape `(num_images,)`.
        point: Operating point of the model.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(title, note)
    steps = np.linspace(0, 1, 41)
    for axes, (label, name) in zip(figure.subplots(2, 1, sharex=True), CLASSES.items(), strict=True):
        axes.hist(probability[target == label], bins=steps, color=CLASS_COLORS[label], label=name)
        axes.axvspan(point.refer_from, min(point.refer_to, 1), color="#f0c808", alpha=0.25, label="refer")
        axes.axvline(point.threshold, color="black", linewidth=1, label="threshold")
        axes.set(ylabel="images", xlim=(0, 1))
        axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("probability")
    return figure


def decision_figure(curve: pd.DataFrame, *, title: str, note: str) -> Figure:
    """Net benefit of the model, of treating everybody and of treating nobody, a panel per prevalence.

    Args:
        curve: Curve from `decision_curve.decision_curve`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    prevalences = [float(value) for value in curve["prevalence"].unique()]
    figure = new_figure(title, note, width=1.2 + 3.2 * len(prevalences), height=3.8)
    panels = np.atleast_1d(figure.subplots(1, len(prevalences)))
    for axes, prevalence in zip(panels, prevalences, strict=True):
        rows = curve[curve["prevalence"] == prevalence]
        x = rows["threshold_probability"]
        axes.axhline(0, color="#bbbbbb", linewidth=1, label="nobody")
        axes.plot(x, rows["treat_all"], color="#888888", linestyle="--", label="everybody")
        axes.plot(x, rows["net_benefit"], color=CURVE, label="the model")
        _fill(axes, x, rows, CURVE)
        _explain(axes, rows["undefined"])
        axes.set(xlabel="threshold probability", title=f"{prevalence:.0%} positive")
        axes.set_ylim(-0.25 * prevalence, 1.15 * prevalence)
        axes.legend(fontsize=7)
    panels[0].set_ylabel("net benefit")
    return figure


def slices_figure(entries: list[dict[str, Any]], *, metric: str, title: str, note: str) -> Figure:
    """A metric of each slice of the test images with its interval; too small slices have counts only.

    Args:
        entries: Entries from `slices.measure`.
        metric: One of `slices.MEASURED`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(title, note, width=7.2, height=1.5 + 0.24 * len(entries))
    axes = figure.subplots()
    for place, entry in enumerate(entries):
        found = entry[metric]
        if np.isfinite(found["value"]):
            axes.plot([found["low"], found["high"]], [place, place], color=CURVE, linewidth=1)
            axes.plot(found["value"], place, "o", color=CURVE, markersize=4)
        else:
            axes.text(0.01, place, "n too small", color="#888888", fontsize=7, va="center")
    names = [
        f"{entry['slice']}: {entry['value']} ({entry['num_images']}, {entry['num_malignant']} positive)"
        for entry in entries
    ]
    axes.set(yticks=range(len(entries)), xlim=(0, 1.02), ylim=(len(entries) - 0.5, -0.5), xlabel=metric)
    axes.set_yticklabels(names, fontsize=7)
    return figure


def confusion_figure(counts: dict[str, dict[str, int]], *, title: str, note: str) -> Figure:
    """Confusion matrix of truth (rows) and decision (columns).

    Args:
        counts: Number of images by truth and decision, see `thresholds.three_way`.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    truths = [NEGATIVE, POSITIVE]
    matrix = np.array([[counts[truth][answer] for answer in DECISIONS] for truth in truths])
    figure = new_figure(title, note, height=4.0)
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues", vmin=0)
    axes.set(xticks=[0, 1, 2], yticks=[0, 1], xticklabels=DECISIONS, yticklabels=truths)
    axes.set(xlabel="decision", ylabel="truth")
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if count > matrix.max() / 2 else "black"
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=14)
    return figure


def history_figure(history: pd.DataFrame, *, title: str, note: str) -> Figure:
    """Accuracy, loss and ranking scores by epoch, side by side.

    Args:
        history: Training history from `training.fit.train`; without a hold-out only its own lines are drawn.
        title: Title of the figure.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(title, note, width=9.6)
    panels = {
        "accuracy": {"accuracy": "train (augmented)", "val_accuracy": "hold-out"},
        "loss": {"loss": "train (augmented)", "val_loss": "hold-out"},
        "scores on the hold-out": {
            "val_auc_roc": "AUC",
            "val_average_precision": "average precision",
            "val_specificity_at_95_sensitivity": "specificity at 95 % sensitivity",
        },
    }
    for axes, (name, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        drawn = {column: label for column, label in lines.items() if column in history}
        for column, label in drawn.items():
            axes.plot(history["epoch"], history[column], label=label)
        axes.set(xlabel="epoch", title=name if drawn else "nothing was held out")
        if drawn:
            axes.legend(fontsize=8)
    return figure


def seeds_figure(comparison: dict[str, Any], *, score: str, note: str) -> Figure:
    """A dot for each seed and model, lines between the dots of a seed, a bar at the mean of each model.

    Args:
        comparison: Result of `seeds.compare`.
        score: Name of a score of the comparison.
        note: Origin of the images, written below the plot.
    """
    figure = new_figure(f"{score} at the selected epoch, by seed", note, width=4.8)
    axes = figure.subplots()
    of_model = {model: comparison[model][score] for model in MODEL_NAMES}
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
