"""All figures of a model's results on the test images."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma.data.packed import Part
from melanoma.evaluation import figures, sheets
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.report import Report
from melanoma.evaluation.sheets import Score
from melanoma.schema import TEST


def draw(report: Report, model: str, *, note: str) -> dict[str, Figure]:
    """Draw curves, histograms and slices of one model; figures by file name.

    Args:
        report: The evaluation.
        model: One of `schema.MODEL_NAMES`.
        note: Origin of the images.
    """
    measured, curves, point = report.metrics[model][TEST], report.curves[model], report.points[model]
    rows = test_rows(report, model)
    target, probability = rows["target"].to_numpy(), rows["probability"].to_numpy()
    roc_label = f"{model}: {in_words(measured['auc_roc'])}"
    precision_label = f"{model}: average precision {in_words(measured['average_precision'])}"
    return {
        "roc.png": figures.roc_figure(
            {model: curves["roc"]},
            {model: roc_label},
            bands={model: curves["roc_band"]},
            title="ROC curve",
            note=note,
        ),
        "precision.png": figures.precision_figure(
            curves["precision_band"],
            prevalence=float(target.mean()),
            label=precision_label,
            title="Precision-recall curve",
            note=note,
        ),
        "confusion.png": figures.confusion_figure(
            measured["three_way"]["counts"], title=f"{model}: confusion matrix", note=note
        ),
        "calibration.png": figures.calibration_figure(
            curves["calibration"],
            curves["calibration_bins"],
            title=f"{model}: {_calibration(measured)}",
            note=note,
        ),
        "histogram.png": figures.histogram_figure(
            target, probability, point, title=f"{model}: probabilities by true class", note=note
        ),
        "decision.png": figures.decision_figure(
            curves["decision"], title=f"{model}: decision curve", note=note
        ),
        "slices.png": figures.slices_figure(
            report.slices[model],
            metric="auc_roc",
            title=f"{model}: AUC in slices of the test set",
            note=note,
        ),
    }


def _calibration(measured: Mapping[str, Any]) -> str:
    intercept, slope = (in_words(measured[f"calibration_{name}"]) for name in ("intercept", "slope"))
    return f"calibration\nintercept {intercept}, slope {slope}"


def draw_images(
    report: Report, model: str, part: Part, score: Score, *, num: int, note: str
) -> dict[str, Figure]:
    """Draw the most confident errors and occlusion maps; figures by file name.

    Args:
        report: The evaluation.
        model: One of `schema.MODEL_NAMES`.
        part: Images of the test split, in any order.
        score: Function of the network from images to scores.
        num: Maximum number of images on a sheet.
        note: Origin of the images.
    """
    rows, point = test_rows(report, model), report.points[model]
    shared: dict[str, Any] = {"num": num, "note": note}
    return {
        "errors.png": sheets.error_sheet(
            rows, part, threshold=point.threshold, title=f"{model}: most confident errors", **shared
        ),
        "explanations.png": sheets.explanation_sheet(
            rows, part, score, title=f"{model}: occlusion sensitivity", **shared
        ),
    }


def test_rows(report: Report, model: str) -> pd.DataFrame:
    """Predictions of one model for the test set."""
    found = report.predictions
    return found[(found["model"] == model) & (found["split"] == TEST)]
