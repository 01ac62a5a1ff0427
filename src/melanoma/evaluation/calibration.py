"""Calibration of scores to probabilities; it is fitted on validation images, never on test images.

Training draws both classes equally often, so uncalibrated scores are too high where few lesions are
malignant.
"""

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from melanoma.errors import DataError
from melanoma.scoring.operating_point import Calibration, logit


def fit(method: str, target: np.ndarray, score: np.ndarray) -> Calibration:
    """Fit a calibration on the validation images.

    `temperature` and `logistic` minimise the log loss of smoothed targets, so that perfectly separated
    classes do not give an infinite slope. Source: Platt, Probabilistic outputs for support vector machines,
    1999; Guo et al., On calibration of modern neural networks, ICML 2017.

    Args:
        method: Method of `Calibration`.
        target: Shape `(num_samples,)`, 0 or 1; labels of the validation split.
        score: Shape `(num_samples,)`, in 0..1.

    Returns:
        The calibration; its method is `none` if higher scores mean benign, because a calibration must not
        reverse the order. The operating point then carries a warning.

    Raises:
        DataError: One class is missing.
    """
    if len(set(target)) < 2:
        raise DataError(
            "The validation split has images of one class only, so calibration is impossible. "
            "Add images of the other class."
        )
    match method:
        case "none":
            return Calibration()
        case "isotonic":
            return _isotonic(target, score)
    return _logistic(method, target, score)


def _isotonic(target: np.ndarray, score: np.ndarray) -> Calibration:
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(score, target)
    scores, probabilities = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    return Calibration("isotonic", scores=tuple(scores), probabilities=tuple(probabilities))


def _logistic(method: str, target: np.ndarray, score: np.ndarray) -> Calibration:
    num_malignant, num_benign = int(np.sum(target == 1)), int(np.sum(target == 0))
    smoothed = np.where(target == 1, (num_malignant + 1) / (num_malignant + 2), 1 / (num_benign + 2))
    features = np.tile(logit(score), 2)[:, None]
    labels = np.repeat([1, 0], len(target))
    fitted = LogisticRegression(C=np.inf, fit_intercept=method == "logistic", tol=1e-8, max_iter=1000)
    fitted.fit(features, labels, sample_weight=np.r_[smoothed, 1 - smoothed])
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        return Calibration()
    intercept = float(fitted.intercept_[0]) if method == "logistic" else 0.0
    return Calibration(method, slope=slope, intercept=intercept)
