"""What late labels say of a version in use: its sensitivity and its calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.config import Params
from melanoma.evaluation import calibration_measures
from melanoma.monitoring import audit_draws, labels, sensitivity
from melanoma.monitoring.sensitivity import Sensitivity
from melanoma.serving.records import key_of_groups


@dataclass(frozen=True)
class InUse:
    """What labels say.

    Attributes:
        sensitivity: From all groups that the audit could draw; None without labels.
        calibration: Result of `calibration_measures.measure` on labelled answers of the audit; None without.
        num_labelled: Number of answers on which the calibration was measured.
        problems: Labels that were left out, a line for each reason.
    """

    sensitivity: Sensitivity | None
    calibration: dict[str, Any] | None
    num_labelled: int
    problems: Sequence[str]


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
    given, draws = labels.read(paths, all_rows), audit_draws.read(folder)
    mine = draws[draws["prediction_id"].isin(rows["prediction_id"])]
    names = mine["model_name"].unique()
    if not len(names):
        return InUse(None, None, 0, [NOT_DRAWN, *given.describe()])
    answers = audit_draws.sensitivity_answers(rows, mine, given.rows, model_name=names[0])
    least = min(params.queue.audit_fraction, answers["probability_drawn"].min())
    settings = params.monitor
    found = sensitivity.measure(
        answers, minimum=settings.min_sensitivity, pi_min=least, alpha=settings.alpha_sensitivity
    )
    sample = equally_drawn(answers, least).merge(rows[["prediction_id", "probability"]], on="prediction_id")
    calibration = calibration_measures.measure(
        sample["label"].to_numpy(int), sample["probability"].to_numpy(float), sample["group_id"].to_numpy()
    )
    return InUse(found, calibration, len(sample), given.describe())


def equally_drawn(answers: pd.DataFrame, probability: float) -> pd.DataFrame:
    """The labelled answers of groups that a draw with one probability for all would have drawn.

    Args:
        answers: Result of `audit_draws.sensitivity_answers`.
        probability: That probability, at most the smallest one of the draws.

    Raises:
        TrackingError: The environment has no key, see `serving.records`.
    """
    key = key_of_groups().encode()
    number = answers["group_id"].map(lambda group: audit_draws.number_of(group, key))
    return answers[(number < probability) & answers["label"].notna()]
