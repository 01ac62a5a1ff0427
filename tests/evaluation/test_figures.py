import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from melanoma.evaluation.figures import (
    COLORS,
    calibration_figure,
    confusion_figure,
    decision_figure,
    histogram_figure,
    history_figure,
    precision_figure,
    roc_figure,
    seeds_figure,
    slices_figure,
)
from melanoma.schema import NOT_A_DEVICE
from melanoma.scoring.operating_point import Calibration, OperatingPoint

CURVE = pd.DataFrame({"false_positive_fraction": [0, 0, 1 / 2, 1], "sensitivity": [0, 1 / 2, 1, 1]})
COUNTS = {
    "positive": {"negative": 1, "refer": 2, "positive": 5},
    "negative": {"negative": 20, "refer": 3, "positive": 4},
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


BAND = pd.DataFrame({"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.8, 0.4], "low": 0.3, "high": 1.0})
CALIBRATION = pd.DataFrame(
    {
        "mean_probability": [0.1, 0.5, 0.9],
        "malignant_fraction": [0.2, 0.4, 0.7],
        "low": [0.1, 0.3, 0.4],
        "high": [0.3, 0.5, 0.9],
        "undefined": "",
    }
)
BINS = pd.DataFrame(
    {
        "bin_low": [0.0, 0.5],
        "bin_high": [0.5, 1.0],
        "num_images": [4, 0],
        "mean_probability": [0.2, np.nan],
        "malignant_fraction": [0.25, np.nan],
    }
)
DECISION = pd.DataFrame(
    {
        "prevalence": [0.02, 0.02, 0.2, 0.2],
        "threshold_probability": [0.01, 0.02, 0.01, 0.02],
        "net_benefit": [0.015, 0.01, 0.19, 0.18],
        "low": [0.01, 0.0, 0.1, 0.1],
        "high": [0.02, 0.02, 0.2, 0.2],
        "treat_all": [0.01, 0.0, 0.19, 0.18],
        "undefined": "",
    }
)
POINT = OperatingPoint(Calibration(), threshold=0.4, refer_from=0.3, refer_to=0.6)
PARTS: list[dict[str, Any]] = [
    {"slice": "sex", "value": "female", "num_images": 30, "num_malignant": 12},
    {"slice": "sex", "value": "male", "num_images": 5, "num_malignant": 1},
]
PARTS[0]["auc_roc"] = {"value": 0.8, "low": 0.7, "high": 0.9}
PARTS[1]["auc_roc"] = dict.fromkeys(("value", "low", "high"), float("nan"))


COMPARISON = {
    "seeds": [1, 2],
    "baseline": {"val_auc_roc": {"by_seed": {"1": 0.6, "2": 0.7}, "mean": 0.65}},
    "tuned": {"val_auc_roc": {"by_seed": {"1": 0.8, "2": 0.6}, "mean": 0.7}},
}


NAMES = [
    "roc",
    "confusion",
    "history",
    "seeds",
    "precision",
    "calibration",
    "histogram",
    "decision",
    "slices",
]


def all_figures() -> dict[str, mpl.figure.Figure]:
    named: dict[str, str] = {"title": "a title", "note": "cohort toy"}
    return {
        "roc": roc_figure({"tuned": CURVE}, {"tuned": "tuned: 0.875"}, title="a title", note="cohort toy"),
        "confusion": confusion_figure(COUNTS, **named),
        "history": history_figure(HISTORY, **named),
        "seeds": seeds_figure(COMPARISON, score="val_auc_roc", note="cohort toy"),
        "precision": precision_figure(BAND, prevalence=0.2, label="p", **named),
        "calibration": calibration_figure(CALIBRATION, BINS, **named),
        "histogram": histogram_figure(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]), POINT, **named),
        "decision": decision_figure(DECISION, **named),
        "slices": slices_figure(PARTS, metric="auc_roc", **named),
    }


def points_of(line: Line2D) -> list[list[float]]:
    return np.column_stack([line.get_xdata(), line.get_ydata()]).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_where_it_comes_from_and_that_it_is_no_device(name):
    figure = all_figures()[name]
    assert figure.get_supxlabel() == f"cohort toy · {NOT_A_DEVICE}"


@pytest.mark.parametrize("name", NAMES)
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
    assert [to_hex(line.get_color()) for line in (baseline, tuned)] == [COLORS[name] for name in curves]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "b: 0.875", "t: 0.875"]


def test_the_confusion_figure_has_truth_in_rows_and_three_answers_in_columns():
    (axes,) = confusion_figure(COUNTS, title="t", note="n").axes
    cells = {text.get_position()[::-1]: text.get_text() for text in axes.texts}  # (row, column)
    assert cells == {(0, 0): "20", (0, 1): "3", (0, 2): "4", (1, 0): "1", (1, 1): "2", (1, 2): "5"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["negative", "positive"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["negative", "refer", "positive"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "decision")


def test_the_history_figure_draws_every_score_over_epochs():
    panels = history_figure(HISTORY, title="t", note="n").axes
    assert [axes.get_title() for axes in panels] == ["accuracy", "loss", "scores on the hold-out"]
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


def test_the_roc_figure_shades_the_band_of_each_model():
    band = pd.DataFrame({"false_positive_fraction": [0.0, 1.0], "low": [0.1, 0.9], "high": [0.3, 1.0]})
    figure = roc_figure({"tuned": CURVE}, {"tuned": "t"}, title="t", note="n", bands={"tuned": band})
    (shade,) = figure.axes[0].collections
    corners = {tuple(point) for point in np.asarray(shade.get_paths()[0].vertices).round(2).tolist()}
    assert {(0, 0.1), (0, 0.3), (1, 0.9), (1, 1)} <= corners


def test_the_precision_figure_has_the_prevalence_as_chance():
    (axes,) = all_figures()["precision"].axes
    chance, curve = axes.get_lines()
    assert set(np.asarray(chance.get_ydata())) == {0.2}
    assert points_of(curve) == BAND[["recall", "precision"]].to_numpy().tolist()


def test_the_calibration_figure_leaves_empty_bins_out_and_counts_images():
    upper, lower = all_figures()["calibration"].axes
    _, smoothed, points = upper.get_lines()
    assert points_of(smoothed) == CALIBRATION[["mean_probability", "malignant_fraction"]].to_numpy().tolist()
    assert points_of(points) == [[0.2, 0.25]]
    heights = [
        np.asarray(bar.get_path().get_extents(bar.get_patch_transform()))[1, 1] for bar in lower.patches
    ]
    assert heights == [4, 0]


def test_a_curve_that_is_undefined_says_why_in_its_place():
    nothing = CALIBRATION.assign(malignant_fraction=np.nan, low=np.nan, high=np.nan, undefined="no positive")
    upper, _ = calibration_figure(nothing, BINS, title="a title", note="cohort toy").axes
    assert [text.get_text() for text in upper.texts] == ["no positive"]
    panels = decision_figure(DECISION.assign(undefined="no prior"), title="a title", note="cohort toy").axes
    assert [text.get_text() for axes in panels for text in axes.texts] == ["no prior"] * 2
    assert not any(axes.texts for name in ("calibration", "decision") for axes in all_figures()[name].axes)


def test_the_histogram_figure_shows_threshold_and_band_in_both_classes():
    for axes in all_figures()["histogram"].axes:
        (threshold,) = axes.get_lines()
        assert set(np.asarray(threshold.get_xdata())) == {0.4}
        legend = axes.get_legend()
        assert legend is not None
        assert {"refer", "threshold"} <= {text.get_text() for text in legend.get_texts()}


def test_the_decision_figure_has_a_panel_for_each_prevalence():
    panels = all_figures()["decision"].axes
    assert [axes.get_title() for axes in panels] == ["2% positive", "20% positive"]
    nobody, everybody, model = panels[1].get_lines()
    assert set(np.asarray(nobody.get_ydata())) == {0}
    assert np.asarray(everybody.get_ydata()).tolist() == [0.19, 0.18]
    assert np.asarray(model.get_ydata()).tolist() == [0.19, 0.18]


def test_the_slices_figure_counts_every_part_and_measures_the_large_ones():
    (axes,) = all_figures()["slices"].axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["sex: female (30, 12 positive)", "sex: male (5, 1 positive)"]
    assert [text.get_text() for text in axes.texts] == ["n too small"]
    interval, value = axes.get_lines()
    assert points_of(interval) == [[0.7, 0], [0.9, 0]]
    assert points_of(value) == [[0.8, 0]]
