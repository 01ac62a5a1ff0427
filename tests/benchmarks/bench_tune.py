"""A study of ours against the same trials, each in a fresh process and none pruned.

Two things make the difference: warm processes, which weigh less the longer a trial trains, and pruning,
which weighs the same at any size. The rows tell them apart.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from melanoma.config.data import Execution
from melanoma.data import packing
from tests.benchmarks import bench_pictures
from tests.benchmarks.contestants import QUIET, ROOT
from tests.benchmarks.rows import Ratio, Row, Spread, not_measured
from tests.benchmarks.sizes import Size
from tests.pipelines.workspace import write_params

PART = "tune"
MAX_RATIO = 0.5


def measure(size: Size, folder: Path) -> list[Row]:
    """Rows of seconds, and where the difference comes from."""
    if not all(importlib.util.find_spec(name) for name in ("mlflow", "optuna")):
        return [not_measured(PART, "study", "mlflow or optuna is not installed")]
    what, paths, targets = bench_pictures.labelled(folder, num_images=size.trial_images)
    params, data = folder / "params.yaml", folder / "packed_study"
    changes = {"num_trials": size.num_trials, "study": None, "storage": str(folder / "study.journal")}
    if size.trial_epochs is not None:
        changes["num_epochs"] = size.trial_epochs
    write_params(params, {"tune": changes})
    execution = Execution(backend="processes", num_workers=0, ray_address=None)
    packing.pack(*bench_pictures.tables(paths, targets), data, sizes=[size.image_size], execution=execution)

    out = folder / "tuning.json"
    arguments = ["--cohort", "bench", "--out", str(out), "--figures", str(folder / "figures")]
    ours_seconds = _seconds_of("pipelines.tune", params, data, arguments, folder=folder)[0]
    trials = json.loads(out.read_text(encoding="utf-8"))["trials"]
    fresh = [_fresh(trial["hyperparameters"], params, data, folder) for trial in trials]
    return _rows(ours_seconds, trials, fresh, f"{len(paths)} {what} images at {size.image_size} px")


def _fresh(hyperparameters: dict[str, Any], params: Path, data: Path, folder: Path) -> dict[str, Any]:
    arguments = ["--hyperparameters", json.dumps(hyperparameters)]
    seconds, printed = _seconds_of("tests.benchmarks.plain_trial", params, data, arguments, folder=folder)
    told: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return told | {"seconds": seconds}


def _seconds_of(
    module: str, params: Path, data: Path, arguments: list[str], *, folder: Path
) -> tuple[float, str]:
    """Wall time of a whole process, and what it printed. It works in `folder`, so that runs go there."""
    command = [sys.executable, "-m", module, "--params", str(params), "--packed", str(data), *arguments]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = os.environ | QUIET | {"PYTHONPATH": paths, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return seconds, done.stdout


# ---- rows ------------------------------------------------------------------------------------


def _rows(
    ours_seconds: float, trials: list[dict[str, Any]], fresh: list[dict[str, Any]], note: str
) -> list[Row]:
    fresh_seconds = sum(told["seconds"] for told in fresh)
    ratio = ours_seconds / fresh_seconds
    epochs, fresh_epochs = (sum(told["num_epochs"] for told in each) for each in (trials, fresh))
    num_pruned = sum(trial["state"] == "pruned" for trial in trials)
    pruning = _not_trained_seconds(trials, fresh)
    return [
        _once(f"{len(fresh)} fresh processes, none pruned", fresh_seconds, f"{note}; {fresh_epochs} epochs"),
        Row(
            PART,
            f"our study of {len(trials)} trials",
            "s",
            Spread.of([ours_seconds]),
            Ratio(ratio, ratio, ratio, to="these", at_most=MAX_RATIO),
            f"{num_pruned} pruned, {epochs} epochs; with its runs, figures and summary; measured once",
        ),
        _once("saved by pruning", pruning, "the epochs that were not trained, at the fresh processes' pace"),
        _once("saved by warm processes", fresh_seconds - ours_seconds - pruning, "all the rest"),
        _each("a fresh process: start, imports, data", [t["seconds"] - _trained(t) for t in fresh]),
        _each("a fresh process: building and tracing", [t["setup_seconds"] for t in fresh]),
        _each("a fresh process: epochs", [t["epochs_seconds"] for t in fresh]),
        _each("a trial of ours, all in all", [t["duration_seconds"] for t in trials]),
    ]


def _trained(told: dict[str, Any]) -> float:
    return float(told["setup_seconds"] + told["epochs_seconds"])


def _not_trained_seconds(trials: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> float:
    pairs = zip(trials, fresh, strict=True)
    return sum(
        (told["num_epochs"] - trial["num_epochs"]) * told["epochs_seconds"] / told["num_epochs"]
        for trial, told in pairs
    )


def _once(name: str, seconds: float, note: str) -> Row:
    return Row(PART, name, "s", Spread.of([seconds]), note=note)


def _each(name: str, seconds: list[float]) -> Row:
    return Row(PART, name, "s", Spread.of(seconds))
