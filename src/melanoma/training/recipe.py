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
from melanoma.schema import CLASSES, MELANOMA

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
    """

    train: Part
    holdout: Part


def require_both_classes(arrays: Arrays) -> None:
    """Raise a `TrainingError` unless each part has benign and malignant images."""
    for what, part in (("The training part", arrays.train), ("The hold-out", arrays.holdout)):
        if len(np.unique(part.targets)) < 2:
            raise TrainingError(
                f"{what} has {len(part)} images of at most one class; training and the objective "
                "need both classes. Check data/splits and add images."
            )


def require_diagnoses(arrays: Arrays) -> None:
    """Raise a `TrainingError` unless classes are known and include melanoma and another class."""
    classes = arrays.train.classes
    if classes is None or arrays.holdout.classes is None:
        raise TrainingError(
            "model.target is diagnosis, but an earlier version packed the images without diagnoses. Run "
            "`dvc repro --force pack`."
        )
    found = [CLASSES[position] for position in sorted(set(classes.tolist()))]
    if MELANOMA not in found or len(found) < 2:
        raise TrainingError(
            f"model.target is diagnosis, but the training images only have {found}; expected {MELANOMA} and "
            "at least one other class. Check `diagnosis` of the records, or set model.target: malignant."
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


@cache
def code_digest() -> str:
    """Hex digest of the code that determines a trained network; part of the identity of a problem."""
    package = Path(melanoma.__file__).parent
    sources = [*package.glob("training/*.py"), *package.glob("models/*.py"), package / "data/augment.py"]
    digests = "".join(fingerprint.syntax_digest(source) for source in sorted(sources))
    return hashlib.sha256(digests.encode()).hexdigest()
