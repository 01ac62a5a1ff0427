"""What the search sends to a worker, and what the worker does with it in its own process."""

import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import optuna

from melanoma import tracking
from melanoma.config import Params
from melanoma.data import packed
from melanoma.errors import DataError
from melanoma.execution.workers import Workers, open_workers
from melanoma.stages import experiments
from melanoma.training import studies
from melanoma.training.search import Asked, Outcome
from melanoma.training.storages import open_storage, storage_errors


@dataclass(frozen=True)
class Job:
    """What all trials of a search share, picklable.

    Attributes:
        params: Of the search.
        packed: Folder of the cohort.
        digest: Of the cohort: what was packed anew meanwhile is refused.
        tracking_uri: Of the store that has the trials' runs; a worker elsewhere has no such setting.
    """

    params: Params
    packed: Path
    digest: str
    tracking_uri: str


def open_trial_workers(
    params: Params, folder: Path, digest: str
) -> AbstractContextManager[Workers[Asked, Outcome]]:
    """Workers for the trials of a search on the packed cohort in `folder` with this digest."""
    tune = params.tune
    return open_workers(
        partial(run, Job(params, folder, digest, tracking.client().tracking_uri)),
        execution=params.execution,
        num_workers=tune.num_workers,
        workers_per_device=tune.workers_per_device,
        tasks_per_process=tune.trials_per_process,
        cpus_per_task=tune.cpus_per_trial,
    )


def run(job: Job, asked: Asked) -> Outcome:
    """Train; epochs go to the study and to the trial's run, the outcome back to who asked."""
    # Here, because who imports this module to name the function needs no Keras.
    from melanoma.training import backend, trials

    os.environ["MLFLOW_TRACKING_URI"] = job.tracking_uri
    data, tune = _open(job.packed, job.digest), job.params.tune
    trial_run = tracking.resume_run(asked.run_id)
    trial_run.set_tags(backend.describe())  # at once: a worker that dies says nothing
    with storage_errors(tune.storage), _no_bar():
        study = _load(tune.storage, asked.study)
        study.pruner = studies.make_pruner(tune)
        report = trials.Report(
            optuna.Trial(study, asked.trial_id),
            tune.objective,
            trial_run.log_epoch,
            can_prune=not asked.is_baseline,
        )
        outcome = trials.run_trial(
            experiments.arrays(data),
            experiments.recipe(job.params, asked.hyperparameters),
            report,
            num_epochs=tune.num_epochs,
            seed=studies.trial_seed(tune),
            objective=tune.objective,
        )
    # Under the names of the networks of `train`, so that the tracker compares both.
    trial_run.log_metrics({f"best_{name}": score for name, score in outcome.scores.items()})
    trial_run.log_text(outcome.history or experiments.NO_EPOCH, experiments.HISTORY)
    return outcome


def _no_bar() -> AbstractContextManager[object]:
    """In a terminal, the bar over epochs would tear the search's bar over trials."""
    return redirect_stderr(io.StringIO()) if sys.stderr.isatty() else nullcontext()


@lru_cache(maxsize=1)  # a process has many trials of one study
def _open(folder: Path, digest: str) -> packed.Packed:
    data = packed.open_packed(folder)
    if data.digest != digest:
        raise DataError(f"{folder} was packed anew while it was searched on. Run `dvc repro` again.")
    return data


@lru_cache(maxsize=1)
def _load(storage: str, name: str) -> optuna.Study:
    return optuna.load_study(
        study_name=name, storage=open_storage(storage), sampler=optuna.samplers.RandomSampler()
    )
