"""Class probabilities that agree with the calibrated probability of a melanoma; needs numpy only."""

import numpy as np

from melanoma.schema import CLASSES, MELANOMA

POSITION = CLASSES.index(MELANOMA)


def beside_probability(softmax: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Adjust class probabilities to the calibrated probability of a melanoma.

    The melanoma column becomes `probability`; the other classes share the rest in proportion to the softmax,
    or equally if their softmax is 0. Their probabilities are not calibrated.

    Args:
        softmax: Shape `(n, num_classes)`, over `schema.CLASSES`; rows add to 1.
        probability: Shape `(n,)`, calibrated, in 0..1.

    Returns:
        Shape `(n, num_classes)`; rows add to 1.
    """
    others = np.array(softmax, dtype=np.float64)
    others[:, POSITION] = 0
    total = others.sum(1, keepdims=True)
    equal = np.where(np.arange(len(CLASSES)) == POSITION, 0.0, 1 / (len(CLASSES) - 1))
    shares = np.divide(others, total, out=np.tile(equal, (len(others), 1)), where=total > 0)
    scaled = shares * (1 - probability[:, None])
    scaled[:, POSITION] = probability
    return scaled
