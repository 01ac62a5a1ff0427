"""One trial in the process of a worker: train, report each epoch, stop when pruned."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import keras
import numpy as np
import optuna

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
    arrays: Arrays, recipe: Recipe, report: Report, *, num_epochs: int, seed: int, objective: str
) -> Outcome:
    """Train once; divergence and lack of memory are a failed outcome, all else raises.

    Args:
        arrays: Training and validation images of both classes.
        recipe: Training recipe with the hyperparameters of the trial.
        report: Unused callback.
        num_epochs: Maximum number of epochs.
        seed: Seed, the same in all trials of a study, so that only hyperparameters differ.
        objective: Name of the score that trials are compared by.
    """
    started = perf_counter()
    try:
        trained = fit.train(arrays, recipe, num_epochs=num_epochs, seed=seed, callbacks=[report])
    except Exception as error:
        if not _is_of_the_trial(error):
            raise
        return Outcome("failed", error=_describe(error), facts=_facts(started))
    facts = _facts(started) | {"images_per_second": float(trained.history["images_per_second"].median())}
    history = trained.history.to_csv(index=False)
    if report.is_pruned:
        return Outcome("pruned", facts=facts, history=history)
    best = trained.best_epoch
    value = float(best[f"val_{objective}"])
    if not np.isfinite(value):
        return Outcome("failed", error=f"{objective} is undefined at the selected epoch.", facts=facts)
    facts |= {"best_epoch": int(best["epoch"])}
    return Outcome("complete", value, facts=facts, scores=trained.best_scores, history=history)


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
