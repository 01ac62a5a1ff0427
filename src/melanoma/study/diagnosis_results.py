"""Does learning the other classes help? Networks of both targets on the same test images.

The score of a network of several classes, the sum over the positive ones, answers the question of a network
of two: positive or not.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.config.training import Target
from melanoma.data.classes import NOT_TOLD
from melanoma.evaluation import diagnosis, diagnosis_report
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.diagnosis import Answers, Settings
from melanoma.evaluation.figures import new_figure
from melanoma.schema import CLASSES, NOT_A_DEVICE
from melanoma.study import repeats
from melanoma.study.repeats import Bootstrap, SeedPredictions

# What networks are trained to predict: `params.yaml: model.target`.
TARGETS: tuple[Target, ...] = ("positive", "diagnosis")
COMPARED = ("auc_roc", "average_precision", "specificity_at_95_sensitivity")
NAMES = dict(zip(COMPARED, ("AUC", "average precision", "specificity at 95 % sensitivity"), strict=True))
# `probability` is the score of positive. Classes that a network does not tell apart are nan; an image of such
# a class has none.
PREDICTION_COLUMNS = (
    "trained_for", "seed", "image_id", "group_id", "target", "diagnosis_class", "probability", *CLASSES,
)  # fmt: skip
KIND = {"positive": "positive or negative", "diagnosis": "several classes"}
COLORS = {"positive": "#6c757d", "diagnosis": "#0b6e99"}


def measure(predictions: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Metrics on the test images.

    Args:
        predictions: Columns `PREDICTION_COLUMNS`; every network has the same images, in any order.
        settings: Settings of intervals and of small classes.

    Returns:
        `diagnosis`: see `diagnosis.measure`. `melanoma_score`: by target, the metrics `COMPARED` against
        positive (see `repeats.measure`), and `diagnosis_minus_malignant` with paired intervals.
    """
    drawn = Bootstrap(settings.num_draws, settings.seed)
    kinds = {name: to_seed_predictions(predictions, name) for name in TARGETS}
    found: dict[str, dict[str, Any]] = {name: repeats.measure(kind, drawn) for name, kind in kinds.items()}
    found["diagnosis_minus_malignant"] = repeats.paired_difference(
        kinds["diagnosis"], kinds["positive"], drawn
    )
    return {
        "diagnosis": diagnosis.measure(to_answers(predictions), settings),
        "melanoma_score": {
            name: {metric: entry[metric] for metric in COMPARED} for name, entry in found.items()
        },
    }


def measure_single(predictions: pd.DataFrame, settings: Settings) -> dict[str, float]:
    """Metrics of one network without intervals: of its score and, if it has them, of its classes."""
    flat = repeats.measure_single(predictions)
    if (predictions["trained_for"] == "diagnosis").all():
        flat |= diagnosis.flat_metrics(diagnosis.measure(to_answers(predictions), settings))
    return flat


def to_seed_predictions(predictions: pd.DataFrame, trained_for: str) -> SeedPredictions:
    """The scores of positive of the networks of one target."""
    return repeats.from_rows(predictions[predictions["trained_for"] == trained_for])


def to_answers(predictions: pd.DataFrame) -> Answers:
    """The class probabilities of the networks of several classes."""
    parts = repeats.split_by_seed(predictions[predictions["trained_for"] == "diagnosis"])
    names = [name for name in CLASSES if parts[0][name].notna().any()]
    truth = pd.Index(names).get_indexer(pd.Index(parts[0]["diagnosis_class"]))
    softmax, is_told = np.stack([part[names].to_numpy() for part in parts]), truth != NOT_TOLD
    return Answers(truth[is_told], parts[0]["group_id"].to_numpy()[is_told], softmax[:, is_told], names)


def tables(results: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Tables by file name."""
    lines = {KIND[name]: results["melanoma_score"][name] for name in TARGETS}
    lines["difference, paired"] = results["melanoma_score"]["diagnosis_minus_malignant"]
    scores = [
        {"networks trained to predict": line}
        | {NAMES[metric]: in_words(entry[metric]) for metric in COMPARED}
        for line, entry in lines.items()
    ]
    return {
        "melanoma_score.csv": pd.DataFrame(scores),
        "classes.csv": diagnosis_report.class_table(results["diagnosis"]),
        "confusion.csv": diagnosis_report.confusion_table(results["diagnosis"]),
        "images.csv": pd.DataFrame(results["num_images"]).T.rename_axis("class").reset_index(),
    }


def figures(
    predictions: pd.DataFrame, results: dict[str, Any], settings: Settings, *, note: str
) -> dict[str, Figure]:
    """Figures by file name; no ROC curves if no class has enough test images."""
    measured = results["diagnosis"]
    bands = diagnosis.roc_bands(to_answers(predictions), settings)
    drawn = {
        "melanoma_auc.png": auc_figure(results["melanoma_score"], note=note),
        "confusion.png": diagnosis_report.confusion_figure(
            measured, title="confusion of classes, mean over networks", note=note
        ),
    }
    if bands:
        drawn["roc.png"] = diagnosis_report.roc_figure(
            bands, measured, title="each class against the rest", note=note
        )
    return drawn


def auc_figure(score: dict[str, Any], *, note: str) -> Figure:
    """AUC of the score of positive by target: a dot for each seed, the mean with its interval."""
    figure = new_figure("AUC of the score of positive", note, width=6.4, height=2.6)
    axes = figure.subplots()
    for place, name in enumerate(TARGETS):
        found, color = score[name]["auc_roc"], COLORS[name]
        axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=2)
        axes.plot(found["value"], place, "|", color=color, markersize=16, markeredgewidth=3)
        by_seed = found["by_seed"]
        axes.plot(by_seed, [place + 0.22] * len(by_seed), "o", color=color, markersize=4)
    axes.set(yticks=range(len(TARGETS)), ylim=(-0.5, len(TARGETS) - 0.4), xlabel="AUC on the test set")
    axes.set_yticklabels([KIND[name] for name in TARGETS])
    return figure


def finding(results: dict[str, Any]) -> str:
    """One sentence: whether learning the other classes improves the score of positive."""
    change = results["melanoma_score"]["diagnosis_minus_malignant"]["auc_roc"]
    if change["low"] is None or not np.isfinite(change["low"]):
        return f"The score of positive cannot be compared: {change['undefined']}."
    if change["low"] > 0:
        verdict = "improves significantly"
    elif change["high"] < 0:
        verdict = "gets significantly worse"
    else:
        verdict = "does not change significantly"
    return (
        f"The score of positive {verdict} when the other classes are learnt too: AUC changes by "
        f"{in_words(change)}{repeats.by_network(change)}."
    )


def _note_other_classes(results: dict[str, Any]) -> str:
    """Counts positive images that networks of several classes learn as a negative class."""
    number = sum(results["num_malignant_of_other_classes"].values())
    if not number:
        return ""
    return (
        f" {number} positive images have a diagnosis that is not a positive class, or none; networks of "
        "several classes learn them as the class in this table."
    )


def captions(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By file name: `caption` and `alt`."""
    kind = " SYNTHETIC images." if results["is_synthetic"] else ""
    device = f"{kind} {NOT_A_DEVICE.capitalize()}."
    on = (
        f"Test images of {results['cohort']}, {len(results['seeds'])} networks of each kind, 95 % intervals "
        f"over groups of test images, for these networks.{device}"
    )
    measured = results["diagnosis"]
    areas = ", ".join(
        f"{name} {in_words(entry['auc_roc'])}"
        for name, entry in measured["per_class"].items()
        if not entry["is_too_small"]
    )
    texts = {
        "melanoma_score.csv": (finding(results), "table of the score of positive by target"),
        "classes.csv": (
            "Each class against the rest, and the unweighted mean over the classes with enough test images.",
            "table of metrics by class",
        ),
        "confusion.csv": (
            "Confusion matrix of classes; image counts are means over networks.",
            "table of true and predicted classes",
        ),
        "images.csv": (
            f"Images of {results['cohort']} by class and split.{_note_other_classes(results)}{device}",
            "table of images by class and split",
        ),
        "melanoma_auc.png": (
            "A dot for each network, a bar at their mean, a line over the interval.",
            f"AUC of the score of positive by target. {finding(results)}",
        ),
        "roc.png": (
            "ROC curves of each class against the rest, mean over networks, with bands over groups.",
            f"ROC curves; AUC: {areas}",
        ),
        "confusion.png": (
            "True classes in rows, predicted classes in columns; the shade is the fraction of the row.",
            f"confusion matrix; {diagnosis_report.summary_line(measured)}",
        ),
    }
    if not areas:
        del texts["roc.png"]  # there is no such figure
    return {
        name: {"caption": caption if name == "images.csv" else f"{caption} {on}", "alt": alt}
        for name, (caption, alt) in texts.items()
    }
