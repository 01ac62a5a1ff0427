"""One MLflow run for each trial of a study; the study is the source of truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from melanoma import files, metric_names, tracking, tracking_fields
from melanoma.config.training import Hyperparameters, in_words
from melanoma.config.tuning import Starts
from melanoma.evaluation import search_figures
from melanoma.stages import experiments
from melanoma.tracking_fields import NOTE_TAG
from melanoma.training import search, studies

TRIAL = "trial"  # the tag by which a run is found, even if an interruption kept its id from the study
MACHINE = ("backend", "backend_version", "keras_version", "device_kind", "device_name", "device_memory_mib")


@dataclass(frozen=True)
class TrialRuns:
    """Child runs of the search's run.

    Attributes:
        parent: MLflow run of the search.
        tags: MLflow tags of every child run.
        objective: Name of the score that trials are compared by.
        starts: Hyperparameters that trials start from.
        describe: MLflow parameters of a trial besides its hyperparameters.
        datasets: Images that all trials use.
    """

    parent: tracking.Run
    tags: Mapping[str, str]
    objective: str
    starts: Starts
    describe: Callable[[Hyperparameters], Mapping[str, object]]
    datasets: Sequence[tracking_fields.Dataset] = ()

    def begin(self, trial: FrozenTrial) -> str:
        """Open the run of a trial and return its id."""
        return self._start(trial).run_id

    def end(self, trial: FrozenTrial) -> None:
        """End the run of a trial."""
        self._end(tracking.resume_run(trial.user_attrs[search.RUN_ID]), trial)

    def reconcile(self, trials: Sequence[FrozenTrial]) -> None:
        """Make sure that every finished trial has a run and that the run has ended.

        An interruption can come between a trial and its run, and the MLflow store can be a new one.
        """
        children = self._children()
        for trial in trials:
            child = children.get(trial.number)
            if not trial.state.is_finished():
                continue
            if child is None:
                self._end(self._back_fill(trial), trial)
            elif child.status == tracking.RUNNING:
                self._end(child.run, trial)

    def ids(self) -> dict[int, str]:
        """MLflow run id of each trial, by number of the trial."""
        return {number: child.run.run_id for number, child in self._children().items()}

    def _children(self) -> dict[int, tracking.Child]:
        found = tracking.children(self.parent)
        return {int(child.tags[TRIAL]): child for child in found if TRIAL in child.tags}

    def _start(self, trial: FrozenTrial) -> tracking.Run:
        first = next((key for key, flag in studies.FIRST_TRIALS.items() if trial.user_attrs.get(flag)), None)
        hyperparameters = self.starts.complete(trial.params)
        run = tracking.start_child(
            self.parent,
            name=f"trial {trial.number}" + (f" ({first})" if first else ""),
            tags={**self.tags, TRIAL: str(trial.number)},
            params=hyperparameters.model_dump(exclude_none=True) | dict(self.describe(hyperparameters)),
            note=f"Trial {trial.number} of the hyperparameter search"
            f"{f', the {first}' if first else ''}: {in_words(trial.params)}.",
        )
        run.log_datasets(self.datasets)
        return run

    def _back_fill(self, trial: FrozenTrial) -> tracking.Run:
        """A run with the objective of each epoch, all that the study knows of them."""
        run = self._start(trial)
        for epoch, value in sorted(trial.intermediate_values.items()):
            run.log_epoch(epoch, {f"val_{self.objective}": value})
        run.log_text(experiments.NO_EPOCH, experiments.HISTORY)
        return run

    def _end(self, run: tracking.Run, trial: FrozenTrial) -> None:
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            run.log_metrics(metric_names.of_selection({self.objective: trial.value}))
        run.set_tags(trial.user_attrs | {"state": studies.state_name(trial.state)})
        run.end(_status(trial))


def _status(trial: FrozenTrial) -> str:
    """MLflow status of a finished trial; KILLED when the search ended before it."""
    if trial.state is not TrialState.FAIL:
        return tracking.FINISHED
    is_killed = trial.user_attrs.get(studies.ERROR) == studies.INTERRUPTED
    return tracking.KILLED if is_killed else tracking.FAILED


def log_study(
    parent: tracking.Run,
    study: optuna.Study,
    summary: Mapping[str, Any],
    *,
    about: str,
    note: str,
    page: Path,
) -> None:
    """Log the results of a study to its run, and write a page with its plots.

    Args:
        parent: MLflow run of the search.
        study: The study.
        summary: See `studies.summarize`.
        about: Description of the run, to which the results are added.
        note: Note under the plots.
        page: HTML file to write.
    """
    objective, best = summary["objective"], summary["best"]
    counts = {f"num_{word}": summary["num_by_state"][state] for state, word in studies.ENDED.items()}
    found = {f"best_{objective}": best["value"], **counts}
    parent.log_metrics(metric_names.in_section(metric_names.SEARCH, found))
    # Tags, not parameters: more trials may find a better one, and MLflow lets no parameter change.
    chosen = {name: value for name, value in best["hyperparameters"].items() if value is not None}
    parent.set_tags({f"best.{name}": value for name, value in chosen.items()})
    line = studies.summary_line(summary)
    parent.set_tags({"best.trial": best["trial"], NOTE_TAG: f"{about}\n\nResult: {line}."})
    facts = study.best_trial.user_attrs
    parent.set_tags({name: facts[name] for name in MACHINE if name in facts})
    files.write_text(search_figures.search_page(study, objective=objective, found=line, note=note), page)
    parent.log_file(page)
