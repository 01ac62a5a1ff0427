"""What the gates of promotion judge: the models that are compared, and the outcome of a gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from melanoma.data.crops import NONE
from melanoma.evaluation.bootstrap import Draws
from melanoma.evaluation.calibration_measures import FitError
from melanoma.evaluation.metrics import NUM_BINS
from melanoma.scoring.operating_point import OperatingPoint

MAY_BE_SILENT = ("lesion_size",)  # references that have no answer for images without a mask


@dataclass(frozen=True)
class Served:
    """A model as it is served.

    Attributes:
        probability: Calibrated probabilities, shape `(num_images,)`.
        point: Operating point with which the model is served; its threshold gives the decisions.
        fitted: Error of its calibration, see `calibration_measures.measure`; None if it is not known.
        crossed: Threshold of each image, shape `(num_images,)`, where the operating point was cross-fitted on
            these images; None if it was chosen on others.
    """

    probability: np.ndarray
    point: OperatingPoint
    fitted: FitError | None = None
    crossed: np.ndarray | None = None

    @property
    def threshold(self) -> float | np.ndarray:
        """Threshold at which decisions are judged."""
        return self.point.threshold if self.crossed is None else self.crossed

    @property
    def threshold_in_words(self) -> str:
        """For a sentence, after "at"."""
        if self.crossed is None:
            return f"the threshold {self.point.threshold:.3f} with which the model is served"
        return f"cross-fitted thresholds (served: {self.point.threshold:.3f})"


@dataclass(frozen=True)
class ShadowRows:
    """Images of use that champion and challenger answered, each image once.

    Attributes:
        champion: Calibrated probabilities, shape `(num_images,)`.
        challenger: Those of the challenger, shape `(num_images,)`.
        differs: Whether the decisions differ, shape `(num_images,)`.
        group_ids: Shape `(num_images,)`.
        target: 1, 0, or nan without a label that counts; shape `(num_images,)`.
        how_to_get_more: What to do where these are too few, as a clause.
        problems: What was left out, a line for each reason.
    """

    champion: np.ndarray
    challenger: np.ndarray
    differs: np.ndarray
    group_ids: np.ndarray
    target: np.ndarray
    how_to_get_more: str
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Contest:
    """Models on the same images, outside the training groups of all of them.

    Attributes:
        target: Shape `(num_images,)`, 0 or 1.
        group_ids: Shape `(num_images,)`.
        challenger: The model to judge.
        champion: The version that holds the alias; None if none does.
        anchor: The version that no challenger may be worse than, see `registry.anchors`; None if the champion
            is the anchor or there is none.
        references: Probabilities by name of `schema.REFERENCE_NAMES`, each of shape `(num_images,)`; nan
            where a reference of `MAY_BE_SILENT` has no answer.
        draws: Draws of the bootstrap intervals.
        attempt: Place among the models judged on these images, from 1; see `comparisons.level_of`.
        slices: Slices of the challenger from `slices.measure`.
        num_bins: Number of bins of the expected calibration error.
        crop: Kind of crop of the challenger's images: `none`, `mask` or `unet`.
        images: What the images are, for sentences.
        shadow: Images of use that champion and challenger answered; None if there is no champion, or if
            `promote.min_shadow_rows` is off.
    """

    target: np.ndarray
    group_ids: np.ndarray
    challenger: Served
    champion: Served | None
    references: Mapping[str, np.ndarray]
    draws: Draws
    anchor: Served | None = None
    attempt: int = 1
    slices: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    num_bins: int = NUM_BINS
    crop: str = NONE
    images: str = "test images"
    shadow: ShadowRows | None = None

    @property
    def rivals(self) -> dict[str, Served]:
        """The versions with which the challenger is compared, by their role."""
        given = {"champion": self.champion, "anchor": self.anchor}
        return {role: rival for role, rival in given.items() if rival is not None}

    @property
    def num_malignant_groups(self) -> int:
        """Number of groups with a positive image."""
        return len(set(self.group_ids[self.target == 1]))

    @property
    def is_defined(self) -> bool:
        """Whether every probability is finite that must be."""
        scored = [model.probability for model in (self.challenger, *self.rivals.values())]
        scored += [found for name, found in self.references.items() if name not in MAY_BE_SILENT]
        return all(bool(np.isfinite(probability).all()) for probability in scored)


@dataclass(frozen=True)
class Gate:
    """Outcome of one gate.

    Attributes:
        name: Name in params.yaml, with the compared model if there are several.
        is_passed: Whether the challenger passed.
        bound: Bound in params.yaml.
        measured: Measured value: a number, or `value`, `low`, `high`.
        words: The outcome in a sentence.
        is_judged: False if there was nothing to judge; the gate is then no reason to refuse.
        is_acceptable: Whether a person may accept a refusal by this gate: a comparison with another model
            that could not be shown. What was found about the challenger itself cannot be accepted.
    """

    name: str
    is_passed: bool
    bound: Any
    measured: Any
    words: str
    is_judged: bool = True
    is_acceptable: bool = False

    @property
    def refuses(self) -> bool:
        """Whether this gate is a reason to refuse the challenger."""
        return self.is_judged and not self.is_passed

    def to_dict(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return dict(vars(self))
