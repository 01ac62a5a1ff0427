"""Probabilities by class beside the calibrated probability of a melanoma. Needs numpy only: it is served."""

import numpy as np

from melanoma.schema import CLASSES, MELANOMA

POSITION = CLASSES.index(MELANOMA)


def beside_probability(softmax: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The classes' probabilities, made to agree with the calibrated one of a melanoma.

    The melanoma column becomes `probability`; the other classes share what is left as they share it in the
    softmax, and equally where that has nothing for them. Whether their shares are calibrated was not asked.

    Args:
        softmax: Shape `(n, 4)`, over `schema.CLASSES`; rows add to 1.
        probability: Shape `(n,)`, calibrated, in 0..1.

    Returns:
        Shape `(n, 4)`; rows add to 1.
    """
    others = np.array(softmax, dtype=np.float64)
    others[:, POSITION] = 0
    total = others.sum(1, keepdims=True)
    equal = np.where(np.arange(len(CLASSES)) == POSITION, 0.0, 1 / (len(CLASSES) - 1))
    shares = np.divide(others, total, out=np.tile(equal, (len(others), 1)), where=total > 0)
    scaled = shares * (1 - probability[:, None])
    scaled[:, POSITION] = probability
    return scaled
