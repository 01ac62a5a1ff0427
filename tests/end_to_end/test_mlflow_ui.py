"""MLflow's own pages, in a real browser: names, tags and metrics of our runs say something at once."""

import json
from urllib.parse import quote

import pytest

from melanoma import tracking
from tests.browser import SCRIPT, opened
from tests.end_to_end.clone import free_port, server
from tests.pipelines.workspace import copy_with_store, inside

pytestmark = pytest.mark.slow
SIZE = (1440, 1000)


@pytest.fixture(scope="module")
def folder(workspace, tmp_path_factory):
    """A copy of the workspace with its store."""
    return copy_with_store(workspace, tmp_path_factory.mktemp("ui") / "copy")


@pytest.fixture(scope="module")
def url(folder):
    """Of `mlflow ui`, as a user would start it there."""
    port = free_port()
    command = ["mlflow", "ui", "--port", str(port), "--workers", "1"]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with server(folder, *command, url=f"http://127.0.0.1:{port}/health", settings=settings):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def compared(folder):
    """The id of the experiment, and the runs of the baseline and of the best trial."""
    with inside(folder):
        tuning = json.loads((folder / "reports/sample/tuning.json").read_text())
        runs = json.loads((folder / "models/sample/runs.json").read_text())
        (best,) = [trial for trial in tuning["trials"] if trial["trial"] == tuning["best"]["trial"]]
        found = [tracking.read_run(run_id) for run_id in (runs["baseline"], best["run_id"])]
    return found[0].info.experiment_id, found


def problems(seen) -> list[str]:
    """What a script of the page threw; MLflow tells the console of its own missing addresses."""
    return [problem for problem in seen.problems if problem.startswith(SCRIPT)]


def test_baseline_and_best_trial_have_the_same_parameters_and_scores_to_be_compared_by(compared):
    baseline, trial = compared[1]
    assert set(baseline.data.params) == set(trial.data.params)
    common = set(baseline.data.metrics) & set(trial.data.metrics)
    scores = {"selection/auc_roc", "selection/loss", "epoch/validation_auc_roc", "epoch/train_loss"}
    assert scores <= common
    assert baseline.data.tags["protocol"] == trial.data.tags["protocol"] == "leak_free"


def test_the_compare_page_shows_both_runs_and_the_parallel_coordinates(chromium, url, compared):
    experiment, found = compared
    ids = json.dumps([run.info.run_id for run in found], separators=(",", ":"))
    address = f"{url}#/compare-runs?runs={quote(ids)}&experiments={quote(json.dumps([experiment]))}"
    with opened(chromium, address, size=SIZE, allowed=url) as seen:
        page = seen.page
        page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
        chart = page.locator(".parcoords").first
        chart.wait_for()
        for run in found:
            page.get_by_text(run.info.run_name, exact=True).first.wait_for()
        axes = page.locator(".parcoords .axis-title").all_text_contents()
        assert axes
        assert set(axes) <= {*found[0].data.params, *found[0].data.metrics}
        page.get_by_text("history.csv").first.wait_for()  # which both have
        assert problems(seen) == []
        assert seen.blocked == []


def test_the_search_by_protocol_lists_the_runs(chromium, url, compared, folder):
    experiment, _ = compared
    with inside(folder):
        store = tracking.client()
        wanted = len(store.search_runs([experiment], "tags.protocol = 'leak_free'"))
        assert wanted == len(store.search_runs([experiment])) > 5
    address = f"{url}#/experiments/{experiment}/runs"
    with opened(chromium, address, size=SIZE, allowed=url) as seen:
        page = seen.page
        field = page.get_by_placeholder("metrics.rmse")
        field.fill("tags.protocol = 'leak_free'")
        field.press("Enter")
        page.get_by_text(f"{wanted} matching runs").wait_for()
        for name in ("baseline", "tuned"):
            page.get_by_role("link", name=name, exact=True).first.wait_for()
        field.fill("tags.protocol = 'paper'")
        field.press("Enter")
        page.get_by_text("0 matching runs").wait_for()
        assert problems(seen) == []
        assert seen.blocked == []
