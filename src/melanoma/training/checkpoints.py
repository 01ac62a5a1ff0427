"""The state of a training after each epoch, from which an interrupted training resumes without a trace.

One file, written atomically. It names the problem it belongs to - images, recipe, seed, number of epochs,
code and backend - and is never used for another problem.
"""

import hashlib
import json
import logging
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from melanoma import files
from melanoma.models.builders import weights_digest
from melanoma.training import compilation
from melanoma.training.recipe import NOT_THE_PROBLEM, Arrays, Recipe, code_digest

# These do not affect the network, or enter the digest separately.
VARIABLES = ("network", "optimizer", "average", "best")


@dataclass(frozen=True)
class State:
    """A training after some of its epochs.

    Attributes:
        problem: Digest of the problem, see `problem_digest`.
        history: One row per epoch.
        network: All variables that are trained: weights, running means, states of random generators.
        optimizer: All variables of the optimizer, including its count of steps.
        best: Weights of the best epoch; empty where the last one is kept.
        average: The average of the weights, see `averages.AveragedModel.state`; empty where none is taken.
    """

    problem: str
    history: pd.DataFrame
    network: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]
    average: list[np.ndarray] = field(default_factory=list)


def problem_digest(arrays: Arrays, recipe: Recipe, *, num_epochs: int, seed: int) -> str:
    """Hex digest of everything that determines the trained network."""
    with_classes = recipe.model.target == "diagnosis"
    problem = {
        "images": [part.digest(with_classes=with_classes) for part in arrays.parts().values()],
        "hyperparameters": recipe.hyperparameters.model_dump(),
        "model": recipe.model.model_dump(),
        "weights": weights_digest(recipe.hyperparameters),
        "augment": recipe.augment.model_dump(),
        "train": recipe.train.model_dump(exclude=NOT_THE_PROBLEM),
        "precision": compilation.precision_name(recipe),
        "num_epochs": num_epochs,
        "seed": seed,
        "code": code_digest(),
        "backend": [keras.backend.backend(), keras.__version__],
    }
    return hashlib.sha256(json.dumps(problem, sort_keys=True).encode()).hexdigest()


def save(state: State, path: Path) -> None:
    """Write `state` to `path`, in place of an earlier state."""
    arrays = {
        f"{kind}/{number}": array for kind in VARIABLES for number, array in enumerate(getattr(state, kind))
    }
    words = {"problem": state.problem, "history": state.history.to_dict("list")}
    with files.atomic_file(path) as unfinished, unfinished.open("wb") as stream:
        np.savez(stream, words=np.array(json.dumps(words)), **arrays)


def load(path: Path, problem: str) -> State | None:
    """The state that `save` wrote; None where there is no file.

    A file of another problem, or one that cannot be read, is renamed, with a warning.
    """
    if not path.exists():
        return None
    try:
        state = _read(path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        _set_aside(path, f"cannot be read ({error})")
        return None
    if state.problem != problem:
        _set_aside(path, "was made with other images, parameters or code")
        return None
    return state


def _read(path: Path) -> State:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        words = json.loads(str(stored["words"]))
        variables = {
            kind: [
                stored[f"{kind}/{number}"]
                for number in range(sum(name.startswith(f"{kind}/") for name in stored.files))
            ]
            for kind in VARIABLES
        }
    return State(words["problem"], pd.DataFrame(words["history"]), **variables)


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_name(f"{path.name}.aside")
    path.replace(aside)
    logging.getLogger(__name__).warning(
        "The checkpoint %s %s. Training starts from the beginning; the old checkpoint is kept as %s.",
        path,
        why,
        aside.name,
    )


def values(variables: list[keras.Variable]) -> list[np.ndarray]:
    """Copies of variables in main memory."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: list[keras.Variable], arrays: list[np.ndarray]) -> None:
    """Give variables their values back."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
