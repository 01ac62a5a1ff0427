"""The hyperparameter search: this process asks the study for trials, workers train them.

Only this process asks, so the number of trials is exact and, with one worker, a study is reproducible. It
loads neither Keras nor TensorFlow. A trial whose worker, or whose search, ended early

* is marked as failed, with the reason; a trial never resumes, it is repeated from the beginning;
* is enqueued again once if its worker died: the trial may be the cause;
* is enqueued again, without limit, if the search ended; the next search begins with it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from melanoma.config.training import Hyperparameters, in_words
from melanoma.config.tuning import Starts, Tune
from melanoma.errors import TrainingError, WorkerError, first_offenders
from melanoma.training import spaces
from melanoma.training.storages import storage_errors
from melanoma.training.studies import (
    ERROR,
    FIRST_TRIALS,
    INTERRUPTED,
    REPEATS,
    finished_trials,
    make_sampler,
    minutes_spent,
)

RETRY_OF, RUN_ID = "retry_of", "run_id"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
MIN_FAILURES = 3  # so many failed trials stop a search of fewer trials, too


@dataclass(frozen=True)
class Asked:
    """A trial for a worker.

    Attributes:
        study: Name of the study.
        trial_id: Id in the storage.
        number: Number in the study.
        hyperparameters: Hyperparameters of the trial.
        can_prune: Whether it may be pruned: not the baseline and the backbone, which all are compared with.
        run_id: MLflow run that its epochs are logged to.
    """

    study: str
    trial_id: int
    number: int
    hyperparameters: Hyperparameters
    can_prune: bool
    run_id: str


@dataclass(frozen=True)
class Outcome:
    """Result of a trial, from its worker.

    Attributes:
        state: State in which the trial ended.
        value: The objective at the epoch whose weights are kept; None unless complete.
        error: Reason of a failure.
        facts: Kept with the trial: `duration_seconds`, `device` and more, JSON types.
        scores: On the hold-out at that epoch, by name (`val_…`); empty unless complete.
        history: CSV with one row per epoch; empty when it failed.
    """

    state: Literal["complete", "pruned", "failed"]
    value: float | None = None
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    history: str = ""


class Runs(Protocol):
    """MLflow runs that mirror the study, one for each trial."""

    def begin(self, trial: FrozenTrial) -> str:
        """Open the run of a trial that starts and return its id."""

    def end(self, trial: FrozenTrial) -> None:
        """End the run of a trial that has ended."""

    def reconcile(self, trials: Sequence[FrozenTrial]) -> None:
        """Make sure that every started trial has one run, in the state of the trial."""


class Workers(Protocol):
    """See `execution.workers.Workers`."""

    @property
    def num_slots(self) -> int:
        """Trials at once."""

    def submit(self, task: Asked) -> Future[Outcome]:
        """Start a trial in a free slot."""


def run_trials(
    study: optuna.Study,
    workers: AbstractContextManager[Workers],
    *,
    tune: Tune,
    starts: Starts,
    runs: Runs,
    say: Callable[[str], object] = lambda _: None,
) -> None:
    """Run trials until `tune.num_trials` have finished or `tune.max_minutes` are over, over all calls.

    Failed trials are kept and do not count. Trials that run when the time is over are finished, and the
    first trials of a study (baseline and backbone) are run in any case. No worker and no trial still runs
    when this returns or raises.

    Args:
        study: Study from `open_study`.
        workers: Opened if there are trials to run.
        tune: Search space and number of trials.
        starts: Hyperparameters that trials start from.
        runs: MLflow run of each trial.
        say: Called with a line about each trial that ends, where there is no terminal for a bar.

    Raises:
        TrainingError: As many trials failed as were wanted, or the storage is down.
    """
    with storage_errors(tune.storage):
        put_back(study)
        runs.reconcile(study.get_trials(deepcopy=False))
        if num_left(study, tune) == 0:
            return
        try:
            with workers as opened, _open_bar(study, tune) as bar:
                for trial in _run(study, opened, tune=tune, starts=starts, runs=runs):
                    _show(bar, study, tune)
                    if bar.disable:  # in a terminal, lines would tear the bar
                        say(describe(trial, tune))
        finally:
            put_back(study)
            runs.reconcile(study.get_trials(deepcopy=False))


def num_left(study: optuna.Study, tune: Tune) -> int:
    """Number of trials still to be finished."""
    wanted = max(tune.num_trials - len(finished_trials(study)), 0)
    trials = study.get_trials(deepcopy=False)
    if tune.max_minutes is None or minutes_spent(trials) < tune.max_minutes:
        return wanted
    first = [trial for trial in trials if not trial.state.is_finished() and _is_first(trial)]
    return min(len(first), wanted)


def _is_first(trial: FrozenTrial) -> bool:
    """Whether it is the baseline or the backbone."""
    return any(trial.user_attrs.get(attribute) for attribute in FIRST_TRIALS.values())


def _run(
    study: optuna.Study, workers: Workers, *, tune: Tune, starts: Starts, runs: Runs
) -> Iterator[FrozenTrial]:
    """Yield each trial that has ended."""
    running: dict[Future[Outcome], optuna.Trial] = {}
    failed: list[FrozenTrial] = []
    while (wanted := num_left(study, tune)) > 0 or running:
        while len(running) < min(workers.num_slots, wanted):
            trial, asked = _ask(study, tune=tune, starts=starts, runs=runs)
            running[workers.submit(asked)] = trial
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            ended = _settle(study, running.pop(future), future)
            runs.end(ended)
            yield ended
            failed += [ended] if ended.state is TrialState.FAIL else []
        _require_some_to_succeed(failed, study, tune)


def _ask(study: optuna.Study, *, tune: Tune, starts: Starts, runs: Runs) -> tuple[optuna.Trial, Asked]:
    trials = study.get_trials(deepcopy=False)
    # Repeated trials were drawn already, so they do not advance the later draws.
    study.sampler = make_sampler(tune, sum(REPEATS not in trial.user_attrs for trial in trials))
    trial = study.ask()
    hyperparameters = spaces.suggest(trial, tune.space, starts)
    run_id = runs.begin(_frozen(study, trial))
    trial.set_user_attr(RUN_ID, run_id)
    can_prune = not _is_first(_frozen(study, trial))
    return trial, Asked(study.study_name, trial._trial_id, trial.number, hyperparameters, can_prune, run_id)


def _settle(study: optuna.Study, trial: optuna.Trial, future: Future[Outcome]) -> FrozenTrial:
    """Tell the study the result of a trial; an error that is not the trial's own is raised."""
    try:
        outcome = future.result()
    except WorkerError as error:
        outcome = Outcome("failed", error=str(error))
        if RETRY_OF not in trial.user_attrs:
            _repeat(study, _frozen(study, trial), **{RETRY_OF: trial.number})
    for name, fact in outcome.facts.items():
        trial.set_user_attr(name, fact)
    if outcome.error is not None:
        trial.set_user_attr(ERROR, outcome.error)
    study.tell(trial, outcome.value, state=STATES[outcome.state])
    return _frozen(study, trial)


def _frozen(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[trial.number]


def _require_some_to_succeed(failed: list[FrozenTrial], study: optuna.Study, tune: Tune) -> None:
    if len(failed) >= max(tune.num_trials, MIN_FAILURES) and num_left(study, tune) > 0:
        reasons = [f"trial {trial.number}: {trial.user_attrs[ERROR]}" for trial in failed]
        raise TrainingError(
            f"{len(failed)} trials of study {study.study_name} failed, which is the number of trials "
            f"requested: {first_offenders(reasons)}. Fix the cause, or narrow tune.space in params.yaml."
        )


def put_back(study: optuna.Study) -> None:
    """Mark trials that an earlier search left running as failed, and enqueue them again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        optuna.Trial(study, trial._trial_id).set_user_attr(ERROR, INTERRUPTED)
        _repeat(study, trial)
        study.tell(trial.number, state=TrialState.FAIL)


def _repeat(study: optuna.Study, trial: FrozenTrial, **facts: object) -> None:
    """Enqueue a trial again, unless an interruption came just after that was done."""
    if any(other.user_attrs.get(REPEATS) == trial.number for other in study.get_trials(deepcopy=False)):
        return
    # A trial that was interrupted before it drew anything has what was enqueued for it, if anything.
    params = trial.system_attrs.get("fixed_params", {}) | trial.params
    if not params:
        return
    kept = {
        key: trial.user_attrs[key] for key in (*FIRST_TRIALS.values(), RETRY_OF) if key in trial.user_attrs
    }
    study.enqueue_trial(params, user_attrs=kept | {REPEATS: trial.number} | facts)


def describe(trial: FrozenTrial, tune: Tune) -> str:
    """One line about a trial that has ended."""
    match trial.state:
        case TrialState.FAIL:
            end = f"failed ({trial.user_attrs[ERROR]})"
        case TrialState.PRUNED:
            end = f"pruned after {len(trial.intermediate_values)} epochs"
        case _:
            end = f"{tune.objective} {trial.value:.3f}"
    return f"trial {trial.number} with {in_words(trial.params)}: {end}"


def _open_bar(study: optuna.Study, tune: Tune) -> "tqdm[NoReturn]":
    """A bar over trials, where there is a terminal."""
    num_finished = len(finished_trials(study))
    bar = tqdm(total=tune.num_trials, initial=num_finished, desc="tune", unit="trial", disable=None)
    _show(bar, study, tune)
    return bar


def _show(bar: "tqdm[NoReturn]", study: optuna.Study, tune: Tune) -> None:
    """Show the number of finished trials and the best value so far."""
    finished = finished_trials(study)
    values = [trial.value for trial in finished if trial.state is TrialState.COMPLETE]
    if values:
        bar.set_postfix({f"best {tune.objective}": f"{max(values):.3f}"}, refresh=False)
    bar.update(len(finished) - bar.n)
