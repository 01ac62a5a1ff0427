"""Inputs of the training of one network: images and recipe."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import melanoma
from melanoma import fingerprint
from melanoma.config import Params
from melanoma.config.training import Augment, Hyperparameters, Model, Train
from melanoma.data.packed import Part
from melanoma.errors import TrainingError

# Settings of `params.yaml: train` that are not part of the identity of a training (`checkpoints`).
NOT_THE_PROBLEM = {
    "seed",
    "num_seeds",
    "num_networks",
    "ensemble",
    "num_epochs",
    "num_loader_threads",
    "checkpoints",
}


@dataclass(frozen=True)
class Arrays:
    """Training images, and the held-out images on which epochs and trials are compared.

    The hold-out is a part of the training groups; in the study it is the validation split, as in the paper.
    It is None where the network learns from all training groups and keeps its last epoch.
    """

    train: Part
    holdout: Part | None

    def parts(self) -> dict[str, Part]:
        """The parts that there are, by what they are used for: `training` and `holdout`."""
        parts = {"training": self.train}
        return parts if self.holdout is None else parts | {"holdout": self.holdout}


def require_both_classes(arrays: Arrays) -> None:
    """Raise a `TrainingError` unless each part has positive and negative images."""
    names = {"training": "The training part", "holdout": "The hold-out"}
    for what, part in arrays.parts().items():
        if len(np.unique(part.targets)) < 2:
            raise TrainingError(
                f"{names[what]} has {len(part)} images of at most one class; training and the objective "
                "need both classes. Check data/splits and add images."
            )


def require_holdout(arrays: Arrays, hyperparameters: Hyperparameters) -> None:
    """Raise a `TrainingError` where an epoch is to be chosen and no images are held out for it."""
    if arrays.holdout is None and hyperparameters.keep_epoch == "best":
        raise TrainingError(
            "keep_epoch: best chooses an epoch on held-out images, but there is no hold-out. Hold a fold "
            "out, or set keep_epoch: last."
        )


def require_diagnoses(arrays: Arrays) -> None:
    """Raise a `TrainingError` unless the training images have positive and negative classes."""
    train = arrays.train
    if train.classes is None or any(part.classes is None for part in arrays.parts().values()):
        raise TrainingError(
            "model.target is diagnosis, but an earlier version packed the images without diagnoses. Run "
            "`dvc repro --force pack`."
        )
    found = sorted(set(train.classes.tolist()))
    if not 0 < len(set(found) & set(train.positive_classes)) < len(found):
        raise TrainingError(
            "model.target is diagnosis, but the training images only have the classes "
            f"{[train.class_names[at] for at in found]}; expected a positive and a negative one. Check "
            "`diagnosis` of the records and target.positive, or set model.target: positive."
        )


@dataclass(frozen=True)
class Recipe:
    """Settings that determine the trained network, besides images, seed and number of epochs.

    Built once from `params.yaml` and passed on as one object. `seed`, `num_epochs`, `num_seeds` and
    `checkpoints` of `train` are not read from here: seed, number of epochs and checkpoint are arguments of
    `fit.train`, because trials and the study have their own.
    """

    hyperparameters: Hyperparameters
    model: Model
    augment: Augment
    train: Train

    @classmethod
    def of(cls, hyperparameters: Hyperparameters, params: Params) -> "Recipe":
        """The recipe of a network with these hyperparameters; all else is as in `params`."""
        amounts = getattr(params.augment, hyperparameters.augmentation)
        return cls(hyperparameters, params.model, amounts, params.train)

    def num_outputs(self, part: Part) -> int:
        """Number of outputs of the network: one, or one for each class of the part's cohort."""
        return len(part.class_names) if self.model.target == "diagnosis" else 1

    def num_epochs(self, default: int) -> int:
        """Maximum number of epochs: that of the hyperparameters, by default that of the stage."""
        return self.hyperparameters.num_epochs or default


@cache
def code_digest() -> str:
    """Hex digest of the code that determines a trained network; part of the identity of a problem."""
    package = Path(melanoma.__file__).parent
    drawing = [package / "data/augment.py", package / "data/sampling.py"]
    sources = [*package.glob("training/*.py"), *package.glob("models/*.py"), *drawing]
    digests = "".join(fingerprint.syntax_digest(source) for source in sorted(sources))
    return hashlib.sha256(digests.encode()).hexdigest()
