"""ROC and precision curves with pointwise 95 % bands, a bootstrap over groups."""

import numpy as np
import pandas as pd

from melanoma.evaluation.bootstrap import band
from melanoma.evaluation.metrics import weights_by_score

GRID = np.linspace(0, 1, 101)  # x axis


def roc_band(target: np.ndarray, probability: np.ndarray, *, weights: np.ndarray) -> pd.DataFrame:
    """The ROC curve on a fixed grid with its pointwise 95 % band.

    Returns:
        Columns `false_positive_fraction`, `sensitivity` (the highest at no more false positives), `low`,
        `high`; nan where a class is absent.
    """
    return mean_roc_band(target, probability[None], weights=weights)


def mean_roc_band(target: np.ndarray, probabilities: np.ndarray, *, weights: np.ndarray) -> pd.DataFrame:
    """The mean of several networks' ROC curves at each false positive fraction, with its 95 % band.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probabilities: Shape `(num_networks, num_samples)`, of the same samples.
        weights: Weights from `draw_weights`; all networks see the same draws, networks are not drawn.

    Returns:
        The columns of `roc_band`.
    """

    def measure(weights: np.ndarray) -> np.ndarray:
        curves = []
        for probability in probabilities:
            positives, negatives = weights_by_score(target, probability, weights)
            curves.append([_sensitivity_at(*row) for row in zip(positives, negatives, strict=True)])
        return np.mean(curves, axis=0)

    value, low, high = band(measure, weights)
    return pd.DataFrame({"false_positive_fraction": GRID, "sensitivity": value, "low": low, "high": high})


def precision_band(target: np.ndarray, probability: np.ndarray, *, weights: np.ndarray) -> pd.DataFrame:
    """Precision by recall on a fixed grid with its pointwise 95 % band.

    Returns:
        Columns `recall`, `precision` (the highest at no less recall), `low`, `high`.
    """

    def measure(weights: np.ndarray) -> np.ndarray:
        positives, negatives = weights_by_score(target, probability, weights)
        return np.stack([_precision_at(*row) for row in zip(positives, negatives, strict=True)])

    value, low, high = band(measure, weights)
    return pd.DataFrame({"recall": GRID, "precision": value, "low": low, "high": high})


def _sensitivity_at(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Highest sensitivity at each false positive fraction of `GRID`; weights are ordered by falling score."""
    if positives.sum() == 0 or negatives.sum() == 0:
        return np.full(len(GRID), np.nan)
    alarmed = np.r_[0.0, np.cumsum(negatives)] / negatives.sum()
    found = np.r_[0.0, np.cumsum(positives)] / positives.sum()
    return found[np.searchsorted(alarmed, GRID + 1e-9, side="right") - 1]


def _precision_at(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Highest precision at each recall of `GRID` or above; weights are ordered by falling score."""
    if positives.sum() == 0:
        return np.full(len(GRID), np.nan)
    found, alarmed = np.cumsum(positives), np.cumsum(negatives)
    called = found + alarmed
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(found / positives.sum(), GRID - 1e-9)]
