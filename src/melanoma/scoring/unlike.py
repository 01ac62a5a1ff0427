"""Whether an image resembles the training images; a person must review one that does not.

The distance of an image is that of Mahalanobis to the training images, in the pooled features of the network,
scaled to unit length. The covariance is shrunken. It is stored as its largest principal axes; in all other
directions the features are taken to vary equally, as in probabilistic principal components. So no feature of
a single training image is stored. Source: Lee et al., A simple unified framework for detecting
out-of-distribution samples and adversarial attacks, NeurIPS 2018; here without classes.

This module travels with the served model. `evaluation.unlike` fits what it reads.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from melanoma.errors import TrackingError
from melanoma.scoring.operating_point import REFER
from melanoma.scoring.quality import Bounds

UNLIKE = "unlike the training images"
DISTANCE = "distance"  # among the facts of an image
ARRAYS = ("mean", "axes", "variances")


@dataclass(frozen=True)
class Judgement:
    """What was found of an image.

    Attributes:
        reason: Why it is referred, in words; None for an image that resembles the training images.
        facts: Its image facts and its `DISTANCE` from the training images, by name.
    """

    reason: str | None
    facts: dict[str, float]


@dataclass(frozen=True)
class Unlike:
    """The training images as a network sees them, and the limits beyond which an image is referred.

    Attributes:
        mean: Mean of the training images' unit features, shape `(num_features,)`, float32.
        axes: Their principal axes, shape `(num_features, num_axes)`, float32.
        variances: Variance along each axis, shape `(num_axes,)`, float32.
        other_variance: Variance in each other direction; inf if there is none.
        max_distance: Images beyond it are unlike the training images.
        bounds: Bounds of the image facts.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    other_variance: float
    max_distance: float
    bounds: Bounds

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Distance of each image from the training images.

        Args:
            features: Pooled features, shape `(n, num_features)`; a vector of zeros stays as it is.

        Returns:
            Shape `(n,)`; nan where features are not finite.
        """
        given = features.astype(np.float32)
        length = np.linalg.norm(given, axis=1, keepdims=True)
        centred = given / np.where(length > 0, length, 1) - self.mean
        along = centred @ self.axes
        rest = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
        squares = (along**2 / self.variances).sum(1) + rest / self.other_variance
        return np.sqrt(squares.astype(np.float64))

    def reasons(self, images: np.ndarray, features: np.ndarray) -> list[str | None]:
        """Why each image is referred, in words; None for an image that resembles the training images.

        Args:
            images: Shape `(n, size, size, 3)`, uint8, RGB, as the network sees them.
            features: Their pooled features, shape `(n, num_features)`.
        """
        return [found.reason for found in self.judge(images, features)]

    def judge(self, images: np.ndarray, features: np.ndarray) -> list["Judgement"]:
        """The facts of each image with the reason why it is referred; see `reasons`."""
        found = []
        for image, distance in zip(images, self.distance(features), strict=True):
            facts = self.bounds.facts(image)
            reason = self.bounds.reason_of(facts) or self._reason(distance)
            found.append(Judgement(reason, facts | {DISTANCE: float(distance)}))
        return found

    def _reason(self, distance: float) -> str | None:
        if distance <= self.max_distance:
            return None
        return f"{UNLIKE} (distance {distance:.3g}, expected at most {self.max_distance:.3g})"

    def save(self, path: Path) -> None:
        """Write an `.npz` file; `load` reads it."""
        settings = {
            "other_variance": self.other_variance,
            "max_distance": self.max_distance,
            "bounds": self.bounds.to_dict(),
        }
        arrays = {name: getattr(self, name).astype(np.float32) for name in ARRAYS}
        np.savez(path, settings=np.array(json.dumps(settings)), **arrays)

    @classmethod
    def load(cls, path: Path) -> "Unlike":
        """Read the result of `save`.

        Raises:
            TrackingError: The file is missing or is not the result of `save`.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in ARRAYS}
                settings = json.loads(str(content["settings"]))
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise TrackingError(
                f"{path} cannot be read as the features of training images: {error}. Run `dvc repro`."
            ) from error
        return cls(**arrays, **(settings | {"bounds": Bounds.from_dict(settings["bounds"])}))


def refer(decisions: np.ndarray, reasons: Iterable[str | None]) -> np.ndarray:
    """The decisions, with `refer` for each image that has a reason."""
    return np.where([reason is not None for reason in reasons], REFER, decisions)
