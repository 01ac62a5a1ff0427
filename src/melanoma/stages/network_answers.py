"""What the networks say about a cohort's images; every image is scored once per network.

Only validation and test images are scored. Training images are seen by the first network alone, whose
features describe them: the mean score of several networks says nothing about images that one of them learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.config import Params
from melanoma.data.packed import Packed, Part
from melanoma.evaluation import slices, unlike
from melanoma.monitoring import reference
from melanoma.schema import TEST, TRAIN, VALIDATION
from melanoma.scoring.unlike import Unlike
from melanoma.serving.network import Network

MAX_TRAINING = 1500  # training images that describe all; more cost time and change little
IMAGES_AT_ONCE = 256  # in memory while they are scored


@dataclass(frozen=True)
class Answers:
    """What one network says about a cohort.

    Attributes:
        score: Scores of validation and test images, nan for training images, by image_id.
        classes: Class probabilities of test images, in the order of the test split, shape
            `(num_test, num_classes)`; None if the network has no classes.
        unlike: The training images as the network sees them; None if unlike images are not referred.
        reasons: Why each validation or test image is referred as unlike, or None, by image_id; None if unlike
            images are not referred.
        validation: What the network says of the validation images, one row each: `group_id`, `score`, and
            those of `monitoring.reference.seen`.
    """

    score: pd.Series
    classes: np.ndarray | None
    unlike: Unlike | None
    reasons: pd.Series | None
    validation: pd.DataFrame


def ask(data: Packed, network: Network, described: pd.DataFrame, params: Params) -> Answers:
    """Score the validation and test images, and find those that are unlike the training images.

    Args:
        data: Packed cohort.
        network: The network.
        described: `image_id` and `slices.QUALITY` of all images.
        params: Content of params.yaml.

    Raises:
        DataError: The cohort is not packed at the network's size, or has too few images for the referral of
            unlike ones.
    """
    own = data.of_size(network.image_size)
    is_measured = (own.index["split"] != TRAIN).to_numpy()
    part, fraction = own.at(np.flatnonzero(is_measured)), params.serve.unlike_fraction
    with_features = fraction is not None or network.has_features
    found = [network.answer(images, with_features=with_features) for images in blocks(part)]
    score = np.full(len(is_measured), np.nan)
    score[is_measured] = np.concatenate([answer.score for answer in found])
    classes = None
    if network.tells_classes:
        softmax = np.concatenate([answer.classes for answer in found if answer.classes is not None])
        classes = softmax[(own.index["split"] == TEST).to_numpy()[is_measured]]
    features = np.concatenate([answer.features for answer in found]) if with_features else None
    is_validation = (own.index["split"] == VALIDATION).to_numpy()[is_measured]
    rows = own.index.iloc[part.rows][["group_id"]].assign(score=score[is_measured])[is_validation]
    embeddings = None if features is None else features[is_validation]
    if fraction is None or features is None:
        return Answers(own.by_image(score), classes, None, None, reference.seen(rows, embeddings))
    fitted = _fit(own, network, described, params, validation=features[is_validation], fraction=fraction)
    judged = [
        one
        for images, block in zip(blocks(part), _in_blocks(features), strict=True)
        for one in fitted.judge(images, block)
    ]
    reasons = np.full(len(is_measured), None, dtype=object)
    reasons[is_measured] = [one.reason for one in judged]
    validation = reference.seen(rows, embeddings, np.array(judged, dtype=object)[is_validation])
    return Answers(own.by_image(score), classes, fitted, own.by_image(reasons), validation)


def _fit(
    own: Packed,
    network: Network,
    described: pd.DataFrame,
    params: Params,
    *,
    validation: np.ndarray,
    fraction: float,
) -> Unlike:
    rows = np.flatnonzero(own.index["split"] == TRAIN)
    step = max(1, -(-len(rows) // MAX_TRAINING))  # evenly: an index may be sorted by dataset
    part = own.at(rows[::step])
    quality = described.set_index("image_id")[slices.QUALITY].astype("Float64").astype(float)
    ratio = unlike.sharpness_ratio(
        (image for images in blocks(part) for image in images), quality.loc[part.image_ids].to_numpy()
    )
    bounds = unlike.image_bounds(
        params.checks, params.inspect, size=network.image_size, sharpness_ratio=ratio
    )
    training = np.concatenate([network.features(images) for images in blocks(part)])
    return unlike.fit(training, validation, referred_fraction=fraction, bounds=bounds)


def blocks(part: Part) -> Iterator[np.ndarray]:
    """The images of a part, a few at a time."""
    for start in range(0, len(part), IMAGES_AT_ONCE):
        yield part.take(slice(start, start + IMAGES_AT_ONCE))


def _in_blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), IMAGES_AT_ONCE):
        yield rows[start : start + IMAGES_AT_ONCE]
