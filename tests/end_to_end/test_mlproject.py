"""Every entry point of MLproject runs with `mlflow run . --env-manager local`."""

import mlflow
import pytest
from ruamel.yaml import YAML

from tests.end_to_end.clone import report, run
from tests.imports import ROOT

pytestmark = pytest.mark.slow
ENTRY_POINTS = YAML(typ="safe", pure=True).load(ROOT / "MLproject")["entry_points"]
PLAIN = [name for name, entry in ENTRY_POINTS.items() if "parameters" not in entry]


def mlflow_run(folder, *arguments: str, exit_code: int = 0) -> str:
    return run(folder, "mlflow", "run", ".", "--env-manager", "local", *arguments, exit_code=exit_code)


@pytest.mark.parametrize("entry_point", PLAIN)
def test_an_entry_point_runs(demo, entry_point):
    assert "succeeded" in mlflow_run(demo, "-e", entry_point)


def test_an_experiment_overrides_a_parameter_and_its_project_run_stays_apart_from_the_stages(demo):
    output = mlflow_run(demo, "-e", "experiment", "-P", "set=evaluate.num_bootstrap_draws=201")
    assert "Running stage 'evaluate@sample'" in output
    assert "Running stage 'train@sample'" not in output
    assert "num_bootstrap_draws: 201" in (demo / "params.yaml").read_text()
    store = mlflow.MlflowClient(f"sqlite:///{demo}/mlflow.db")
    models = report(demo, "sample/models")
    assert "test_auc_roc" in store.get_run(models["tuned"]["run_id"]).data.metrics
    project_runs = store.search_runs(["0"])
    assert project_runs
    assert all(found.data.metrics == {} for found in project_runs)


def test_fetch_passes_its_parameters_on(demo, tmp_path):
    output = mlflow_run(
        demo, "-e", "fetch", "-P", "dataset=ph2", "-P", f"source={tmp_path / 'nowhere'}", exit_code=1
    )
    assert "nowhere does not exist" in output


def test_an_undeclared_parameter_is_answered_with_the_command_that_takes_it(demo):
    output = mlflow_run(demo, "-e", "tune", "-P", "num_trials=3", exit_code=1)
    assert "mlflow run . -e experiment -P set=tune.num_trials=3" in output
    assert "Running stage" not in output


def test_from_another_folder_the_stages_still_write_to_the_store_of_the_project(demo, tmp_path):
    def num_pages(folder):
        store = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        found = store.get_experiment_by_name("melanoma-reports")
        return len(store.search_runs([found.experiment_id])) if found else 0

    before = num_pages(demo)
    (demo / "reports" / "index.html").unlink()
    command = ["mlflow", "run", str(demo), "-e", "page", "--env-manager", "local"]
    run(tmp_path, "env", f"PYTHONPATH={demo}/src", *command)
    assert (num_pages(demo), num_pages(tmp_path)) == (before + 1, 0)
