"""Operating point of a network: calibration, threshold and referral band.

This module travels with the served model. The values are chosen on validation by
`evaluation.calibration` and `evaluation.thresholds`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from melanoma.schema import DECISIONS, EARLIER_DECISIONS

NEGATIVE, REFER, POSITIVE = DECISIONS
SMALLEST = 1e-7  # scores are kept this far from 0 and 1, so that their logit is finite


def current_word(decision: str) -> str:
    """The word for a decision or a true class; results of older versions say `benign` and `malignant`."""
    return EARLIER_DECISIONS.get(decision, decision)


def logit(score: np.ndarray) -> np.ndarray:
    """Log odds, float64, of scores in 0..1; finite also at the ends."""
    kept = np.clip(np.asarray(score, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


@dataclass(frozen=True)
class Calibration:
    """A monotone map from scores to probabilities.

    Attributes:
        method: `none`, `temperature`, `logistic` or `isotonic`.
        slope: Slope of the logit, 1 / temperature; not used by `isotonic`.
        intercept: Intercept of the logit; 0 for `temperature`.
        scores: Rising knots of `isotonic`; the map is linear between them and constant outside.
        probabilities: Probabilities at the knots, not falling.
        prevalence: Fraction of positive images at which the probabilities hold: that of the images which
            `logistic` or `isotonic` was fitted on, else that of the images as training drew them. None in
            operating points that were stored before it was recorded.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    prevalence: float | None = None

    def apply(self, score: np.ndarray) -> np.ndarray:
        """Probabilities, float64 in 0..1, of scores of any shape in 0..1; the order is kept."""
        if self.method == "none":
            return np.asarray(score, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(score, self.scores, self.probabilities)
        return np.asarray(1 / (1 + np.exp(-(self.slope * logit(score) + self.intercept))))


@dataclass(frozen=True)
class OperatingPoint:
    """Calibration, threshold and referral band.

    Attributes:
        calibration: Calibration from score to probability.
        threshold: Probability at or above which an image counts as positive in a two-way decision; metrics
            of decisions are computed there.
        refer_from: Lower end of the referral band, at most `threshold`; below it the decision is `negative`.
        refer_to: Upper end of the band, at least `threshold`; from it on the decision is `positive`. Within
            the band it is `refer`: a person must review the image. The band is empty if both are equal.
        evidence: What was asked and what it got on the calibration images, see `evaluation.asked_and_got`;
            older points have less.
    """

    calibration: Calibration
    threshold: float
    refer_from: float
    refer_to: float
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def decide(self, probability: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Decide `negative`, `refer` or `positive` for each probability; nan is referred.

        Args:
            probability: Calibrated probabilities, any shape.
            threshold: Threshold of a two-way decision, in which nothing is referred.
        """
        low, high = (self.refer_from, self.refer_to) if threshold is None else (threshold, threshold)
        return np.select([probability >= high, probability < low], [POSITIVE, NEGATIVE], REFER)

    def to_dict(self) -> dict[str, Any]:
        """The operating point as a JSON object."""
        return asdict(self) | {"evidence": dict(self.evidence)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "OperatingPoint":
        """Read the result of `to_dict`."""
        calibration = dict(content["calibration"])
        knots = {name: tuple(calibration[name]) for name in ("scores", "probabilities")}
        return cls(**(dict(content) | {"calibration": Calibration(**(calibration | knots))}))
