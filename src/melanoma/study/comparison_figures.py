"""Figures of the comparison with the paper: both protocols side by side, a thin line for each seed."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melanoma.evaluation import bootstrap
from melanoma.evaluation.figures import new_figure
from melanoma.study.comparison_tables import NAMES, PRINTED
from melanoma.study.protocol_results import TEST_VIEW

COLORS = {"paper": "#b23a48", "leak_free": "#0b6e99"}
PRINTED_COLOR = "#333333"


def roc_figure(curves: pd.DataFrame, entry: dict[str, Any], *, title: str, note: str) -> Figure:
    """ROC curves of one kind of network under each protocol.

    Args:
        curves: The network's rows of `protocol_results.roc_points`.
        entry: The network's entry in the results file; its intervals are shown in the legend.
        title: Title of the figure.
        note: Text under the plot that says where the images come from.
    """
    figure = new_figure(title, note)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--", label="chance")
    for protocol, found in entry["protocols"].items():
        area = bootstrap.in_words(found["views"][TEST_VIEW]["auc_roc"])
        label = f"{NAMES[protocol]}: AUC {area}"
        for _, rows in curves[curves["protocol"] == protocol].groupby("seed", sort=True):
            axes.plot(
                rows["false_positive_fraction"],
                rows["sensitivity"],
                color=COLORS[protocol],
                linewidth=1,
                drawstyle="steps-post",
                label=label,
            )
            label = "_nolegend_"  # one line per seed, one label per protocol
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", fontsize=7)
    return figure


def history_figure(history: pd.DataFrame, *, title: str, note: str) -> Figure:
    """Accuracy and loss by epoch under each protocol: training dotted, the first seed emphasised.

    Args:
        history: Rows of one kind of network, columns `protocol`, `seed`, `epoch`, `loss`, `accuracy`,
            `val_loss` and `val_accuracy`.
        title: Title of the figure.
        note: As for `roc_figure`.
    """
    figure = new_figure(title, note, width=8.4, height=4.0)
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for (protocol, seed), rows in history.groupby(["protocol", "seed"], sort=True):
            is_first = seed == history["seed"].min()
            for column, width, kind in ((name, 0.8, "training"), (f"val_{name}", 1.6, "validation")):
                label = f"{NAMES[str(protocol)]}, {kind}" if is_first else "_nolegend_"
                style = "-" if width > 1 else ":"
                axes.plot(
                    rows["epoch"],
                    rows[column],
                    style,
                    color=COLORS[str(protocol)],
                    linewidth=width,
                    alpha=0.9 if is_first else 0.35,
                    label=label,
                )
        axes.set(xlabel="epoch", title=name)
    axes.legend(fontsize=7)
    return figure


def depth_figure(table: list[dict[str, float]], networks: dict[str, Any], *, title: str, note: str) -> Figure:
    """Recall, precision, F1 and AUC by number of layers: the paper's, and ours with intervals.

    Args:
        table: Table I as printed.
        networks: `networks` of PH2's results.
        title: Title of the figure.
        note: As for `roc_figure`.
    """
    figure = new_figure(title, note, width=10.4, height=3.8)
    names = {"sensitivity": "recall", "ppv": "precision", "f1_score": "F1", "auc_roc": "AUC"}
    for axes, (metric, name) in zip(figure.subplots(1, 4, sharey=True), names.items(), strict=True):
        if metric in table[0]:
            depths, values = zip(*((row["depth"], row[metric]) for row in table), strict=True)
            axes.plot(depths, values, "--", color=PRINTED_COLOR, linewidth=1, marker="x", label=PRINTED)
        for place, protocol in enumerate(NAMES):
            _by_depth(axes, networks, protocol, metric, shift=0.12 * (2 * place - 1))
        axes.set(xlabel="layers", title=name, ylim=(0, 1.03), xticks=[row["depth"] for row in table])
    figure.axes[0].legend(fontsize=7, loc="lower left")  # the paper has no AUC
    return figure


def _by_depth(axes: Axes, networks: dict[str, Any], protocol: str, metric: str, *, shift: float) -> None:
    """Values with 95 % intervals, shifted so that the protocols do not hide each other."""
    found = [
        (entry["depth"], entry["protocols"][protocol]["views"][TEST_VIEW][metric])
        for entry in networks.values()
        if protocol in entry["protocols"]
    ]
    points = [(depth, entry) for depth, entry in found if entry["value"] is not None]
    if not points:
        return
    x = np.array([depth for depth, _ in points]) + shift
    axes.vlines(x, [e["low"] for _, e in points], [e["high"] for _, e in points], color=COLORS[protocol])
    axes.plot(x, [e["value"] for _, e in points], "o-", color=COLORS[protocol], label=NAMES[protocol])
