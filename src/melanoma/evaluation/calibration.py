"""Calibration of scores to probabilities; it is fitted on validation images, never on test images.

Where training draws both classes equally often, uncalibrated scores are too high for a clinic in which few
lesions are positive.
"""

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from melanoma.errors import DataError
from melanoma.scoring.operating_point import Calibration, logit


def fit(method: str, target: np.ndarray, score: np.ndarray, *, trained_prevalence: float) -> Calibration:
    """Fit a calibration on the validation images.

    `temperature` and `logistic` minimise the log loss of smoothed targets, so that perfectly separated
    classes do not give an infinite slope. Source: Platt, Probabilistic outputs for support vector machines,
    1999; Guo et al., On calibration of modern neural networks, ICML 2017.

    Args:
        method: Method of `Calibration`.
        target: Shape `(num_samples,)`, 0 or 1; labels of the validation split.
        score: Shape `(num_samples,)`, in 0..1.
        trained_prevalence: Fraction of positive images among those that training drew. `none` and
            `temperature` leave it in the scores.

    Returns:
        The calibration; its method is `none` if higher scores mean negative, because a calibration must not
        reverse the order, or if all scores are equal. The operating point then carries a warning.

    Raises:
        DataError: One class is missing, or a score is not finite.
    """
    if len(set(target)) < 2:
        raise DataError(
            "The validation split has images of one class only, so calibration is impossible. "
            "Add images of the other class."
        )
    if not np.isfinite(score).all():
        raise DataError(
            f"{np.sum(~np.isfinite(score))} of {len(score)} scores of validation images are not finite, so "
            "calibration is impossible. Train the network again, with a smaller learning rate perhaps."
        )
    match "none" if np.ptp(score) == 0 else method:
        case "none":
            return Calibration(prevalence=trained_prevalence)
        case "isotonic":
            return _isotonic(target, score)
    return _logistic(method, target, score, trained_prevalence)


def _isotonic(target: np.ndarray, score: np.ndarray) -> Calibration:
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(score, target)
    scores, probabilities = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    return Calibration(
        "isotonic",
        scores=tuple(scores),
        probabilities=tuple(probabilities),
        prevalence=float(np.mean(target)),
    )


def _logistic(method: str, target: np.ndarray, score: np.ndarray, trained_prevalence: float) -> Calibration:
    num_malignant, num_benign = int(np.sum(target == 1)), int(np.sum(target == 0))
    smoothed = np.where(target == 1, (num_malignant + 1) / (num_malignant + 2), 1 / (num_benign + 2))
    features = np.tile(logit(score), 2)[:, None]
    labels = np.repeat([1, 0], len(target))
    fitted = LogisticRegression(C=np.inf, fit_intercept=method == "logistic", tol=1e-8, max_iter=1000)
    fitted.fit(features, labels, sample_weight=np.r_[smoothed, 1 - smoothed])
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        return Calibration(prevalence=trained_prevalence)
    if method == "temperature":
        return Calibration(method, slope=slope, prevalence=trained_prevalence)
    # The mean of the smoothed targets is the mean of the fitted probabilities.
    return Calibration(
        method, slope=slope, intercept=float(fitted.intercept_[0]), prevalence=float(smoothed.mean())
    )
