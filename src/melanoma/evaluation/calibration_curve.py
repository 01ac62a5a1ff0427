"""Calibration curve: how many are positive of the images that are given a certain probability.

A logistic regression of the outcome on a restricted cubic spline of the log odds, with a pointwise 95 % band
from the jackknife over groups of `calibration_measures`, on the scale of log odds: it never leaves 0..1.
Sources: Harrell, Regression modeling strategies, 2015, section 2.4 (splines and their knots); Austin and
Steyerberg, Statistics in Medicine 33, 2014 (smoothed calibration curves).
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from melanoma.evaluation.calibration_measures import (
    Sample,
    fit_logistic,
    newton_steps,
    why_no_slope,
    why_undefined,
)
from melanoma.evaluation.metrics import calibration_bins, divide
from melanoma.scoring.operating_point import logit

NUM_POINTS = 101
# By effective number of groups of the rarer class: quantiles of the log odds at which the spline has a knot.
KNOTS = {50: (0.05, 0.35, 0.65, 0.95), 20: (0.1, 0.5, 0.9)}


def smooth(target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray) -> pd.DataFrame:
    """The smoothed positive fraction by probability, between the lowest and the highest one.

    Fewer than 20 effective groups of the rarer class give a straight line of log odds, fewer than 50 a spline
    with three knots, more one with four.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`, in 0..1.
        group_ids: Shape `(num_samples,)`.

    Returns:
        Columns `mean_probability`, `malignant_fraction`, `low`, `high`; and `undefined`, why there is no
        curve or no band, or empty.
    """
    reason = why_undefined(target, probability) or ("" if np.ptp(target) else "all images are of one class")
    if reason:
        return _table(np.array([np.nan]), reason=reason)
    sample = Sample.of(target, probability, group_ids)
    at = np.linspace(probability.min(), probability.max(), NUM_POINTS)
    reason = why_no_slope(sample)
    if reason:
        return _table(at, reason=reason)
    knots = _knots(sample)
    features, at_features = _spline(sample.log_odds, knots), _spline(logit(at), knots)
    coefficients = fit_logistic(sample.target, features)
    if coefficients is None:
        return _table(at, reason="the logistic regression does not converge")
    line = at_features @ coefficients
    steps = newton_steps(sample, features, expit(features @ coefficients)) @ at_features.T
    if sample.why_no_interval or np.isnan(steps).any():
        return _table(at, expit(line), reason="too few groups for a band")
    error = np.sqrt((1 - 1 / sample.num_groups) * np.sum(steps**2, axis=0))
    ends = (expit(line + sign * sample.quantile(steps) * error) for sign in (-1, 1))
    return _table(at, expit(line), *ends)


def _table(
    at: np.ndarray,
    fraction: float | np.ndarray = np.nan,
    low: float | np.ndarray = np.nan,
    high: float | np.ndarray = np.nan,
    *,
    reason: str = "",
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mean_probability": at,
            "malignant_fraction": fraction,
            "low": low,
            "high": high,
            "undefined": reason,
        }
    )


def _knots(sample: Sample) -> np.ndarray:
    """Knots of the spline, rising; none for a straight line."""
    for least, quantiles in KNOTS.items():
        knots = np.unique(np.quantile(sample.log_odds, quantiles))
        if sample.effective >= least and len(knots) == len(quantiles):
            return knots
    return np.array([])


def _spline(log_odds: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Features `(num, 1 + number of knots - 1)`: 1, the log odds and cubic terms; linear beyond the knots."""
    columns = [np.ones_like(log_odds), log_odds]
    if len(knots):
        cubes = np.clip(log_odds[:, None] - knots, 0, None) ** 3 / np.ptp(knots) ** 2
        last, gap = knots[-1], knots[-1] - knots[-2]
        for at, knot in enumerate(knots[:-2]):
            beyond = cubes[:, -2] * (last - knot) - cubes[:, -1] * (knots[-2] - knot)
            columns.append(cubes[:, at] - beyond / gap)
    return np.stack(columns, axis=1)


def bins(target: np.ndarray, probability: np.ndarray, *, num_bins: int) -> pd.DataFrame:
    """Observed positive fraction by bin of the probability.

    Returns:
        Columns `bin_low`, `bin_high`, `num_images`, `mean_probability`, `malignant_fraction`; the last two
        are nan in empty bins.
    """
    of_bin = calibration_bins(probability, num_bins)
    num_images, expected, observed = (
        np.bincount(of_bin, values, num_bins) for values in (None, probability, target)
    )
    return pd.DataFrame(
        {
            "bin_low": np.arange(num_bins) / num_bins,
            "bin_high": np.arange(1, num_bins + 1) / num_bins,
            "num_images": num_images,
            "mean_probability": divide(expected, num_images),
            "malignant_fraction": divide(observed, num_images),
        }
    )
