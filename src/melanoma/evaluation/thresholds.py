"""The operating point: chosen on validation, stored with the model, served with it."""

import math

import numpy as np

from melanoma.errors import DataError


def threshold_for_sensitivity(
    target: np.ndarray, probability: np.ndarray, *, min_sensitivity: float
) -> float:
    """The highest threshold at which at least `min_sensitivity` of the malignant images are found.

    Args:
        target: Shape `(num_samples,)`, 1 malignant, 0 benign; of the validation split, never of test.
        probability: Shape `(num_samples,)`, in 0..1.
        min_sensitivity: In (0, 1].

    Returns:
        A probability; images at or above it are called malignant.

    Raises:
        DataError: No malignant image.

    Example:
        >>> threshold_for_sensitivity(
        ...     np.array([0, 1, 1, 1]), np.array([0.3, 0.2, 0.6, 0.9]), min_sensitivity=0.66
        ... )
        0.6
    """
    malignant = np.sort(probability[target == 1])[::-1]
    if len(malignant) == 0:
        raise DataError("The validation split has no malignant image: no threshold can be chosen.")
    # The small term keeps 0.07 * 100 = 7.000000000000001 from asking for 8 of 100.
    num_needed = max(1, math.ceil(min_sensitivity * len(malignant) - 1e-9))
    return float(malignant[num_needed - 1])
