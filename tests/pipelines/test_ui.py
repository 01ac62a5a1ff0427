import json
import re
from urllib.parse import parse_qs

import pytest
from mlflow.exceptions import MlflowException

from melanoma import tracking, tracking_views
from melanoma.stages import presentation, ui
from melanoma.tracking_fields import NOTE_TAG
from pipelines import _cli
from pipelines import ui as script
from tests.registry.shelf import NAME
from tests.test_tracking_views import state_of

SERVER = "http://127.0.0.1:5000"


def finished(name, tags=None, parent_id=None):
    with tracking.open_run(experiment=NAME, name=name, tags=tags or {}, parent_id=parent_id) as run:
        pass
    return run.run_id


@pytest.fixture
def results(shelf):
    """The runs of one search and of the networks trained after it."""
    search = finished("tune", tags={"objective": "auc_roc"})
    trials = {}
    for number, auc in enumerate((0.7, 0.9, 0.8)):
        state = {"state": "complete" if number else "pruned"}
        trials[number] = finished(f"trial {number}", tags=state, parent_id=search)
        tracking.resume_run(trials[number]).log_metrics({"selection/auc_roc": auc})
    tags = {"tuning_run_id": search}
    return trials | {name: finished(name, tags=tags) for name in ("baseline", "tuned")}


def compared() -> dict[str, list]:
    """Which runs each saved view compares, and by which columns, by title of its link."""
    store, found = tracking.client(), {}
    for link in ui.find_links(SERVER):
        page, _, view = link.address.partition("viewStateShareKey=melanoma-")
        if view:
            (number,) = re.findall(r"experiments/(\d+)/runs", page)
            tags = store.get_experiment(number).tags
            state = state_of(tags[f"mlflow.sharedViewState.melanoma-{view}"])
            ids = re.findall(r"'(\w+)'", state["searchFilter"])
            found[link.title] = [
                ids,
                [name for name in state["selectedColumns"] if name.startswith("params")],
            ]
    return found


def test_pages_of_experiments_come_first_and_those_of_cohorts_before_them(results):
    with tracking.open_run(experiment="melanoma-data", name="n", tags={}):
        pass
    links = ui.find_links(SERVER)
    assert [link.title for link in links[:2]] == [NAME, "melanoma-data"]
    assert all(link.address.startswith(f"{SERVER}/#/") for link in links)
    assert "viewStateShareKey=melanoma" in links[0].address


def test_baseline_tuned_and_the_best_completed_trials_are_compared(results):
    tracking.resume_run(results["tuned"]).log_params({"train.seed": 1, "depth": 3, "same": 1})
    tracking.resume_run(results["baseline"]).log_params({"train.seed": 2, "depth": 4, "same": 1})
    found = compared()
    assert found[f"{NAME}: baseline and tuned"] == [
        [results["baseline"], results["tuned"]],
        ["params.`depth`", "params.`train.seed`"],
    ]
    assert found[f"{NAME}: baseline and best trial"][0] == [results["baseline"], results[1]]
    assert found[f"{NAME}: two best trials"][0] == [results[1], results[2]]


def test_trials_of_older_runs_are_not_compared_because_they_have_other_metric_names(shelf):
    search = finished("tune", tags={"objective": "auc_roc"})
    for auc in (0.7, 0.9):
        run_id = finished("trial", tags={"state": "complete"}, parent_id=search)
        tracking.resume_run(run_id).log_metrics({"best_val_auc_roc": auc})
    finished("baseline", tags={"tuning_run_id": search})
    assert compared() == {}


def test_a_later_training_is_compared_instead(results):
    compared()
    later = finished("tuned")
    assert compared()[f"{NAME}: baseline and tuned"][0] == [results["baseline"], later]


def test_where_there_is_no_baseline_nothing_is_compared(shelf):
    finished("tune")
    assert compared() == {}


def test_the_two_newest_versions_of_a_model_are_compared(shelf):
    shelf.register()
    (page,) = [link for link in ui.find_links(SERVER) if NAME in link.title]
    assert page.address.startswith(f"{SERVER}/#/models/{NAME}")
    shelf.register()
    shelf.register()
    (page,) = [link for link in ui.find_links(SERVER) if NAME in link.title]
    assert page.title == f"{NAME}: versions 2 and 3"
    assert "/#/compare-model-versions?" in page.address
    store = tracking.client()
    assert json.loads(parse_qs(page.address.partition("?")[2])["runs"][0]) == {
        number: store.get_model_version(NAME, number).run_id for number in ("2", "3")
    }


def test_without_runs_it_says_how_to_make_some(shelf, capsys):
    assert _cli.run(script.main, ["--no-browser"]) == 1
    assert "There are no runs yet. Run `make demo` first." in capsys.readouterr().err


def test_the_pages_of_a_server_are_printed_and_none_is_started(results, capsys, monkeypatch):
    links = ui.find_links("http://tracking:5000")
    monkeypatch.setattr(ui, "find_links", lambda server: links if server == "http://tracking:5000" else [])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000/")
    assert _cli.run(script.main, ["--no-browser"]) == 0
    out = capsys.readouterr().out
    assert all(link.address in out for link in links)
    assert "starting" not in out


@pytest.mark.parametrize(("display", "options"), [("", []), (":0", ["--no-browser"]), (":0", [])])
def test_the_browser_opens_on_the_first_page_where_there_is_a_display(monkeypatch, display, options):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(ui, "find_links", lambda server: [ui.Link("a", f"{server}/a"), ui.Link("b", "b")])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert _cli.run(script.main, options) == 0
    assert opened == (["http://tracking:5000/a"] if display and not options else [])


def test_a_server_that_is_down_is_named(shelf, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert _cli.run(script.main, ["--no-browser"]) == 1
    assert "The tracking store http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_a_store_that_refuses_notes_loses_only_them(shelf, capsys, monkeypatch):
    def refuse(*args):
        raise MlflowException("permission denied")

    finished("baseline")
    monkeypatch.setattr("mlflow.MlflowClient.set_experiment_tag", refuse)
    (link, *_) = ui.find_links(SERVER)
    assert link.title == NAME
    said = capsys.readouterr().err
    assert f"warning: The tracking store failed while notes and saved views of {NAME} were written" in said


def test_trials_are_compared_by_the_objective_of_their_search(shelf):
    search = finished("tune", tags={"objective": "average_precision"})
    runs = {}
    for precision, auc in ((0.9, 0.6), (0.8, 0.9), (0.7, 0.8)):
        runs[precision] = finished("trial", tags={"state": "complete"}, parent_id=search)
        scores = {"selection/average_precision": precision, "selection/auc_roc": auc}
        tracking.resume_run(runs[precision]).log_metrics(scores)
    finished("baseline", tags={"tuning_run_id": search})
    assert compared()[f"{NAME}: two best trials"][0] == [runs[0.9], runs[0.8]]


def test_experiments_with_runs_get_the_notes_that_they_lack(shelf):
    store = tracking.client()
    for name in (NAME, "melanoma-isic"):
        store.create_experiment(name)  # as an earlier version of this project did
    finished("baseline")
    (found,) = presentation.present_experiments()
    assert found.name == NAME
    tags = store.get_experiment(found.experiment_id).tags
    assert tracking_views.missing_tags(NAME, tags) == {}
    store.set_experiment_tag(found.experiment_id, NOTE_TAG, "My own words.")
    presentation.present_experiments()
    assert store.get_experiment(found.experiment_id).tags[NOTE_TAG] == "My own words."
