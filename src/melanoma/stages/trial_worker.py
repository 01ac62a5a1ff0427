"""One trial of the hyperparameter search in the process of a worker, and how such workers are opened."""

import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from functools import lru_cache, partial
from pathlib import Path

import optuna

from melanoma import metric_names, tracking
from melanoma.config import Params
from melanoma.data import packed
from melanoma.execution.workers import Workers, open_workers
from melanoma.stages import experiments
from melanoma.training import studies
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training.search import Asked, Outcome
from melanoma.training.storages import open_storage, storage_errors


def open_trial_workers(
    params: Params, folder: Path, digest: str
) -> AbstractContextManager[Workers[Asked, Outcome]]:
    """Workers for the trials of a search on the packed cohort in `folder` with this digest."""
    tune = params.settings_of_search
    return open_workers(
        partial(
            train_trial,
            params=params,
            folder=folder,
            digest=digest,
            tracking_uri=tracking.client().tracking_uri,
        ),
        execution=params.execution,
        num_workers=tune.num_workers,
        workers_per_device=tune.workers_per_device,
        tasks_per_process=tune.trials_per_process,
        cpus_per_task=tune.cpus_per_trial,
    )


def train_trial(asked: Asked, *, params: Params, folder: Path, digest: str, tracking_uri: str) -> Outcome:
    """Train a trial and report its epochs to the study and to the trial's run.

    Args:
        asked: The trial.
        params: All parameters.
        folder: Packed cohort.
        digest: Digest of the packed cohort; a cohort that was packed again meanwhile is refused.
        tracking_uri: MLflow store of the trials' runs; a worker on another machine has no such setting.
    """
    # Imported here because the process that opens the workers needs no Keras.
    from melanoma.training import backend, compilation, trials

    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    tune, recipe = params.settings_of_search, Recipe.of(asked.hyperparameters, params)
    folds = _folds(folder, digest, params.train.num_folds, asked.hyperparameters.image_size)
    trial_run = tracking.resume_run(asked.run_id)
    # Before training: a worker that dies logs nothing afterwards.
    trial_run.set_tags(backend.describe() | {"precision": compilation.precision_name(recipe)})
    with storage_errors(tune.storage), _no_bar():
        study = _load(tune.storage, asked.study)
        study.pruner = studies.make_pruner(tune)
        report = trials.Report(
            optuna.Trial(study, asked.trial_id),
            tune.objective,
            trial_run.log_epoch,
            can_prune=asked.can_prune,
        )
        outcome = trials.run_trial(
            folds,
            recipe,
            report,
            num_epochs=min(recipe.num_epochs(tune.num_epochs), tune.num_epochs),
            seed=studies.trial_seed(tune),
            objective=tune.objective,
        )
    # Named as for the networks of `train`, so that MLflow compares both.
    if outcome.scores:  # only a trial that was completed has kept an epoch
        kept = {"epoch": outcome.facts["best_epoch"], **outcome.scores}
        trial_run.log_metrics(metric_names.of_selection(kept))
    trial_run.log_text(outcome.history or experiments.NO_EPOCH, experiments.HISTORY)
    return outcome


def _no_bar() -> AbstractContextManager[object]:
    """In a terminal, the bar over epochs would break the search's bar over trials."""
    return redirect_stderr(io.StringIO()) if sys.stderr.isatty() else nullcontext()


@lru_cache(maxsize=1)  # a process has many trials of one study
def _open(folder: Path, digest: str) -> packed.Packed:
    return packed.open_packed(folder, verified_digest=digest)


@lru_cache(maxsize=4)
def _folds(folder: Path, digest: str, num_folds: int, image_size: int) -> list[Arrays]:
    return experiments.folds_of(_open(folder, digest).of_size(image_size), num_folds=num_folds)


@lru_cache(maxsize=1)
def _load(storage: str, name: str) -> optuna.Study:
    return optuna.load_study(
        study_name=name, storage=open_storage(storage), sampler=optuna.samplers.RandomSampler()
    )
