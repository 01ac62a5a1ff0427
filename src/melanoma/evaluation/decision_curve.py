"""Decision curves: whether acting on a model has more net benefit than treating everybody or nobody.

Net benefit at a threshold probability p: the share of true positives minus the share of false positives times
p / (1 - p), the odds that weigh a needless excision against a found melanoma for somebody who acts at p.
Source: Vickers and Elkin, Decision curve analysis, Medical Decision Making 26, 2006.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from melanoma.evaluation.bootstrap import band
from melanoma.evaluation.metrics import divide

THRESHOLDS = np.arange(1, 51) / 100  # acting only at a risk above one half is rare


def decision_curve(
    target: np.ndarray,
    probability: np.ndarray,
    *,
    weights: np.ndarray,
    prevalences: Sequence[float],
    fitted_prevalence: float | None,
) -> pd.DataFrame:
    """Net benefit at given prevalences of positive lesions, with 95 % bands.

    At another prevalence, the odds of every image are multiplied by the ratio of the prior odds there and
    those of the calibration; sensitivity and specificity are assumed to hold.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Calibrated, shape `(num_samples,)`.
        weights: Weights from `bootstrap.draw_weights`.
        prevalences: Prevalences of positive lesions, each in (0, 1).
        fitted_prevalence: Prevalence at which the probabilities hold, see `Calibration.prevalence`.

    Returns:
        Columns `prevalence`, `threshold_probability`, `net_benefit`, `low`, `high`, `treat_all`; treating
        nobody has net benefit 0. The column `undefined` says why the net benefit is nan, or is empty. The
        band is a percentile bootstrap; where nobody is called positive it has no width.
    """
    reason = why_undefined(target, fitted_prevalence)
    fitted = np.nan if reason or fitted_prevalence is None else fitted_prevalence
    parts = [
        _at_prevalence(target, shift(probability, fitted, prevalence), weights, prevalence)
        for prevalence in prevalences
    ]
    return pd.concat(parts, ignore_index=True).assign(undefined=reason)


def why_undefined(target: np.ndarray, fitted_prevalence: float | None) -> str:
    """Why there is no net benefit at another prevalence, in words; empty if there is."""
    if not np.any(target == 1):
        return "there is no positive image, so the sensitivity is not defined"
    if not np.any(target == 0):
        return "there is no negative image, so the specificity is not defined"
    if fitted_prevalence is None or not np.isfinite(fitted_prevalence):
        return "the prevalence at which the probabilities hold is not known"
    if not 0 < fitted_prevalence < 1:
        return "the probabilities hold where one class is absent, so they cannot be restated"
    return ""


def shift(probability: np.ndarray, fitted_prevalence: float, prevalence: float) -> np.ndarray:
    """Probabilities after a change of prevalence; 0 and 1 stay, and all are nan if `fitted_prevalence` is."""
    ratio = (prevalence / (1 - prevalence)) / (fitted_prevalence / (1 - fitted_prevalence))
    return np.asarray(ratio * probability / (ratio * probability + 1 - probability))


def _at_prevalence(
    target: np.ndarray, probability: np.ndarray, weights: np.ndarray, prevalence: float
) -> pd.DataFrame:
    odds = THRESHOLDS / (1 - THRESHOLDS)
    called = (probability[:, None] >= THRESHOLDS).astype(np.float64)
    is_malignant = target == 1

    def net_benefit(weights: np.ndarray) -> np.ndarray:
        sensitivity = _called_fraction(called, is_malignant, weights)
        alarmed = _called_fraction(called, ~is_malignant, weights)
        return np.asarray(sensitivity * prevalence - alarmed * (1 - prevalence) * odds)

    value, low, high = np.full((3, len(THRESHOLDS)), np.nan)
    if not np.isnan(probability).any():
        value, low, high = band(net_benefit, weights)
    return pd.DataFrame(
        {
            "prevalence": prevalence,
            "threshold_probability": THRESHOLDS,
            "net_benefit": value,
            "low": low,
            "high": high,
            "treat_all": prevalence - (1 - prevalence) * odds,
        }
    )


def _called_fraction(called: np.ndarray, is_in: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fraction of one class that is called positive at each threshold, `(num_draws, 50)`."""
    found = weights[:, is_in] @ called[is_in]
    total = weights[:, is_in].sum(axis=1, keepdims=True)
    return divide(found, np.broadcast_to(total, found.shape))
