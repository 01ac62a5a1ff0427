"""Metrics of several classes: each class against the rest, macro averages and the confusion matrix.

The predicted class has the highest probability. Values are means over networks of one kind, one per seed.
Intervals are over groups, for these networks: those of `intervals` for rates and AUCs, a bootstrap for F1 and
macro averages.

A class with too few groups, of its own or of the rest, is nan; the macro averages are over the other classes,
which they name. The mean of fewer than two classes is nan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import bands, bootstrap
from melanoma.evaluation.intervals import Entry, auc, mean_rate
from melanoma.evaluation.metrics import divide, weights_by_score
from melanoma.schema import CLASSES

PER_CLASS = ("sensitivity", "specificity", "ppv", "f1_score", "auc_roc")  # AUC: one against the rest
MACRO = ("sensitivity", "f1_score", "auc_roc")  # macro sensitivity is the balanced accuracy


@dataclass(frozen=True)
class Answers:
    """Predictions of networks of one kind for the same test images.

    Attributes:
        classes: Shape `(num_images,)`, true classes as positions in `names`.
        group_ids: Shape `(num_images,)`.
        probabilities: Shape `(num_networks, num_images, num_classes)`, rows over the classes add to 1.
        names: The classes that the networks tell apart.
    """

    classes: np.ndarray
    group_ids: np.ndarray
    probabilities: np.ndarray
    names: Sequence[str] = CLASSES


@dataclass(frozen=True)
class Settings:
    """Draws of the intervals, and the smallest number of groups of a measured class."""

    num_draws: int
    seed: int
    min_groups: int


def measure(answers: Answers, settings: Settings) -> dict[str, Any]:
    """All metrics as `value`, `low`, `high` (95 % interval) and `by_seed`, the value of each network.

    Returns:
        `num_images`, `num_groups`; `accuracy`; `per_class` by name: `num_images`, `num_groups`,
        `is_too_small` and `PER_CLASS`; `macro`: `classes` (the measured ones) and `MACRO`;
        `confusion`: `counts` (mean over networks, by truth and prediction) and `shares` of each truth.
    """
    counts, measured = _class_counts(answers), _is_measured(answers, settings)
    once = np.ones((1, len(answers.classes)))
    values = {name: found[:, 0] for name, found in _by_network(answers, once, measured).items()}
    drawn, exact = _drawn(answers, settings, measured), _exact(answers)

    def entry(name: str) -> dict[str, Any]:
        value, by_seed = values[name].mean(), [float(value) for value in values[name]]
        found = bootstrap.described(value, drawn[name])
        if name in exact and np.isfinite(value):
            found = exact[name]
        return found | {"by_seed": by_seed}

    return {
        "num_images": len(answers.classes),
        "num_groups": len(np.unique(answers.group_ids)),
        "accuracy": entry("accuracy"),
        "per_class": {
            name: counts[at]
            | {"is_too_small": not measured[at]}
            | {metric: entry(f"{name}/{metric}") for metric in PER_CLASS}
            for at, name in enumerate(answers.names)
        },
        "macro": {"classes": [name for name, is_in in zip(answers.names, measured, strict=True) if is_in]}
        | {metric: entry(f"macro/{metric}") for metric in MACRO},
        "confusion": {
            "counts": {
                truth: {called: float(values[f"count/{truth}/{called}"].mean()) for called in answers.names}
                for truth in answers.names
            },
            "shares": {
                truth: {called: entry(f"share/{truth}/{called}") for called in answers.names}
                for truth in answers.names
            },
        },
    }


def flat_metrics(measured: dict[str, Any]) -> dict[str, float]:
    """`macro_sensitivity`, `nevus_auc_roc`, …: values by name of the metric, without intervals."""
    flat = {f"macro_{name}": measured["macro"][name]["value"] for name in MACRO}
    for of_class, entry in measured["per_class"].items():
        if not entry["is_too_small"]:
            word = of_class.replace(" ", "_")
            flat |= {f"{word}_{name}": entry[name]["value"] for name in PER_CLASS}
    return {name: value for name, value in flat.items() if np.isfinite(value)}


def _class_counts(answers: Answers) -> list[dict[str, int]]:
    is_of = [answers.classes == at for at in range(len(answers.names))]
    return [
        {"num_images": int(is_in.sum()), "num_groups": len(np.unique(answers.group_ids[is_in]))}
        for is_in in is_of
    ]


def _is_measured(answers: Answers, settings: Settings) -> np.ndarray:
    """Whether each class and its rest have enough groups, shape `(num_classes,)`, bool."""
    sides = [(answers.classes == at, answers.classes != at) for at in range(len(answers.names))]
    least = [min(len(np.unique(answers.group_ids[side])) for side in both) for both in sides]
    return np.array(least) >= settings.min_groups


def _drawn(answers: Answers, settings: Settings, measured: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric by draw, shape `(num_draws,)`: the mean over the networks."""
    weights = bootstrap.draw_weights(answers.group_ids, num_draws=settings.num_draws, seed=settings.seed)
    size = max(1, bootstrap.BLOCK_CELLS // len(answers.classes))
    blocks = [_by_network(answers, weights[at : at + size], measured) for at in range(0, len(weights), size)]
    return {name: np.concatenate([block[name].mean(axis=0) for block in blocks]) for name in blocks[0]}


def _exact(answers: Answers) -> dict[str, Entry]:
    """Rates and AUCs with their intervals, by name as in `_metrics_of_network`."""
    called, group_ids = answers.probabilities.argmax(2), answers.group_ids
    everyone = np.ones(called.shape, dtype=bool)
    found = {"accuracy": mean_rate(called == answers.classes, everyone, group_ids)}
    for at, truth in enumerate(answers.names):
        is_class = answers.classes == at
        of_class = np.broadcast_to(is_class, called.shape)
        found |= {
            f"{truth}/sensitivity": mean_rate(called == at, of_class, group_ids),
            f"{truth}/specificity": mean_rate(called != at, ~of_class, group_ids),
            f"{truth}/ppv": mean_rate(of_class, called == at, group_ids),
            f"{truth}/auc_roc": auc(is_class.astype(int), answers.probabilities[:, :, at], group_ids),
        }
        for to, answer in enumerate(answers.names):
            found[f"share/{truth}/{answer}"] = mean_rate(called == to, of_class, group_ids)
    return found


def _by_network(answers: Answers, weights: np.ndarray, measured: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric by its name, shape `(num_networks, num_draws)`."""
    found = [
        _metrics_of_network(answers, probability, weights, measured) for probability in answers.probabilities
    ]
    return {name: np.stack([metrics[name] for metrics in found]) for name in found[0]}


def _metrics_of_network(
    answers: Answers, probability: np.ndarray, weights: np.ndarray, measured: np.ndarray
) -> dict[str, np.ndarray]:
    """Each metric by its name, shape `(num_draws,)`; nan for classes that are not measured."""
    classes, num = answers.classes, len(answers.names)
    counts = confusion_counts(  # (num_draws, truth, called)
        classes, probability.argmax(1), weights=weights, num_classes=num
    )
    diagonal = np.diagonal(counts, axis1=1, axis2=2)
    of_truth, of_called = counts.sum(2), counts.sum(1)
    total = of_truth.sum(1, keepdims=True)
    neither = total - of_truth - of_called + diagonal
    metrics = {
        "sensitivity": divide(diagonal, of_truth),
        "specificity": divide(neither, total - of_truth),
        "ppv": divide(diagonal, of_called),
        "f1_score": divide(2 * diagonal, of_truth + of_called),
        "auc_roc": np.stack(
            [auc_one_against_rest(classes == at, probability[:, at], weights) for at in range(num)], axis=1
        ),
    }
    metrics = {name: np.where(measured, found, np.nan) for name, found in metrics.items()}
    shares = np.where(measured[:, None], divide(counts, np.repeat(of_truth[:, :, None], num, axis=2)), np.nan)
    found = {"accuracy": divide(diagonal.sum(1), total[:, 0])}
    for name in MACRO:
        of_classes = metrics[name][:, measured]
        is_defined = measured.sum() >= 2
        found[f"macro/{name}"] = of_classes.mean(1) if is_defined else np.full(len(weights), np.nan)
    for at, truth in enumerate(answers.names):
        found |= {f"{truth}/{name}": metrics[name][:, at] for name in PER_CLASS}
        for to, called in enumerate(answers.names):
            found[f"count/{truth}/{called}"] = counts[:, at, to]
            found[f"share/{truth}/{called}"] = shares[:, at, to]
    return found


def confusion_counts(
    classes: np.ndarray, called: np.ndarray, *, weights: np.ndarray, num_classes: int
) -> np.ndarray:
    """Confusion matrix of truth by prediction, shape `(num_draws, num_classes, num_classes)`.

    Args:
        classes: Shape `(num_images,)`, true classes as positions from 0.
        called: Shape `(num_images,)`, predicted classes.
        weights: Shape `(num_draws, num_images)`.
        num_classes: Number of classes.
    """
    cells = np.eye(num_classes**2)[classes * num_classes + called]
    return (weights @ cells).reshape(-1, num_classes, num_classes)


def auc_one_against_rest(is_class: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of a class against all others, shape `(num_draws,)`; ties count half.

    Args:
        is_class: Shape `(num_images,)`, bool.
        probability: Shape `(num_images,)`, probability of this class.
        weights: Shape `(num_draws, num_images)`.
    """
    positives, negatives = weights_by_score(is_class.astype(int), probability, weights)
    num_negatives = negatives.sum(1)
    beaten = num_negatives[:, None] - np.cumsum(negatives, axis=1) + negatives / 2
    return divide((positives * beaten).sum(1), positives.sum(1) * num_negatives)


def roc_bands(answers: Answers, settings: Settings) -> dict[str, pd.DataFrame]:
    """The ROC curve of each measured class against the rest, mean over networks, with its 95 % band.

    Returns:
        By class: columns `false_positive_fraction`, `sensitivity`, `low`, `high`, see `bands.roc_band`.
    """
    weights = bootstrap.draw_weights(answers.group_ids, num_draws=settings.num_draws, seed=settings.seed)
    return {
        answers.names[at]: bands.mean_roc_band(
            (answers.classes == at).astype(int), answers.probabilities[:, :, at], weights=weights
        )
        for at in np.flatnonzero(_is_measured(answers, settings)).tolist()
    }
