"""Fit the referral of images that do not resemble the training images, and measure what it does.

The decision is `refer` for images that training would have refused, and for images that lie farther from the
training images than nearly all validation images do; `scoring.unlike` decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.covariance import LedoitWolf
from threadpoolctl import threadpool_limits

from melanoma.config.data import Inspect, Validate
from melanoma.errors import DataError
from melanoma.evaluation import intervals, thresholds
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.scoring.quality import WORDS, Bounds, Picture, sharpness
from melanoma.scoring.unlike import UNLIKE, Unlike

NUM_AXES = 64  # with 1,280 features they answer about as all axes do
MIN_TRAINING = 2
ROUNDING = 1e-4  # relative room above the limit: in batches of another size features are rounded otherwise
NO_BOUNDS = Bounds({}, clipping_level=1.0, dark_level=0.0, hair_width=1)
ACCEPTED = "warn"  # severity of a check whose images training keeps


def image_bounds(limits: Validate, measures: Inspect, *, size: int, sharpness_ratio: float) -> Bounds:
    """Bounds of the image facts by which `validate` refuses images, at a network's image size.

    Args:
        limits: Section `validate` of params.yaml. A check that only warns gives no bound.
        measures: Section `inspect` of params.yaml.
        size: Side of the network's images in pixels.
        sharpness_ratio: See `sharpness_ratio`.
    """
    severities = limits.image_checks
    found: dict[str, tuple[str, float | None, float | None]] = {
        "sharpness": (severities.blurred, limits.min_sharpness * sharpness_ratio, None),
        "brightness": (severities.bad_exposure, limits.min_brightness, limits.max_brightness),
        "contrast": (severities.no_contrast, limits.min_contrast, None),
        "saturation": (severities.no_colour, limits.min_saturation, None),
        "clipped_fraction": (severities.clipped, None, limits.max_clipped_fraction),
        "dark_border_fraction": (severities.dark_border, None, limits.max_dark_border_fraction),
    }
    return Bounds(
        ranges={name: (low, high) for name, (severity, low, high) in found.items() if severity != ACCEPTED},
        clipping_level=measures.clipping_level,
        dark_level=measures.dark_border_max_brightness,
        hair_width=max(1, round(measures.hair_max_width * size / measures.working_size)),
    )


def sharpness_ratio(images: Iterable[np.ndarray], at_working_size: np.ndarray) -> float:
    """Median ratio of the sharpness at the network's image size to that at `inspect.working_size`.

    The smaller a picture is drawn, the more two neighbouring pixels differ. The ratio moves the limit of
    `validate` to the network's size.

    Args:
        images: Training images, each `(size, size, 3)`, uint8, RGB.
        at_working_size: Sharpness of the same images as `inspect` measured it; nan where it did not.

    Returns:
        1 if no image has both.
    """
    found = np.array([sharpness(Picture(image, NO_BOUNDS)) for image in images])
    is_known = at_working_size > 0
    return float(np.median(found[is_known] / at_working_size[is_known])) if is_known.any() else 1.0


def fit(training: np.ndarray, validation: np.ndarray, *, referred_fraction: float, bounds: Bounds) -> Unlike:
    """Fit the distance on training images and its limit on validation images.

    The limit is the lowest distance beyond which at most `referred_fraction` of the validation images lie, so
    that of n validation images a new one like them lies beyond it in at most
    (n `referred_fraction` + 1) / (n + 1) of all cases.

    Args:
        training: Pooled features of the training images, shape `(num_training, num_features)`.
        validation: Those of the validation images, shape `(num_validation, num_features)`.
        referred_fraction: Maximum fraction of validation images beyond the limit, in 0..1.
        bounds: Bounds of the image facts.

    Raises:
        DataError: Fewer than two training images, no validation images, or features that are not finite.
    """
    if len(training) < MIN_TRAINING or not len(validation):
        raise DataError(
            f"Recognising unlike images needs {MIN_TRAINING} training images and a validation image; got "
            f"{len(training)} and {len(validation)}. Add images, or set serve.unlike_fraction: null."
        )
    for features, split in ((training, "training"), (validation, "validation")):
        num_bad = int((~np.isfinite(features).all(1)).sum())
        if num_bad:
            raise DataError(
                f"The network's features of {num_bad} {split} images are not finite, so unlike images cannot "
                "be recognised. Train the network again, or set serve.unlike_fraction: null."
            )
    found = replace(_describe(training), bounds=bounds)
    distances = np.sort(found.distance(validation))
    limit = distances[len(distances) - 1 - int(referred_fraction * len(distances))]
    return replace(found, max_distance=float(limit * (1 + ROUNDING)))


def _describe(features: np.ndarray) -> Unlike:
    """Mean and shrunken covariance of the features, scaled to unit length; without limits.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal
    of Multivariate Analysis 88, 2004.
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = (features / np.where(length > 0, length, 1)).astype(np.float64)
    num_features = unit.shape[1]
    num_axes = min(NUM_AXES, num_features)
    last = [num_features - num_axes, num_features - 1]
    with threadpool_limits(1):  # small matrices: threads would wait more than work
        fitted = LedoitWolf(store_precision=False).fit(unit)
        variances, axes = linalg.eigh(fitted.covariance_, subset_by_index=last)
    others = num_features - num_axes
    left = (np.trace(fitted.covariance_) - variances.sum()) / others if others else np.inf
    least = np.finfo(np.float32).tiny  # of features that do not vary at all
    mean, axes, variances = (
        part.astype(np.float32) for part in (fitted.location_, axes, np.maximum(variances, least))
    )
    return Unlike(mean, axes, variances, float(max(left, least)), np.inf, NO_BOUNDS)


def measure(
    target: np.ndarray,
    probability: np.ndarray,
    group_ids: np.ndarray,
    *,
    reasons: Sequence[str | None],
    point: OperatingPoint,
) -> dict[str, Any]:
    """What the referral of unlike images does on one split.

    Args:
        target: Shape `(num_images,)`, 0 or 1.
        probability: Calibrated probabilities, same shape.
        group_ids: Same shape.
        reasons: Why each image is referred, or None.
        point: Operating point of the network.

    Returns:
        `referred_fraction` with its interval, `reasons` (number of images by first word of the reason),
        `all` and `left` (images that are not referred as unlike): each `num_images`, `num_malignant`, and
        with intervals `auc_roc`, and at the threshold `sensitivity` and `specificity`; `three_way` of all
        images, decided by probability alone.
    """
    is_unlike = np.array([reason is not None for reason in reasons], dtype=bool)
    groups = {"all": np.ones(len(target), dtype=bool), "left": ~is_unlike}
    return {
        "num_referred": int(is_unlike.sum()),
        "referred_fraction": intervals.rate(is_unlike, group_ids),
        "reasons": count_reasons(reasons),
        **{
            name: _ranked(target[is_in], probability[is_in], group_ids[is_in], point)
            for name, is_in in groups.items()
        },
        "three_way": thresholds.three_way(target, point.decide(probability), group_ids),
    }


def _ranked(
    target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, point: OperatingPoint
) -> dict[str, Any]:
    rates = intervals.rates(target, probability >= point.threshold, group_ids)
    return {
        "num_images": len(target),
        "num_malignant": int(target.sum()),
        "auc_roc": intervals.auc(target, probability, group_ids),
        "sensitivity": rates["sensitivity"],
        "specificity": rates["specificity"],
    }


def count_reasons(reasons: Sequence[str | None]) -> dict[str, int]:
    """Number of images by reason, without its figures; reasons without images are left out."""
    said = [reason.partition(" (")[0] for reason in reasons if reason is not None]
    return {words: said.count(words) for words in (*WORDS.values(), UNLIKE) if words in said}
