"""Does learning the other classes help? Networks of both targets on the same test images.

The melanoma score of a network of several classes is asked what a network of two answers: malignant or not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.config.training import Target
from melanoma.evaluation import diagnosis, diagnosis_report
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.diagnosis import Answers, Settings
from melanoma.evaluation.figures import new_figure
from melanoma.schema import CLASSES, NOT_A_DEVICE
from melanoma.study import repeats
from melanoma.study.repeats import Draws, Repeats

# What networks are trained to tell: `params.yaml: model.target`.
TARGETS: tuple[Target, ...] = ("malignant", "diagnosis")
COMPARED = ("auc_roc", "average_precision", "specificity_at_95_sensitivity")
NAMES = dict(zip(COMPARED, ("AUC", "average precision", "specificity at 95 % sensitivity"), strict=True))
# `probability` is the score of a melanoma, or of malignant; the classes are nan of networks of two.
PREDICTION_COLUMNS = (
    "trained_for", "seed", "image_id", "group_id", "target", "diagnosis_class", "probability", *CLASSES,
)  # fmt: skip
KIND = {"malignant": "malignant or benign", "diagnosis": "four classes"}
COLORS = {"malignant": "#6c757d", "diagnosis": "#0b6e99"}


def measure(predictions: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """What the results file holds of the test images.

    Args:
        predictions: Columns `PREDICTION_COLUMNS`; each network has the same images, in any order.
        settings: Of intervals and small classes.

    Returns:
        `diagnosis`: see `diagnosis.measure`; `melanoma_score`: by target `COMPARED` against malignant (see
        `repeats.measure`), and `diagnosis_minus_malignant`, with paired intervals.
    """
    draws = Draws(settings.num_draws, settings.seed)
    kinds = {name: as_repeats(predictions, name) for name in TARGETS}
    by_target: dict[str, Any] = {
        name: _compared(repeats.measure(kind, draws)) for name, kind in kinds.items()
    }
    by_target["diagnosis_minus_malignant"] = _compared(
        repeats.paired_difference(kinds["diagnosis"], kinds["malignant"], draws)
    )
    return {
        "diagnosis": diagnosis.measure(as_answers(predictions), settings),
        "melanoma_score": by_target,
    }


def measure_once(scored: pd.DataFrame, settings: Settings) -> dict[str, float]:
    """The metrics of one network as they are: of its melanoma score and, if it tells them, of classes."""
    flat = repeats.measure_once(scored)
    if (scored["trained_for"] == "diagnosis").all():
        flat |= diagnosis.flat_metrics(diagnosis.measure(as_answers(scored), settings))
    return flat


def _compared(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in COMPARED}


def as_repeats(predictions: pd.DataFrame, trained_for: str) -> Repeats:
    """The melanoma scores of the networks of a target."""
    return repeats.of_rows(predictions[predictions["trained_for"] == trained_for])


def as_answers(predictions: pd.DataFrame) -> Answers:
    """The softmax of the networks of several classes."""
    parts = repeats.by_seed(predictions[predictions["trained_for"] == "diagnosis"])
    truth = pd.Index(CLASSES).get_indexer(pd.Index(parts[0]["diagnosis_class"]))
    softmax = [part[list(CLASSES)].to_numpy() for part in parts]
    return Answers(truth, parts[0]["group_id"].to_numpy(), np.stack(softmax))


def tables(results: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Tables for people by file name."""
    score = results["melanoma_score"]
    rows = [
        {"networks trained to tell": KIND[name]}
        | {NAMES[one]: in_words(score[name][one]) for one in COMPARED}
        for name in TARGETS
    ]
    change = score["diagnosis_minus_malignant"]
    rows.append(
        {"networks trained to tell": "difference, paired"}
        | {NAMES[one]: in_words(change[one]) for one in COMPARED}
    )
    return {
        "melanoma_score.csv": pd.DataFrame(rows),
        "classes.csv": diagnosis_report.class_table(results["diagnosis"]),
        "confusion.csv": diagnosis_report.confusion_table(results["diagnosis"]),
        "images.csv": image_table(results["num_images"]),
    }


def image_table(num_images: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Images of each class in each split."""
    return pd.DataFrame(num_images).T.rename_axis("class").reset_index()


def figures(
    predictions: pd.DataFrame, results: dict[str, Any], settings: Settings, *, note: str
) -> dict[str, Figure]:
    """Pictures by file name; without ROC curves where no class has enough test images."""
    measured = results["diagnosis"]
    bands = diagnosis.roc_bands(as_answers(predictions), settings)
    drawn = {
        "melanoma_auc.png": auc_figure(results["melanoma_score"], note=note),
        "confusion.png": diagnosis_report.confusion_figure(
            measured, title="who is taken for whom, mean over networks", note=note
        ),
    }
    if bands:
        drawn["roc.png"] = diagnosis_report.roc_figure(
            bands, measured, title="each class against the rest", note=note
        )
    return drawn


def auc_figure(score: dict[str, Any], *, note: str) -> Figure:
    """AUC of the melanoma score by target: a dot a seed, the mean with its interval."""
    figure = new_figure("AUC of the melanoma score", note, width=6.4, height=2.6)
    axes = figure.subplots()
    for place, name in enumerate(TARGETS):
        found, color = score[name]["auc_roc"], COLORS[name]
        axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=2)
        axes.plot(found["value"], place, "|", color=color, markersize=16, markeredgewidth=3)
        by_seed = found["by_seed"]
        axes.plot(by_seed, [place + 0.22] * len(by_seed), "o", color=color, markersize=4)
    axes.set(yticks=range(len(TARGETS)), ylim=(-0.5, len(TARGETS) - 0.4), xlabel="AUC on test")
    axes.set_yticklabels([KIND[name] for name in TARGETS])
    return figure


def finding(results: dict[str, Any]) -> str:
    """One sentence: whether learning the other classes helps the melanoma score."""
    change = results["melanoma_score"]["diagnosis_minus_malignant"]["auc_roc"]
    if change["low"] is None or not np.isfinite(change["low"]):
        return "Nothing can be said of the melanoma score: the test images are not of both kinds."
    few = repeats.warn_of_few(len(results["seeds"]))
    if change["low"] > 0:
        verdict = "is better when the other classes are learnt too"
    elif change["high"] < 0:
        verdict = "is worse when the other classes are learnt too"
    else:
        verdict = "is neither shown to gain nor to lose by learning the other classes"
    return f"The melanoma score {verdict}: AUC changes by {in_words(change)}{few}."


def _of_other_classes(results: dict[str, Any]) -> str:
    """Malignant images that networks of several classes learn as something else than melanoma."""
    number = sum(results["num_malignant_of_other_classes"].values())
    if not number:
        return ""
    return (
        f" {number} malignant images are called no melanoma, or by no diagnosis: networks of four classes "
        "learn them as the class that stands there."
    )


def captions(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By file name: `caption` and `alt`."""
    kind = " SYNTHETIC images." if results["is_synthetic"] else ""
    device = f"{kind} {NOT_A_DEVICE.capitalize()}."
    on = (
        f"Test images of {results['cohort']}, {len(results['seeds'])} networks of each kind, 95 % intervals "
        f"over groups and networks.{device}"
    )
    measured = results["diagnosis"]
    areas = ", ".join(
        f"{name} {in_words(entry['auc_roc'])}"
        for name, entry in measured["per_class"].items()
        if not entry["is_too_small"]
    )
    texts = {
        "melanoma_score.csv": (finding(results), "table of the melanoma score by target"),
        "classes.csv": (
            "Each class against the rest, and their plain mean over the classes with enough test images.",
            "table of metrics by class",
        ),
        "confusion.csv": (
            "Who is taken for whom; images are means over networks.",
            "table of truth and answer",
        ),
        "images.csv": (
            f"Images of {results['cohort']} of each class in each split.{_of_other_classes(results)}{device}",
            "table of images by class and split",
        ),
        "melanoma_auc.png": (
            "A dot a network, a bar at their mean, a line over its interval.",
            f"AUC of the melanoma score by target. {finding(results)}",
        ),
        "roc.png": (
            "ROC curves of each class against the rest, mean over networks, with bands over groups.",
            f"ROC curves; AUC: {areas}",
        ),
        "confusion.png": (
            "Truth in rows, answers in columns; the shade is the share of the row.",
            f"confusion matrix; {diagnosis_report.headline(measured)}",
        ),
    }
    if not areas:
        del texts["roc.png"]  # as there is nothing to draw
    return {
        name: {"caption": caption if name == "images.csv" else f"{caption} {on}", "alt": alt}
        for name, (caption, alt) in texts.items()
    }
