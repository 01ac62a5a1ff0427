"""What a training is made of."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import melanoma
from melanoma import files
from melanoma.data.packed import Part
from melanoma.training_sections import Augment, Hyperparameters, Model, Train


@dataclass(frozen=True)
class Arrays:
    """The images that are learnt from, and those by which epochs and trials are compared."""

    train: Part
    validation: Part


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network comes out, besides images, seed and number of epochs."""

    hyperparameters: Hyperparameters
    model: Model
    augment: Augment
    train: Train


def code_digest() -> str:
    """Hex digest of the code that decides how a training goes: another code, another problem."""
    package = Path(melanoma.__file__).parent
    sources = [*package.glob("training/*.py"), *package.glob("models/*.py"), package / "data/augment.py"]
    digests = "".join(files.sha256_of_file(source) for source in sorted(sources))
    return hashlib.sha256(digests.encode()).hexdigest()
