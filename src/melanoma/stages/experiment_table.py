"""Command `make experiments`: the experiments of DVC with their scores and main parameters, as a table.

`dvc exp show` prints a column for each parameter and dependency, and the columns of scores are wider than a
terminal as soon as there are two cohorts.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.serialize import ExpState
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from melanoma.errors import DataError

SCORES_FILE = "scores.json"
SCORES = (
    "selection_auc_roc",
    "test_auc_roc",
    "test_sensitivity",
    "test_specificity",
    "test_auc_roc_baseline",
)
SETTINGS = ("baseline.learning_rate", "baseline.depth", "tune.num_trials")
UNDEFINED = "-"
WIDTH = 160  # of the table where there is no terminal and COLUMNS is not set


def print_experiments() -> None:
    """Print one row per experiment and cohort; the first rows are the working tree and the last commit.

    Raises:
        DataError: DVC cannot read the experiments, for instance without a git repository.
    """
    try:
        with Repo() as repo:
            states = repo.experiments.show()
    except DvcException as error:
        raise DataError(f"DVC cannot read the experiments: {error}. Run `dvc doctor`.") from error
    rows = [(name, state) for state in states for name, state in _with_experiments(state)]
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH)
    console.print(_table(rows))
    if not any(_scores(state) for _, state in rows):
        console.print("No scores yet: run `make demo`.")
    if len(rows) == len(states):
        console.print("No experiments yet: run for instance `dvc exp run -S baseline.depth=2`.")


def _with_experiments(state: ExpState) -> Iterator[tuple[str, ExpState]]:
    """A commit or the working tree, and the experiments that started there, with the names to show."""
    yield state.name or _short(state.rev), state
    for experiment in state.experiments or []:
        newest = experiment.revs[0]
        name, executor = f"  {newest.name or _short(newest.rev)}", experiment.executor
        if executor is None or executor.state == "success":
            yield name, newest
        else:  # DVC shows the scores that the experiment started from
            data = newest.data and replace(newest.data, metrics={})
            yield f"{name} ({executor.state})", replace(newest, data=data)


def _short(revision: str) -> str:
    return revision if revision == "workspace" else revision[:7]


def _table(rows: Iterable[tuple[str, ExpState]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("experiment", overflow="fold", min_width=22)
    table.add_column("cohort", overflow="fold")
    for name in (*SCORES, *SETTINGS):
        table.add_column(name.rpartition(".")[2].replace("_", " "), justify="right", max_width=12)
    for name, state in rows:
        settings = [_in_words(_setting(state, key)) for key in SETTINGS]
        for cohort, scores in (_scores(state) or {UNDEFINED: {}}).items():
            cells = [_in_words(scores.get(score)) for score in SCORES]
            table.add_row(Text(name), cohort, *cells, *settings)
    return table


def _scores(state: ExpState) -> dict[str, dict[str, Any]]:
    """The content of each `scores.json` by cohort, without those that cannot be read."""
    metrics = {} if state.data is None else state.data.metrics
    return {
        PurePath(path).parent.name: dict(found["data"])
        for path, found in metrics.items()
        if PurePath(path).name == SCORES_FILE and found.get("data")
    }


def _setting(state: ExpState, key: str) -> Any:
    found: Any = {} if state.data is None else state.data.params.get("params.yaml", {}).get("data", {})
    for part in key.split("."):
        found = found.get(part, {})
    return found


def _in_words(value: Any) -> str:
    match value:
        case float():
            return f"{value:.3g}"
        case int():
            return str(value)
    return UNDEFINED
