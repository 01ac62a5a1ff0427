"""The study: learning rate and depth around the baseline, which is trial 0.

The study lives in a storage of its own and is found again by name, so a killed search goes on where it
stopped. A name stands for one problem: data, space and settings; when one of them changes, a new study
begins.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import keras
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from melanoma.errors import TrainingError
from melanoma.sections import Augment, Baseline, Model, Tune
from melanoma.training.fit import OBJECTIVE, Arrays, FitSettings, best_epoch, build_model, fit


class EpochLog(Protocol):
    """Takes the scores of each epoch; a tracker's run is one."""

    def log_epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Scores of `epoch`, counted from 1."""

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Words about the whole trial."""


OpenLog = Callable[[int, dict[str, Any]], AbstractContextManager[EpochLog]]


def study_name(cohort: str, problem: dict[str, Any]) -> str:
    """A name that is the same for the same problem only.

    Args:
        cohort: Its first part.
        problem: Everything that makes trials comparable, JSON types.
    """
    text = json.dumps(problem, sort_keys=True)
    return f"{cohort}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def open_study(name: str, tune: Tune, baseline: Baseline) -> optuna.Study:
    """Create the study with the baseline as its first trial, or go on with the one that is there.

    Trials that a kill left unfinished are marked as failed and their parameters are tried again.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=_open_storage(tune.storage),
        sampler=optuna.samplers.TPESampler(
            seed=tune.seed, multivariate=True, n_startup_trials=tune.num_startup_trials
        ),
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=tune.num_startup_trials, n_warmup_steps=tune.num_warmup_epochs
        ),
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        # A trial that was killed before it drew anything has what was enqueued for it, if anything.
        params = trial.system_attrs.get("fixed_params", trial.params)
        if params:
            study.enqueue_trial(params, user_attrs=trial.user_attrs | {"repeats": trial.number})
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(
            {"learning_rate": baseline.learning_rate, "depth": baseline.depth},
            user_attrs={"is_baseline": True},
        )
    return study


def _open_storage(storage: str) -> Any:
    """A database URL as it is; anything else names a journal file, safe for processes of one machine."""
    if "://" in storage:
        return storage
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(storage))


def suggest(trial: optuna.Trial, tune: Tune) -> dict[str, Any]:
    """Draw `learning_rate` (log scale) and `depth` from the space of `params.yaml: tune`."""
    return {
        "learning_rate": trial.suggest_float(
            "learning_rate", tune.min_learning_rate, tune.max_learning_rate, log=True
        ),
        "depth": trial.suggest_int("depth", tune.min_depth, tune.max_depth),
    }


class _Report(keras.callbacks.Callback):
    """Tells the study and a log how an epoch went; stops a trial that the pruner gives up."""

    def __init__(self, trial: optuna.Trial, log: EpochLog) -> None:
        super().__init__()
        self._trial, self._log = trial, log
        self.is_pruned = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        scores = logs or {}
        self._log.log_epoch(epoch + 1, scores)
        self._trial.report(scores[OBJECTIVE], epoch + 1)
        if self._trial.should_prune():
            self.is_pruned = True
            self.model.stop_training = True


def run_trials(
    study: optuna.Study,
    arrays: Arrays,
    *,
    tune: Tune,
    settings: FitSettings,
    model: Model,
    augment: Augment,
    open_log: OpenLog,
) -> None:
    """Run trials until `tune.num_trials` have finished, counting those of earlier calls.

    A trial that fails (for instance a loss that is no number) is kept as failed and does not count.

    Args:
        study: From `open_study`.
        arrays: Training and validation images.
        tune: The space and the number of trials.
        settings: Of every trial's fit.
        model: What all networks share.
        augment: Of training images.
        open_log: Called with number and parameters of each trial.

    Raises:
        TrainingError: As many trials failed as were wanted.
    """

    def objective(trial: optuna.Trial) -> float:
        params = suggest(trial, tune)
        with open_log(trial.number, params) as log:
            keras.backend.clear_session()  # or memory grows from trial to trial (optuna#1178)
            keras.utils.set_random_seed(settings.seed)
            network = build_model(model, image_size=arrays.train_images.shape[1], depth=params["depth"])
            report = _Report(trial, log)
            history = fit(
                network,
                arrays,
                settings,
                learning_rate=params["learning_rate"],
                augment=augment,
                callbacks=[report],
            )
            log.set_tags({"trial_state": "pruned" if report.is_pruned else "complete"})
        if report.is_pruned:
            raise optuna.TrialPruned
        return float(best_epoch(history, settings.monitor)[OBJECTIVE])

    num_failed_before = _num_failed(study)  # by a kill, or in an earlier call
    while (num_left := tune.num_trials - len(finished_trials(study))) > 0:
        study.optimize(objective, n_trials=num_left, catch=(TrainingError,))
        num_failed = _num_failed(study) - num_failed_before
        if num_failed >= max(tune.num_trials, 3) and len(finished_trials(study)) < tune.num_trials:
            raise TrainingError(
                f"{num_failed} trials of study {study.study_name} failed; narrow the learning rates "
                "in params.yaml: tune."
            )


def _num_failed(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were completed or pruned."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def summarize(study: optuna.Study) -> dict[str, Any]:
    """The best parameters and every trial, for `tuning.json`."""
    best = study.best_trial
    return {
        "study": study.study_name,
        "objective": OBJECTIVE,
        "best": {"trial": best.number, OBJECTIVE: best.value, **best.params},
        "num_finished": len(finished_trials(study)),
        "trials": [_describe(trial) for trial in study.get_trials(deepcopy=False)],
    }


def _describe(trial: FrozenTrial) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    value = trial.value if trial.state is TrialState.COMPLETE else None
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        **trial.params,
        OBJECTIVE: value,
        "num_epochs": len(trial.intermediate_values),
        "duration_seconds": seconds,
        "is_baseline": bool(trial.user_attrs.get("is_baseline", False)),
    }
