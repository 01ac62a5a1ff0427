"""Fit calibration and operating point of a network to the labelled answers of one clinic.

The network stays as it is. What the labels can show is cross-fitted: groups (patients or lesions) are divided
into folds with equal shares of positive groups; calibration, threshold and referral band are fitted on all
folds but one and applied to that one. So every answer is judged at an operating point that has not seen its
label. The one that is served is fitted on all labels.

Recalibration helps if the paired 95 % interval of the gain in log loss, over groups, lies above 0. It is a
bootstrap of groups for fixed folds. For a version whose calibration is right the cross-fitted one is worse on
average, because it is fitted on few labels, so help is rarely claimed in error.

Source of cross-fitting: Chernozhukov et al., Double/debiased machine learning, The Econometrics Journal 21,
2018.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from melanoma.config.evaluation import Evaluate
from melanoma.config.monitoring import Recalibrate
from melanoma.evaluation import calibration, thresholds
from melanoma.evaluation.bootstrap import Draws, explained, mean_difference, metrics_with_intervals
from melanoma.evaluation.intervals import Entry
from melanoma.scoring.operating_point import Calibration, OperatingPoint

GAINS = ("log_loss", "brier_score")  # the first one decides
MEASURED = (
    "calibration_intercept",
    "calibration_slope",
    "observed_expected",
    "sensitivity",
    "specificity",
    "auc_roc",
    "brier_skill",
    *GAINS,
)


@dataclass(frozen=True)
class Labelled:
    """Labelled answers of one version in one clinic, arrays of shape `(num_images,)`.

    Attributes:
        target: 0 or 1.
        score: Scores before calibration, in 0..1.
        group_ids: Patients or lesions.
    """

    target: np.ndarray
    score: np.ndarray
    group_ids: np.ndarray

    def num_groups(self, target: int | None = None) -> int:
        """Number of groups; with `target`, of those that have an image of this class."""
        return len(set(self.group_ids if target is None else self.group_ids[self.target == target]))

    def at(self, rows: np.ndarray) -> "Labelled":
        """Some of the images."""
        return Labelled(self.target[rows], self.score[rows], self.group_ids[rows])


@dataclass(frozen=True)
class Decided:
    """Answers at one or several operating points, arrays of shape `(num_images,)`.

    Attributes:
        probability: Calibrated probabilities.
        threshold: Threshold of each image.
        decision: `negative`, `refer` or `positive`.
    """

    probability: np.ndarray
    threshold: np.ndarray
    decision: np.ndarray

    @classmethod
    def by(cls, point: OperatingPoint, score: np.ndarray) -> "Decided":
        """Answers at one operating point."""
        probability = point.calibration.apply(score)
        return cls(probability, np.full(len(score), point.threshold), point.decide(probability))


@dataclass(frozen=True)
class Recalibration:
    """What the labels say.

    Attributes:
        point: Operating point fitted on all labels, the one to serve.
        crossed: Cross-fitted answers.
        gain: By name of `GAINS` the loss of the version minus the cross-fitted loss, with paired intervals.
        before: Metrics of the version's own operating point by name, and `three_way`.
        after: The same of the cross-fitted answers.
    """

    point: OperatingPoint
    crossed: Decided
    gain: Mapping[str, Entry]
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    def why_not(self, method: str) -> list[str]:
        """Why the new operating point should not be served, in words; empty if it helps.

        Args:
            method: Method of calibration that was asked for.
        """
        reasons, found = [], self.gain[GAINS[0]]
        if self.point.calibration.method != method:
            reasons.append(
                f"{method} calibration would reverse the order of the scores, because on these images higher "
                "scores mean negative, or all are equal: the network does not work on them"
            )
        if not found["low"] > 0:
            reasons.append(
                "recalibration is not shown to help: the cross-fitted gain in log loss is "
                f"{explained(found)}, and the lower end of its interval must be above 0"
            )
        return reasons


def missing(labelled: Labelled, settings: Recalibrate) -> list[str]:
    """What is missing for a recalibration, in words; empty if there are enough labels.

    Args:
        labelled: Labelled answers.
        settings: Section `recalibrate` of params.yaml.
    """
    counts = [
        ("labelled groups", labelled.num_groups(), settings.min_labels),
        ("labelled groups with a positive image", labelled.num_groups(1), settings.min_of_each_class),
        ("labelled groups with a negative image", labelled.num_groups(0), settings.min_of_each_class),
    ]
    return [
        f"needs {least} {what}, has {num}: {least - num} are missing"
        for what, num, least in counts
        if num < least
    ]


def recalibrate(
    labelled: Labelled, own: OperatingPoint, settings: Recalibrate, evaluate: Evaluate
) -> Recalibration:
    """Fit a new operating point, and measure by cross-fitting what it changes.

    Args:
        labelled: Labelled answers, enough of them (see `missing`).
        own: Operating point of the version.
        settings: Section `recalibrate` of params.yaml.
        evaluate: Section `evaluate` of params.yaml: method of calibration and what is asked of the point.
    """
    before = Decided.by(own, labelled.score)
    crossed = cross_fit(labelled, own, settings, evaluate)
    draws = Draws(settings.num_bootstrap_draws, settings.seed)
    return Recalibration(
        fit(labelled, own, evaluate),
        crossed,
        gain(labelled, before, crossed, draws),
        _measure(labelled, before, draws),
        _measure(labelled, crossed, draws),
    )


def gain(labelled: Labelled, before: Decided, after: Decided, draws: Draws) -> dict[str, Entry]:
    """By name of `GAINS` the mean loss of `before` minus that of `after`, with paired 95 % intervals.

    Args:
        labelled: Labelled answers.
        before: Their probabilities; the thresholds do not matter.
        after: Other probabilities.
        draws: Draws of groups.
    """
    lost = mean_difference(
        labelled.target,
        before.probability[None],
        after.probability[None],
        labelled.group_ids,
        threshold=0.5,
        draws=draws,
    )
    return {name: lost[name] for name in GAINS}


def fit(labelled: Labelled, own: OperatingPoint, evaluate: Evaluate) -> OperatingPoint:
    """Calibration, threshold and referral band from labelled answers, as `evaluate` fits them on validation.

    Args:
        labelled: Labelled answers.
        own: Operating point of the version.
        evaluate: Section `evaluate` of params.yaml.
    """
    prevalence = own.calibration.prevalence  # kept by methods that do not fit it
    fitted = calibration.fit(
        evaluate.calibration,
        labelled.target,
        labelled.score,
        trained_prevalence=float(np.mean(labelled.target)) if prevalence is None else prevalence,
    )
    return _point(labelled, fitted, evaluate)


def _point(labelled: Labelled, fitted: Calibration, evaluate: Evaluate) -> OperatingPoint:
    return thresholds.choose(
        labelled.target,
        fitted.apply(labelled.score),
        labelled.group_ids,
        calibration=fitted,
        settings=evaluate,
    )


def cross_fit(labelled: Labelled, own: OperatingPoint, settings: Recalibrate, evaluate: Evaluate) -> Decided:
    """Answers of each fold at an operating point that was fitted on the other folds; see `recalibrate`."""
    num = len(labelled.target)
    found = Decided(np.empty(num), np.empty(num), np.empty(num, dtype=object))
    for others, fold in _folds(labelled, settings):
        mine = Decided.by(fit(labelled.at(others), own, evaluate), labelled.score[fold])
        found.probability[fold] = mine.probability
        found.threshold[fold] = mine.threshold
        found.decision[fold] = mine.decision
    return found


def _folds(labelled: Labelled, settings: Recalibrate) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images of all other folds and of each fold; a group is positive if one of its images is."""
    groups, group = np.unique(labelled.group_ids, return_inverse=True)
    is_positive = np.bincount(group, labelled.target) > 0
    folds = StratifiedKFold(settings.num_folds, shuffle=True, random_state=settings.seed)
    for _, held_out in folds.split(groups, is_positive):
        is_in = np.isin(group, held_out)
        yield np.flatnonzero(~is_in), np.flatnonzero(is_in)


def _measure(labelled: Labelled, decided: Decided, draws: Draws) -> dict[str, Any]:
    found = metrics_with_intervals(
        labelled.target,
        decided.probability,
        labelled.group_ids,
        threshold=decided.threshold,
        draws=draws,
    )
    three_way = thresholds.three_way(labelled.target, decided.decision, labelled.group_ids)
    return {name: found[name] for name in MEASURED} | {"three_way": three_way}
