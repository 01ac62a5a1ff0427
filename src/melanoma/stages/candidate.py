"""Part of the stage `promote`: the model to be judged."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from melanoma.data import packed
from melanoma.evaluation.bootstrap import Draws
from melanoma.registry import versions


@dataclass(frozen=True)
class Candidate:
    """The selected model of a cohort and the outputs of earlier stages about it.

    Attributes:
        cohort: Name of the cohort.
        model: `baseline` or `tuned`.
        entry: Its entry of `models.json`.
        metrics: Its entry of `metrics.json`.
        data: Packed cohort.
        predictions: Predictions of both models.
        references: Scores of the references by image.
        slices: Its entry of `slices.json`.
        assigned: Groups of all images that were ever accepted.
        accepted: Accepted records.
        terms: What must stay the same for the anchor to stay, see `registry.anchors`.
        num_bins: Number of bins of the expected calibration error.
        draws: Draws of the intervals.
    """

    cohort: str
    model: str
    entry: dict[str, Any]
    metrics: dict[str, Any]
    data: packed.Packed
    predictions: pd.DataFrame
    references: pd.DataFrame
    slices: list[dict[str, Any]]
    assigned: pd.DataFrame
    accepted: pd.DataFrame
    terms: str
    num_bins: int
    draws: Draws

    @property
    def name(self) -> str:
        """Name of the registered model."""
        return versions.model_name(self.cohort)
