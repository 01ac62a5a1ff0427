"""A small repository-like folder in which the scripts run as dvc.yaml runs them."""

import importlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking._tracking_service import utils
from ruamel.yaml import YAML

from pipelines import _cli
from tests.imports import ROOT

STAGE_ORDER = (
    "sample",
    "ingest",
    "inspect",
    "validate",
    "duplicates",
    "assign",
    "card",
    "split",
    "segment",
    "pack",
    "tune",
    "train",
    "evaluate",
    "audit",
    "promote",
    "page",
)
GRAPHS = (ROOT / "dvc.yaml", ROOT / "pipelines" / "study" / "dvc.yaml")


def space(*, max_depth: int = 5, **rows: object) -> dict[str, object]:
    """`tune.space` with learning rate and depth, other rows as given."""
    committed = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["tune"]["space"]
    return committed | {"depth": {"low": 1, "high": max_depth}} | rows


SMALL = {
    "execution": {"num_workers": 1},
    "sample": {"num_lesions": 60, "num_second_views": 6, "malignant_fraction": 0.4},
    "model": {"filter_multiples": [1, 1, 1, 1, 1]},
    "baseline": {"image_size": 48, "depth": 2, "filters": 4, "dense_units": 8},
    "train": {"num_epochs": 3, "num_seeds": 2},
    "tune": {"num_trials": 3, "num_epochs": 2, "space": space(max_depth=3)},
    "card": {"num_bootstrap_draws": 200},
    "evaluate": {"num_bootstrap_draws": 200},
    "promote": {  # four filters and three epochs beat nothing
        "min_auc_roc_lower_bound": 0.0,
        "min_malignant_groups": 1,
        "must_beat_references": [],
        "min_groups_not_worse": 1,
        "calibration_intercept_band": None,
        "calibration_slope_band": None,
        "min_brier_skill": None,
        "min_specificity_at_threshold": None,
        "min_worst_slice_auc_roc": None,
    },
}
SMALL_STUDY: dict[str, dict[str, Any]] = {
    "study": {"cohorts": ["sample"]},
    "study.protocols": {"num_epochs": 2, "num_seeds": 2, "num_bootstrap_draws": 100},
    "study.diagnosis": {"num_seeds": 2, "num_epochs": 2, "num_bootstrap_draws": 200},
    "study.crops": {"num_seeds": 2, "num_epochs": 1, "num_bootstrap_draws": 200},
    "study.transfer": {
        "num_seeds": {"baseline": 1, "tuned": 1},
        "num_epochs": 1,
        "min_images": 10,
        "num_bootstrap_draws": 100,
    },
    "study.resplit": {"num_splits": 3, "backbone_features": False},
    "evaluate": {"min_slice_groups": 2},  # of the stage diagnosis
}


def write_params(path: Path, changes: Mapping[str, Any]) -> None:
    """The committed params.yaml with `changes` (by section, by key)."""
    shutil.copy(ROOT / "params.yaml", path)
    change_params(path, **changes)


def change_params(path: Path, **changes: dict[str, Any]) -> None:
    """Update sections of an existing file; `study.crops` is a section within one."""
    yaml = YAML()
    params = yaml.load(path)
    for section, values in changes.items():
        reduce(getitem, section.split("."), params).update(values)
    with path.open("w") as stream:
        yaml.dump(params, stream)


def command(stage: str, item: str) -> list[str]:
    """The arguments that the graph gives to the script of `stage` for one dataset or cohort."""
    return _words(stage, item)[3:]


def run_stage(stage: str, item: str = "sample") -> int:
    """Run the script of `stage` in this process and in the current folder, as DVC would."""
    _, _, module, *arguments = _words(stage, item)
    return _cli.run(importlib.import_module(module).main, arguments)


def _words(stage: str, item: str) -> list[str]:
    """`python -m MODULE ARGUMENT ...`."""
    yaml = YAML(typ="safe", pure=True)
    stages = {name: found for graph in GRAPHS for name, found in yaml.load(graph)["stages"].items()}
    definition = stages[stage].get("do", stages[stage])
    return shlex.split(definition["cmd"].replace("${item}", item))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Make `folder` the current one, with a tracking store of its own."""
    before, store = Path.cwd(), os.environ.get("MLFLOW_TRACKING_URI")
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])  # else an earlier test's stays
    utils._artifact_repos_cache.clear()  # by run id: a copy of a store has the runs of the original
    try:
        yield
    finally:
        os.chdir(before)
        if store is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = store


def copy(workspace: Path, folder: Path) -> Path:
    """A copy of a workspace without its tracking store, to break things in."""
    shutil.copytree(workspace, folder, ignore=shutil.ignore_patterns("mlruns", "mlflow.db*"))
    return folder


# Where MLflow writes absolute paths of artifacts, by table.
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def copy_with_store(workspace: Path, folder: Path) -> Path:
    """A copy of a workspace with its tracking store, in which every path leads into the copy."""
    shutil.copytree(workspace, folder, dirs_exist_ok=True)
    with closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        for table, columns in PLACES.items():
            for column in columns:
                store.execute(
                    f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)", (str(workspace), str(folder))
                )
    return folder
