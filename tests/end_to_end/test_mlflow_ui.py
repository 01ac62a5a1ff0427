"""MLflow's own pages, in a real browser: names, tags and metrics of our runs say something at once."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from melanoma import tracking, tracking_views
from tests.browser import SCRIPT, opened
from tests.end_to_end.mlflow_pages import served_pages
from tests.pipelines.workspace import copy_with_store, inside

pytestmark = pytest.mark.slow
SIZE = (1440, 1000)
MODEL = EXPERIMENT = "melanoma-sample"
SCORES = ["selection/auc_roc", "test/auc_roc", "test/sensitivity", "test/specificity"]


@pytest.fixture(scope="module")
def folder(workspace, tmp_path_factory):
    """A copy of the workspace with its store, in a folder with a space, and with a second version."""
    copy = copy_with_store(workspace, tmp_path_factory.mktemp("ui") / "my copy")
    (copy / ".dvc").mkdir()  # so that it counts as a project
    with inside(copy):
        store = tracking.client()
        (first,) = store.search_model_versions(f"name = '{MODEL}'")
        trials = json.loads(Path("reports/sample/tuning.json").read_text())["trials"]
        other = next(trial for trial in trials if trial["trial"] and trial["state"] == "complete")
        store.create_model_version(MODEL, first.source, run_id=other["run_id"])
    return copy


@pytest.fixture(scope="module")
def pages(folder):
    """The addresses that `make ui` prints, by title, while its server runs."""
    with served_pages(folder) as found:
        yield found


@pytest.fixture(scope="module")
def url(pages):
    """The address of the server."""
    return next(iter(pages.values())).partition("#")[0]


@pytest.fixture(scope="module")
def compared(folder):
    """The id of the experiment, and the runs of the baseline and of the best trial."""
    with inside(folder):
        tuning = json.loads((folder / "reports/sample/tuning.json").read_text())
        runs = json.loads((folder / "models/sample/runs.json").read_text())
        (best,) = [trial for trial in tuning["trials"] if trial["trial"] == tuning["best"]["trial"]]
        found = [tracking.read_run(run_id) for run_id in (runs["baseline"], best["run_id"])]
    return found[0].info.experiment_id, found


def column(page, key: str) -> list[str]:
    """The texts of a column of the runs table, from top to bottom."""
    page.locator(f'.ag-header-cell[col-id="{key}"]').wait_for()
    cells = page.locator(f'[role="row"][row-index] [role="gridcell"][col-id="{key}"]')
    cells.first.wait_for()
    rows = cells.evaluate_all(
        "cells => cells.map(cell => [+cell.closest('[row-index]').getAttribute('row-index'), cell.innerText])"
    )
    return [text.strip() for _, text in sorted(rows)]


def problems(seen) -> list[str]:
    """What a script of the page threw; MLflow tells the console of its own missing addresses."""
    return [problem for problem in seen.problems if problem.startswith(SCRIPT)]


def test_baseline_and_best_trial_have_the_same_parameters_and_scores_to_be_compared_by(compared):
    baseline, trial = compared[1]
    assert set(baseline.data.params) == set(trial.data.params)
    common = set(baseline.data.metrics) & set(trial.data.metrics)
    scores = {"selection/auc_roc", "selection/loss", "epoch/holdout_auc_roc", "epoch/train_loss"}
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


def test_the_printed_page_of_a_cohort_shows_scores_best_first_and_the_note(chromium, url, pages, compared):
    baseline = compared[1][0]
    with opened(chromium, pages[EXPERIMENT], size=(1900, 1000), allowed=url) as seen:
        page = seen.page
        page.get_by_text("Compare networks by").first.wait_for()
        page.get_by_role("link", name="baseline", exact=True).first.wait_for()
        shown = {name: column(page, f"metrics.`{name}`") for name in SCORES}
        selection = [float(text.rstrip("…")) for text in shown["selection/auc_roc"] if text != "-"]
        assert len(selection) > 5
        assert selection == sorted(selection, reverse=True)
        row = shown["test/sensitivity"].index(
            str(baseline.data.metrics["test/sensitivity"]).removesuffix(".0")
        )
        assert shown["test/auc_roc"][row] != "-"
        assert column(page, "params.`learning_rate`")
        page.get_by_role("button", name="Results").first.wait_for()
        assert problems(seen) == []
        assert seen.blocked == []


@pytest.mark.parametrize(
    ("experiment", "key"),
    [
        ("melanoma-data", "metrics.`data/num_accepted`"),
        ("registry-ledger", "tags.`kind`"),
        ("melanoma-reports", "tags.`cohorts`"),
    ],
)
def test_the_other_experiments_have_a_note_and_columns_of_their_own(chromium, url, pages, experiment, key):
    note = tracking_views.NAMED[experiment].note.partition(",")[0]
    with opened(chromium, pages[experiment], size=SIZE, allowed=url) as seen:
        seen.page.get_by_text(note).first.wait_for()
        assert "-" not in column(seen.page, key)
        assert problems(seen) == []


def test_baseline_and_best_trial_are_compared_by_scores_and_by_the_parameters_that_differ(
    chromium, url, pages, compared
):
    first, second = (run.data.params for run in compared[1])
    with opened(chromium, pages[f"{EXPERIMENT}: baseline and best trial"], size=SIZE, allowed=url) as seen:
        page = seen.page
        page.get_by_text("2 matching runs").wait_for()
        assert "-" not in column(page, "metrics.`selection/auc_roc`")
        assert column(page, "metrics.`test/auc_roc`").count("-") == 1  # trials have no test scores
        for name in ("learning_rate", "depth"):
            is_shown = page.locator(f'.ag-header-cell[col-id="params.`{name}`"]').count() == 1
            assert is_shown == (first[name] != second[name])
        assert problems(seen) == []


@pytest.mark.parametrize("title", ["baseline and tuned", "two best trials"])
def test_other_comparisons_show_two_runs_with_scores(chromium, url, pages, title):
    with opened(chromium, pages[f"{EXPERIMENT}: {title}"], size=SIZE, allowed=url) as seen:
        seen.page.get_by_text("2 matching runs").wait_for()
        assert "-" not in column(seen.page, "metrics.`selection/auc_roc`")
        assert problems(seen) == []


def test_two_versions_are_compared_with_their_scores(chromium, url, pages):
    with opened(chromium, pages[f"{MODEL}: versions 1 and 2"], size=SIZE, allowed=url) as seen:
        page = seen.page
        page.get_by_text("Comparing 2 Versions").first.wait_for()
        for name in ("learning_rate", "selection/auc_roc", "test/auc_roc"):  # which differ
            page.get_by_text(name, exact=True).first.wait_for()
        assert problems(seen) == []


def test_the_start_page_lists_the_experiments(chromium, url, pages):
    with opened(chromium, url, size=SIZE, allowed=url) as seen:
        for name in (EXPERIMENT, "melanoma-data", "registry-ledger"):
            seen.page.get_by_role("link", name=name, exact=True).first.wait_for()
        assert problems(seen) == []
