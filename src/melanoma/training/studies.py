"""Optuna studies: name, problem, sampler, pruner and summary.

A study is found again by its name, so an interrupted search resumes. It belongs to one problem - data, space,
settings and code - and trials of two problems never share a study.
"""

import hashlib
import json
import uuid
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from melanoma.config.training import in_words
from melanoma.config.tuning import Starts, Tune
from melanoma.errors import TrainingError
from melanoma.training import spaces
from melanoma.training.storages import open_storage, storage_errors

NOT_THE_PROBLEM = {  # settings of params.yaml: tune that are not part of the search problem
    "num_trials",
    "max_minutes",
    "study",
    "storage",
    "num_workers",
    "workers_per_device",
    "trials_per_process",
    "cpus_per_trial",
}
PROBLEM, BASELINE, BACKBONE, REPEATS, ERROR = "problem", "is_baseline", "is_backbone", "repeats", "error"
FIRST_TRIALS = {"baseline": BASELINE, "backbone": BACKBONE}  # attribute by section of params.yaml
IDENTITY = "study_id"  # a new study under the name of a lost one is another study
INTERRUPTED = "The search was interrupted during this trial; it is repeated."
ENDED = {"complete": "completed", "pruned": "pruned", "failed": "failed"}  # state of a trial, in words
REDUCTION = 3  # of successive halving: a third of the trials reaches the next of its epochs
MAX_DIFFERENCES = 20  # shown of a study of another problem


def study_name(cohort: str, problem: dict[str, Any], name: str | None) -> str:
    """The cohort, then `name` or, by default, a digest of the problem.

    Args:
        cohort: Name of the cohort.
        problem: Everything that makes trials comparable, JSON types.
        name: `params.yaml: tune.study`.
    """
    if name is not None:
        return f"{cohort}-{name}"
    text = json.dumps(problem, sort_keys=True)
    return f"{cohort}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def open_study(name: str, problem: dict[str, Any], tune: Tune, *, starts: Starts) -> optuna.Study:
    """Create the study with the baseline, then the backbone if there is one, as first trials, or open it.

    Raises:
        TrainingError: The storage cannot be used, or the study of this name belongs to another problem.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with storage_errors(tune.storage):
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(tune.storage),
            sampler=make_sampler(tune, 0),
            pruner=make_pruner(tune),
            direction="maximize",
            load_if_exists=True,
        )
        _require_same_problem(study, problem)
        if IDENTITY not in study.user_attrs:
            study.set_user_attr(IDENTITY, uuid.uuid4().hex)
        for key, first in starts.first_trials().items():
            if not _has(study, FIRST_TRIALS[key]):
                study.enqueue_trial(spaces.params_of(tune.space, first), user_attrs={FIRST_TRIALS[key]: True})
    return study


def _has(study: optuna.Study, attribute: str) -> bool:
    """Whether the trial with this attribute is finished, running or enqueued, not failed."""
    return any(
        trial.user_attrs.get(attribute) and trial.state is not TrialState.FAIL
        for trial in study.get_trials(deepcopy=False)
    )


def trial_seed(tune: Tune) -> int:
    """The seed of all trials.

    It differs from the seeds of the final comparison (`train.seed` and the numbers after it), where the
    winner would otherwise profit from its lucky seed again.
    """
    return int(np.random.SeedSequence([tune.seed]).generate_state(1)[0])


def make_sampler(tune: Tune, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for draw `number` of a study.

    Each draw has its own seed, so that an interrupted study draws what it would have drawn. A single seed
    would start over after an interruption and repeat earlier draws.
    """
    seed = int(np.random.SeedSequence([tune.seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            group=tune.space.family is not None,  # trials of another family draw other hyperparameters
            n_startup_trials=tune.num_startup_trials,
            constant_liar=True,  # or parallel workers would draw alike, without knowing the running trials
        )


def make_pruner(tune: Tune) -> optuna.pruners.BasePruner:
    """The pruner of trials; steps are epochs, counted from 1."""
    match tune.pruner:
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=tune.num_startup_trials, n_warmup_steps=tune.num_warmup_epochs
            )
        case "hyperband":
            first = min(max(tune.num_warmup_epochs, 1), tune.num_epochs)
            return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=tune.num_epochs)
        case "successive_halving":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=max(tune.num_warmup_epochs, 1), reduction_factor=REDUCTION
            )
    return optuna.pruners.NopPruner()


def _require_same_problem(study: optuna.Study, problem: dict[str, Any]) -> None:
    stored, present = study.user_attrs.get(PROBLEM), json.loads(json.dumps(problem))
    if stored is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(PROBLEM, present)
    elif stored is None:
        raise TrainingError(
            f"Study {study.study_name} was not created by this project: its trials have no record of the "
            "search problem. Set params.yaml: tune.study to another name."
        )
    elif stored != present:
        differences = _describe_differences(stored, present)
        raise TrainingError(
            f"Study {study.study_name} was started with other settings or data:\n{differences}\nIts trials "
            "cannot be compared with new ones. Undo these changes to resume it, or start another study: set "
            "params.yaml: tune.study to another name or null."
        )


def _describe_differences(stored: dict[str, Any], present: dict[str, Any]) -> str:
    before, now = _flatten(stored), _flatten(present)
    keys = sorted(key for key in before | now if before.get(key, "") != now.get(key, ""))
    lines = [
        f"  {key}: {before.get(key, 'nothing')} in the study, {now.get(key, 'nothing')} now"
        for key in keys[:MAX_DIFFERENCES]
    ]
    hidden = [f"  and {len(keys) - MAX_DIFFERENCES} more"] if len(keys) > MAX_DIFFERENCES else []
    return "\n".join(lines + hidden)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were completed or pruned."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def minutes_spent(trials: Sequence[FrozenTrial]) -> float:
    """Minutes in which at least one of the trials was running, over all calls of a search.

    Trials that were interrupted are left out: they end, in the storage, when the next search begins.
    """
    until, seconds = None, 0.0
    for trial in sorted(trials, key=lambda trial: trial.datetime_start or datetime.max):
        begun, ended = trial.datetime_start, trial.datetime_complete
        if begun is None or ended is None or trial.user_attrs.get(ERROR) == INTERRUPTED:
            continue
        begun = begun if until is None else max(begun, until)
        seconds += max((ended - begun).total_seconds(), 0.0)
        until = ended if until is None else max(ended, until)
    return seconds / 60


def num_by_state(study: optuna.Study) -> dict[str, int]:
    """Number of completed, pruned and failed trials."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    kinds = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return {state_name(state): states.count(state) for state in kinds}


def state_name(state: TrialState) -> str:
    """Name of the state in `tuning.json` and MLflow."""
    return "failed" if state is TrialState.FAIL else state.name.lower()


def summarize(
    study: optuna.Study, tune: Tune, starts: Starts, *, run_ids: Mapping[int, str]
) -> dict[str, Any]:
    """The best hyperparameters and every finished trial, for `tuning.json`.

    Args:
        study: Study without running trials.
        tune: Search settings.
        starts: Hyperparameters that trials start from.
        run_ids: MLflow run id of each trial, by number.

    Raises:
        TrainingError: No trial was completed.
    """
    trials = study.get_trials(deepcopy=False)
    completed = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not completed:
        raise TrainingError(
            f"No trial of study {study.study_name} was completed, so there is no best trial. Raise "
            "tune.num_trials or tune.num_warmup_epochs in params.yaml."
        )
    best = study.best_trial
    return {
        "study": study.study_name,
        "objective": tune.objective,
        "is_wide": tune.wide,
        "max_minutes": tune.max_minutes,
        "minutes": round(minutes_spent(trials), 1),
        "searched": list(tune.space.rows()),
        "best": {
            "trial": best.number,
            "value": best.value,
            "hyperparameters": starts.complete(best.params).model_dump(),
        },
        "num_finished": len(finished_trials(study)),
        "num_by_state": num_by_state(study),
        "trials": [
            _describe(trial, starts) | {"run_id": run_ids.get(trial.number)}
            for trial in trials
            if trial.state.is_finished()
        ],
    }


def _describe(trial: FrozenTrial, starts: Starts) -> dict[str, Any]:
    facts = trial.user_attrs
    return {
        "trial": trial.number,
        "state": state_name(trial.state),
        "hyperparameters": starts.complete(trial.params).model_dump(),
        "value": trial.value if trial.state is TrialState.COMPLETE else None,
        "num_epochs": len(trial.intermediate_values),
        "duration_seconds": facts.get("duration_seconds"),
        "device": facts.get("device_name"),
        ERROR: facts.get(ERROR),
        **{attribute: bool(facts.get(attribute, False)) for attribute in FIRST_TRIALS.values()},
        REPEATS: facts.get(REPEATS),
    }


def summary_line(summary: Mapping[str, Any]) -> str:
    """One line about a study: its trials, what was searched, and the best trial.

    Args:
        summary: Result of `summarize`.
    """
    best, counts = summary["best"], summary["num_by_state"]
    states = ", ".join(f"{number} {ENDED[state]}" for state, number in counts.items() if number)
    searched = {name: best["hyperparameters"][name] for name in summary["searched"]}
    num_trials = sum(counts.values())
    line = (
        f"{num_trials} trial{'' if num_trials == 1 else 's'} ({states}) over {', '.join(searched)}; best is "
        f"trial {best['trial']}: {in_words(searched)}; hold-out {summary['objective']} {best['value']:.3f}"
    )
    minutes = summary.get("max_minutes")  # older summaries have none
    if minutes is not None and summary["minutes"] >= minutes:
        line += f"; the search stopped after {summary['minutes']:.0f} minutes, its limit is {minutes}"
    if is_baseline_best(summary):
        line += "; this is the baseline itself, the search found nothing better"
    return line


def is_baseline_best(summary: Mapping[str, Any]) -> bool:
    """Whether the best trial has the hyperparameters of the baseline."""
    best = summary["best"]["hyperparameters"]
    return any(trial[BASELINE] and trial["hyperparameters"] == best for trial in summary["trials"])
