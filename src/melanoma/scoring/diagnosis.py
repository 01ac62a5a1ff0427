"""Class probabilities that agree with the calibrated probability of positive; needs numpy only."""

from collections.abc import Sequence

import numpy as np


def beside_probability(
    softmax: np.ndarray, probability: np.ndarray, *, positive: Sequence[int]
) -> np.ndarray:
    """Adjust class probabilities to the calibrated probability of positive.

    The positive classes share `probability` and the negative ones the rest, each side in proportion to the
    softmax, or equally if its softmax is 0. How a side is shared is not calibrated.

    Args:
        softmax: Shape `(n, num_classes)`; rows add to 1.
        probability: Shape `(n,)`, calibrated, in 0..1.
        positive: Positions of the positive classes; neither none nor all of them.

    Returns:
        Shape `(n, num_classes)`; rows add to 1, and their positive classes to `probability`.
    """
    is_positive = np.isin(np.arange(softmax.shape[1]), list(positive))
    adjusted = np.empty(softmax.shape, dtype=np.float64)
    for side, total in ((is_positive, probability), (~is_positive, 1 - probability)):
        found = softmax[:, side].astype(np.float64)
        equal = np.full_like(found, 1 / side.sum())
        sums = found.sum(1, keepdims=True)
        adjusted[:, side] = np.divide(found, sums, out=equal, where=sums > 0) * total[:, None]
    return adjusted
