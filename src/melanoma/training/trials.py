"""One trial in the process of a worker: train, report each epoch, stop when pruned."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import keras
import numpy as np
import optuna
import pandas as pd

from melanoma.errors import DivergenceError
from melanoma.training import backend, fit
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training.search import Outcome

OUT_OF_MEMORY = (
    "RESOURCE_EXHAUSTED",
    "ResourceExhausted",
    "OutOfMemory",
    "out of memory",
    "ALLOC_FAILED",  # of cuDNN and cuBLAS
    "failed to allocate",
)

LogEpoch = Callable[[int, Mapping[str, float]], object]


class Report(keras.callbacks.Callback):
    """Reports each epoch to study and MLflow run; stops a trial that is pruned."""

    def __init__(self, trial: optuna.Trial, objective: str, log_epoch: LogEpoch, *, can_prune: bool) -> None:
        """Epochs are counted from 1. A training that is over anyway is not pruned."""
        super().__init__()
        self._trial, self._objective, self._log_epoch = trial, objective, log_epoch
        self._can_prune = can_prune
        self.is_pruned = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Report the epoch, then ask the pruner."""
        scores = logs or {}
        self._log_epoch(epoch + 1, scores)
        self._trial.report(scores[f"val_{self._objective}"], epoch + 1)
        is_over = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if self._can_prune and not is_over and self._trial.should_prune():
            self.is_pruned = True
            self.model.stop_training = True


def run_trial(
    folds: Sequence[Arrays], recipe: Recipe, report: Report, *, num_epochs: int, seed: int, objective: str
) -> Outcome:
    """Train once for each fold; divergence and lack of memory are a failed outcome, all else raises.

    The value and the scores of the trial are means over the folds. Only the first fold reports its epochs, so
    that the pruner compares like with like; a trial that it stops trains no further fold.

    Args:
        folds: Training and held-out images of both classes, another hold-out in each.
        recipe: Training recipe with the hyperparameters of the trial.
        report: Unused callback.
        num_epochs: Maximum number of epochs.
        seed: Seed, the same in all trials of a study, so that only hyperparameters differ.
        objective: Name of the score that trials are compared by.
    """
    started = perf_counter()
    try:
        trained = _train(folds, recipe, report, num_epochs=num_epochs, seed=seed)
    except Exception as error:
        if not _is_of_the_trial(error):
            raise
        return Outcome("failed", error=_describe(error), facts=_facts(started))
    first = trained[0].history
    facts = _facts(started) | {"images_per_second": float(first["images_per_second"].median())}
    history = first.to_csv(index=False)
    if report.is_pruned:
        return Outcome("pruned", facts=facts, history=history)
    means = pd.DataFrame([fold.scores for fold in trained]).mean(skipna=False)
    scores = {str(name): float(mean) for name, mean in means.items()}
    value = scores[f"val_{objective}"]
    if not np.isfinite(value):
        return Outcome("failed", error=f"{objective} is undefined at the selected epoch.", facts=facts)
    facts |= {"best_epoch": round(float(np.mean([fold.best_epoch for fold in trained])))}
    return Outcome("complete", value, facts=facts, scores=scores, history=history)


class _Fold(NamedTuple):
    """What is kept of a network of a trial; the network itself would fill the memory."""

    history: pd.DataFrame
    best_epoch: int
    scores: dict[str, float]


def _train(
    folds: Sequence[Arrays], recipe: Recipe, report: Report, *, num_epochs: int, seed: int
) -> list[_Fold]:
    kept: list[_Fold] = []
    for arrays in folds:
        callbacks = [] if kept else [report]
        trained = fit.train(arrays, recipe, num_epochs=num_epochs, seed=seed, callbacks=callbacks)
        kept.append(_Fold(trained.history, int(trained.best_epoch["epoch"]), trained.best_scores))
        if report.is_pruned:
            break
    return kept


def _is_of_the_trial(error: Exception) -> bool:
    """Whether hyperparameters are the cause: divergence or lack of memory."""
    return isinstance(error, DivergenceError | MemoryError) or any(
        sign in f"{type(error).__name__}: {error}" for sign in OUT_OF_MEMORY
    )


def _describe(error: Exception) -> str:
    """Message of an error; only the first line where it is an error of a library."""
    if isinstance(error, DivergenceError):
        return str(error)
    lines = str(error).splitlines() or [""]
    return f"Out of memory ({type(error).__name__}: {lines[0]}). Use smaller batches or fewer filters."


def _facts(started: float) -> dict[str, Any]:
    return {
        "duration_seconds": round(perf_counter() - started, 3),
        **backend.describe(),
        **backend.peak_memory_mib(),
    }
