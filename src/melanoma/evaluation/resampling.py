"""Comparison of two recipes by repeated grouped cross-validation."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from melanoma.evaluation.intervals import LEVEL, Entry, entry


def corrected_resampled_t(
    differences: Sequence[float] | np.ndarray, *, num_test: float, num_train: float, level: float = LEVEL
) -> Entry:
    """The mean difference over folds and repetitions, with an interval that admits their overlap.

    Training sets of different folds share images, so the differences are not independent and their variance
    over folds is too small. The correction adds `num_test / num_train` to the `1 / number` of the mean.

    Args:
        differences: Score of one recipe minus that of the other, one per fold and repetition.
        num_test: Mean number of groups in a test fold.
        num_train: Mean number of groups that a fold trains on.
        level: Confidence level, in (0, 1).

    Returns:
        `value`, `low`, `high`, `standard_error`, two-sided `p_value` and, if one of them is nan, `undefined`.

    Raises:
        ValueError: `num_test` or `num_train` is not positive.

    Source: Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003.
    """
    if not (num_test > 0 and num_train > 0):
        raise ValueError(f"num_test and num_train must be positive, got {num_test} and {num_train}")
    found = np.asarray(differences, dtype=float)
    unknown = {"standard_error": math.nan, "p_value": math.nan}
    value = float(found.mean()) if len(found) else math.nan
    reason = "" if np.isfinite(found).all() else "some differences are not finite"
    if len(found) < 2:
        reason = "fewer than two folds have a difference"
    if reason:
        return entry(value, math.nan, math.nan, undefined=reason) | unknown
    if np.ptp(found) == 0:
        if value == 0:
            return entry(0, 0, 0) | {"standard_error": 0.0, "p_value": 1.0}
        return entry(value, math.nan, math.nan, undefined="all folds have the same difference") | unknown
    error = math.sqrt((1 / len(found) + num_test / num_train) * found.var(ddof=1))
    half = stats.t.ppf((1 + level) / 2, len(found) - 1) * error
    p_value = 2 * stats.t.sf(abs(value) / error, len(found) - 1)
    return entry(value, value - half, value + half) | {"standard_error": error, "p_value": float(p_value)}
