"""What late labels say of a version in use: its sensitivity and its calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.config import Params
from melanoma.evaluation import calibration_measures, intervals
from melanoma.monitoring import audit_draws, labels, sensitivity
from melanoma.monitoring.sensitivity import Sensitivity
from melanoma.serving.records import key_of_groups


@dataclass(frozen=True)
class InUse:
    """What labels say.

    Attributes:
        sensitivity: From all groups that the audit could draw; None without labels.
        calibration: Result of `calibration_measures.measure` on labelled answers of the audit, and their AUC;
            None without.
        num_labelled: Number of these answers.
        problems: Labels that were left out, a line for each reason.
    """

    sensitivity: Sensitivity | None
    calibration: dict[str, Any] | None
    num_labelled: int
    problems: Sequence[str]


AUC = "auc_roc"
NOT_DRAWN = (
    "The audit has drawn among no answers of this version yet, so labels say nothing about its sensitivity. "
    "Run `python -m pipelines.queue` on a day after the answers, and label what it lists."
)
NOTHING = InUse(None, None, 0, ())


def measure(
    rows: pd.DataFrame,
    all_rows: pd.DataFrame,
    folder: Path,
    paths: Sequence[Path],
    params: Params,
) -> InUse:
    """Measure the answers of one version.

    Args:
        rows: Records of the version until now.
        all_rows: Records of all versions: a label of an image holds for its answers of every version.
        folder: Folder of the compacted records, with the draws of the audit.
        paths: Label files.
        params: Content of params.yaml; sections `monitor` and `queue`.

    Raises:
        DataError: A label file cannot be used.
        TrackingError: The environment has no key, see `serving.records`.
    """
    answers, problems = of_audit(rows, all_rows, folder, paths)
    if answers.empty:
        return InUse(None, None, 0, problems)
    least = least_probability(answers, params)
    settings = params.monitor
    found = sensitivity.measure(
        answers, minimum=settings.min_sensitivity, pi_min=least, alpha=settings.alpha_sensitivity
    )
    sample = equally_drawn(answers, least)
    sample = sample[sample["label"].notna()].merge(rows[["prediction_id", "probability"]], on="prediction_id")
    known = (
        sample["label"].to_numpy(int),
        sample["probability"].to_numpy(float),
        sample["group_id"].to_numpy(),
    )
    measures = calibration_measures.measure(*known) | {AUC: intervals.auc(*known)}
    return InUse(found, measures, len(sample), problems)


def of_audit(
    rows: pd.DataFrame, all_rows: pd.DataFrame, folder: Path, paths: Sequence[Path]
) -> tuple[pd.DataFrame, list[str]]:
    """The answers of one version among which the audit has drawn, with their labels.

    Args:
        rows: Records of the version.
        all_rows: Records of all versions: a label of an image holds for its answers of every version.
        folder: Folder of the compacted records, with the draws of the audit.
        paths: Label files.

    Returns:
        Result of `audit_draws.sensitivity_answers`, empty without draws; and a line for each problem.

    Raises:
        DataError: A label file cannot be used.
    """
    given, draws = labels.read(paths, all_rows), audit_draws.read(folder)
    mine = draws[draws["prediction_id"].isin(rows["prediction_id"])]
    names = mine["model_name"].unique()
    name = names[0] if len(names) else ""
    answers = audit_draws.sensitivity_answers(rows, mine, given.rows, model_name=name)
    return answers, [*([] if len(names) else [NOT_DRAWN]), *given.describe()]


def least_probability(answers: pd.DataFrame, params: Params) -> float:
    """The least probability with which the audit draws a group; see `equally_drawn`."""
    return float(min(params.queue.audit_fraction, answers["probability_drawn"].min()))


def equally_drawn(answers: pd.DataFrame, probability: float) -> pd.DataFrame:
    """The answers of groups that a draw with one probability for all would have drawn.

    Args:
        answers: Result of `of_audit`; a label may be missing.
        probability: At most the probability with which any of them was drawn.

    Raises:
        TrackingError: The environment has no key, see `serving.records`.
    """
    key = key_of_groups().encode()
    number = answers["group_id"].map(lambda group: audit_draws.number_of(group, key))
    return answers[number < probability]
