"""Toys for tests of the search: workers that are threads, and a tracker that remembers."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from optuna.trial import TrialState

from melanoma.training.search import RUN_ID, Asked, Outcome


@dataclass(frozen=True)
class Workers:
    """Threads; at most `num_slots` trials at once, or submitting fails."""

    function: Callable[[Asked], Outcome]
    threads: ThreadPoolExecutor
    num_slots: int
    unfinished: list[Future]

    def submit(self, task: Asked) -> Future:
        assert sum(not future.done() for future in self.unfinished) < self.num_slots
        self.unfinished.append(self.threads.submit(self.function, task))
        return self.unfinished[-1]


@contextmanager
def open_threads(function: Callable[[Asked], Outcome], num_slots: int = 1) -> Iterator[Workers]:
    with ThreadPoolExecutor(num_slots) as threads:
        yield Workers(function, threads, num_slots, [])


class Runs:
    """One entry a run: the number of its trial, and the state in which it ended."""

    def __init__(self):
        self.begun: list[int] = []
        self.states: dict[int, str] = {}

    def begin(self, trial):
        self.begun.append(trial.number)
        return f"run {trial.number}"

    def end(self, trial):
        assert trial.user_attrs[RUN_ID] == f"run {trial.number}"
        self.states[trial.number] = trial.state.name

    def reconcile(self, trials):
        for trial in trials:
            if trial.state.is_finished():
                self.states[trial.number] = trial.state.name
            else:
                assert trial.state is TrialState.WAITING
