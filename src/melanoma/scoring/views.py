"""Test-time augmentation: views of an image in other orientations, and the mean of their logits.

A lesion has no top and no left side, so every orientation is an equally good image of it. The mean over views
averages out what a network makes of the orientation (Matsunaga et al., arXiv:1703.03108; Perez et al.,
arXiv:1809.01442). Needs numpy only: this module travels with the served model.
"""

import numpy as np

from melanoma.scoring.operating_point import SMALLEST, logit

NUM_VIEWS = (1, 4, 8)  # the image; its rotations by quarter turns; the same of its mirror image too


def views(images: np.ndarray, num_views: int) -> np.ndarray:
    """The first `num_views` orientations: the image, quarter turns, then the same of its mirror image.

    Args:
        images: Shape `(n, size, size, channels)`, any dtype.
        num_views: One of `NUM_VIEWS`.

    Returns:
        Shape `(n, num_views, size, size, channels)`.

    Raises:
        ValueError: There is no such number of views.
    """
    require_number(num_views)
    sides = (images, images[:, :, ::-1])
    turned = [np.rot90(side, quarter, axes=(1, 2)) for side in sides for quarter in range(4)]
    return np.stack(turned[:num_views], axis=1)


def require_number(num_views: int) -> None:
    """Raise a `ValueError` unless there is such a number of views."""
    if num_views not in NUM_VIEWS:
        raise ValueError(f"num_views must be one of {NUM_VIEWS}, got {num_views!r}")


def mean_score(scores: np.ndarray) -> np.ndarray:
    """Sigmoid of the mean logit over views, `(n,)`, of scores in 0..1, `(n, num_views)`; one stays as it is.

    The order of the views changes no bit of the result.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    return np.asarray(1 / (1 + np.exp(-_mean_over_views(logit(scores)))))


def mean_classes(softmax: np.ndarray) -> np.ndarray:
    """Softmax of the mean logits over views, `(n, num_classes)`, of `(n, num_views, num_classes)`.

    Logits are known from a softmax up to a constant per view, which changes no softmax of their mean.
    """
    if softmax.shape[1] == 1:
        return softmax[:, 0]
    weights = np.exp(_mean_over_views(np.log(np.maximum(softmax, SMALLEST))))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _mean_over_views(logits: np.ndarray) -> np.ndarray:
    """Mean over axis 1, of sorted values in one memory layout, because sums round by their order."""
    return np.asarray(np.sort(np.ascontiguousarray(logits), axis=1).mean(1))
