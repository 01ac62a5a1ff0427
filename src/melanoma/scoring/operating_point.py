"""From a network's score to a calibrated probability and a decision: chosen on validation, served.

Needs numpy only: this module travels with the served model. How the numbers are chosen stands in
`evaluation.calibration` and `evaluation.thresholds`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

BENIGN, REFER, MALIGNANT = "benign", "refer", "malignant"
DECISIONS = (BENIGN, REFER, MALIGNANT)
SMALLEST = 1e-7  # scores are kept this far from 0 and 1, so that their logit is finite


def logit(score: np.ndarray) -> np.ndarray:
    """Log odds, float64, of scores in 0..1; finite also at the ends."""
    kept = np.clip(np.asarray(score, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


@dataclass(frozen=True)
class Calibration:
    """A monotone map from scores to probabilities.

    Attributes:
        method: `none`, `temperature`, `logistic` or `isotonic`.
        slope: Of the logit: 1 / temperature. Not of `isotonic`.
        intercept: Of the logit; 0 of `temperature`.
        scores: Knots of `isotonic`, rising; between them the map is linear, beyond them it is flat.
        probabilities: At the knots, not falling.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def apply(self, score: np.ndarray) -> np.ndarray:
        """Probabilities in 0..1, float64, of scores of any shape in 0..1; the order never turns."""
        if self.method == "none":
            return np.asarray(score, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(score, self.scores, self.probabilities)
        return np.asarray(1 / (1 + np.exp(-(self.slope * logit(score) + self.intercept))))


@dataclass(frozen=True)
class OperatingPoint:
    """From a score to a decision.

    Attributes:
        calibration: From score to probability.
        threshold: A probability; at or above it an image counts as malignant where only two answers are
            asked for. All metrics of decisions are taken there.
        refer_from: Below it the answer is benign; not above `threshold`.
        refer_to: From it on the answer is malignant; not below `threshold`. Between the two it is `refer`:
            a person must look. Both equal to `threshold`: never.
        evidence: What was seen on validation, for people: see `evaluation.thresholds`.
    """

    calibration: Calibration
    threshold: float
    refer_from: float
    refer_to: float
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def decide(self, probability: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """`benign`, `refer` or `malignant` of each probability; what is no number is referred.

        Args:
            probability: Calibrated, any shape.
            threshold: Asks for two answers at another threshold: nothing is referred then.
        """
        low, high = (self.refer_from, self.refer_to) if threshold is None else (threshold, threshold)
        return np.select([probability >= high, probability < low], [MALIGNANT, BENIGN], REFER)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it back."""
        return asdict(self) | {"evidence": dict(self.evidence)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "OperatingPoint":
        """What `to_dict` wrote, perhaps through JSON."""
        calibration = dict(content["calibration"])
        knots = {name: tuple(calibration[name]) for name in ("scores", "probabilities")}
        return cls(**(dict(content) | {"calibration": Calibration(**(calibration | knots))}))
