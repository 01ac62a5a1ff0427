import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from melanoma.evaluation.figures import (
    COLORS,
    confusion_figure,
    history_figure,
    roc_figure,
    seeds_figure,
)
from melanoma.schema import NOT_A_DEVICE

CURVE = pd.DataFrame({"false_positive_fraction": [0, 0, 1 / 2, 1], "sensitivity": [0, 1 / 2, 1, 1]})
COUNTS = {
    "malignant": {"benign": 1, "refer": 2, "malignant": 5},
    "benign": {"benign": 20, "refer": 3, "malignant": 4},
}
HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "accuracy": [0.5, 0.6, 0.7],
        "val_accuracy": [0.4, 0.5, 0.6],
        "loss": [0.9, 0.8, 0.7],
        "val_loss": [1.0, 0.9, 0.8],
        "val_auc_roc": [0.55, 0.65, 0.6],
        "val_average_precision": [0.3, 0.4, 0.35],
        "val_specificity_at_95_sensitivity": [0.1, 0.2, 0.15],
    }
)


COMPARISON = {
    "seeds": [1, 2],
    "baseline": {"val_auc_roc": {"by_seed": {"1": 0.6, "2": 0.7}, "mean": 0.65}},
    "tuned": {"val_auc_roc": {"by_seed": {"1": 0.8, "2": 0.6}, "mean": 0.7}},
}


def all_figures() -> dict[str, mpl.figure.Figure]:
    named: dict[str, str] = {"title": "a title", "note": "cohort toy"}
    return {
        "roc": roc_figure({"tuned": CURVE}, {"tuned": "tuned: 0.875"}, title="a title", note="cohort toy"),
        "confusion": confusion_figure(COUNTS, **named),
        "history": history_figure(HISTORY, **named),
        "seeds": seeds_figure(COMPARISON, score="val_auc_roc", note="cohort toy"),
    }


def points_of(line: Line2D) -> list[list[float]]:
    return np.column_stack([line.get_xdata(), line.get_ydata()]).tolist()


@pytest.mark.parametrize("name", ["roc", "confusion", "history", "seeds"])
def test_every_figure_says_where_it_comes_from_and_that_it_is_no_device(name):
    figure = all_figures()[name]
    assert figure.get_supxlabel() == f"cohort toy · {NOT_A_DEVICE}"


@pytest.mark.parametrize("name", ["roc", "confusion", "history", "seeds"])
def test_every_figure_can_be_saved_as_png(name):
    stream = io.BytesIO()
    all_figures()[name].savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")


def test_figures_touch_no_global_state():
    settings, open_figures = dict(mpl.rcParams), plt.get_fignums()
    all_figures()
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == open_figures


def test_the_roc_figure_draws_each_model_in_its_colour_beside_chance():
    curves = {"baseline": CURVE, "tuned": CURVE}
    figure = roc_figure(curves, {"baseline": "b: 0.875", "tuned": "t: 0.875"}, title="ROC", note="toy")
    (axes,) = figure.axes
    chance, baseline, tuned = axes.get_lines()
    assert points_of(chance) == [[0, 0], [1, 1]]
    assert points_of(baseline) == CURVE.to_numpy().tolist()
    assert [to_hex(line.get_color()) for line in (baseline, tuned)] == list(COLORS.values())
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "b: 0.875", "t: 0.875"]


def test_the_confusion_figure_has_truth_in_rows_and_decisions_in_columns():
    (axes,) = confusion_figure(COUNTS, title="t", note="n").axes
    cells = {text.get_position()[::-1]: text.get_text() for text in axes.texts}  # (row, column)
    assert cells == {(0, 0): "20", (0, 1): "4", (1, 0): "1", (1, 1): "7"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["benign", "malignant"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "decision")


def test_the_history_figure_draws_every_score_over_epochs():
    panels = history_figure(HISTORY, title="t", note="n").axes
    assert [axes.get_title() for axes in panels] == ["accuracy", "loss", "ranking on validation"]
    drawn = [np.asarray(line.get_ydata()).tolist() for axes in panels for line in axes.get_lines()]
    columns = ["accuracy", "val_accuracy", "loss", "val_loss", "val_auc_roc", "val_average_precision"]
    columns += ["val_specificity_at_95_sensitivity"]
    assert drawn == [HISTORY[column].tolist() for column in columns]


def test_the_seeds_figure_draws_each_seed_as_a_pair_and_the_means():
    (axes,) = seeds_figure(COMPARISON, score="val_auc_roc", note="n").axes
    assert [points_of(line) for line in axes.get_lines()] == [[[0, 0.6], [1, 0.8]], [[0, 0.7], [1, 0.6]]]
    baseline, mean_of_baseline, tuned, mean_of_tuned = axes.collections
    assert np.asarray(baseline.get_offsets()).tolist() == [[0, 0.6], [0, 0.7]]
    assert np.asarray(tuned.get_offsets()).tolist() == [[1, 0.8], [1, 0.6]]
    means = [np.asarray(bar.get_paths()[0].vertices)[0, 1] for bar in (mean_of_baseline, mean_of_tuned)]
    assert means == [0.65, 0.7]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["baseline", "tuned"]
    assert [text.get_text() for text in axes.texts] == ["seed 1", "seed 2"]
