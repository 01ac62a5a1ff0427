"""Two entry points of MLproject run with `mlflow run`; `tests/test_mlproject.py` checks the others."""

import re

import mlflow
import pytest

from tests.end_to_end.clone import report, run
from tests.pipelines.workspace import change_params

pytestmark = pytest.mark.slow


def num_pages(folder):
    """Number of runs in which the store of `folder` keeps a page."""
    store = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = store.get_experiment_by_name("melanoma-reports")
    return len(store.search_runs([found.experiment_id])) if found else 0


def test_a_stage_that_is_run_from_another_folder_writes_to_the_store_of_the_project(demo_copy, tmp_path):
    before = num_pages(demo_copy)
    change_params(demo_copy / "params.yaml", page={"max_megabytes": 4.5})
    command = ["mlflow", "run", str(demo_copy), "-e", "page", "--env-manager", "local"]
    assert "succeeded" in run(tmp_path, "env", f"PYTHONPATH={demo_copy}/src", *command)
    assert (num_pages(demo_copy), num_pages(tmp_path)) == (before + 1, 0)


def test_an_experiment_overrides_a_parameter_and_its_project_run_is_kept_apart_from_the_stages(demo_copy):
    setting = "set=evaluate.num_bootstrap_draws=201"
    output = run(demo_copy, "mlflow", "run", ".", "-e", "experiment", "-P", setting, "--env-manager", "local")
    ran = re.findall(r"^Running stage '(.*)':", output, re.MULTILINE)
    # Nothing is trained again. The page follows where a headline changed.
    assert [stage for stage in ran if stage not in {"code", "page"}] == [
        "evaluate@sample",
        "audit@sample",
        "promote@sample",
    ]
    assert "num_bootstrap_draws: 201" in (demo_copy / "params.yaml").read_text()
    store = mlflow.MlflowClient(f"sqlite:///{demo_copy}/mlflow.db")
    models = report(demo_copy, "sample/models")
    assert "test/auc_roc" in store.get_run(models["tuned"]["run_id"]).data.metrics
    project_runs = store.search_runs(["0"])
    assert project_runs
    assert all(found.data.metrics == {} for found in project_runs)
