"""How often training draws each class.

A class of n images is drawn in proportion to n to the power of 1 - `sampling_power`: 0 draws classes as they
are found, 0.5 by the square root of their inverse frequency, 1 equally often.
"""

from collections.abc import Sequence

import numpy as np

ROUNDING = 1e-9  # a share that is a whole number but for rounding


def share_out(number: int, sizes: Sequence[int], sampling_power: float) -> int:
    """How many of `number` draws the first of several classes gets, rounded down.

    Args:
        number: Draws of all classes together.
        sizes: Number of images of each class.
        sampling_power: Between 0 and 1.
    """
    weights = [float(size) ** (1 - sampling_power) for size in sizes]
    return int(number * weights[0] / sum(weights) + ROUNDING)


def drawn_prevalence(targets: np.ndarray, sampling_power: float) -> float:
    """Fraction of positive images among those that training draws, up to the rounding of one image.

    Args:
        targets: Shape `(num_images,)`, 0 or 1, of the images to draw from.
        sampling_power: Between 0 and 1.

    Returns:
        The fraction of positive images found where only one class is.
    """
    num_positive = int(np.sum(targets))
    sizes = np.array([num_positive, len(targets) - num_positive], float)
    if not sizes.all():
        return float(np.mean(targets))
    weights = sizes ** (1 - sampling_power)
    return float(weights[0] / weights.sum())
