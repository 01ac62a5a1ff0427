import base64
import json
import zlib
from urllib.parse import parse_qs, unquote

import pytest

from melanoma import tracking_views as views
from melanoma.tracking_fields import NOTE_TAG

COHORT = "melanoma-ph2"
VIEW_TAG = "mlflow.sharedViewState.melanoma"


def state_of(saved: str) -> dict:
    """What MLflow's page reads from the tag of a saved view."""
    head, _, packed = json.loads(saved)["state"].partition(";")
    assert head == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_saved_view_of_a_cohort_shows_seven_columns_sorted_by_the_metric_that_selects():
    saved = views.missing_tags(COHORT, {})[VIEW_TAG]
    assert {key: type(value) for key, value in json.loads(saved).items()} == {
        "name": str,
        "createdAt": int,
        "updatedAt": int,
        "state": str,
    }
    state = state_of(saved)
    assert state["orderByKey"] == "metrics.`selection/auc_roc`"
    assert state["orderByAsc"] is False
    assert len(state["selectedColumns"]) == 7
    assert state["selectedColumns"][:2] == ["metrics.`selection/auc_roc`", "metrics.`test/auc_roc`"]
    assert "params.`learning_rate`" in state["selectedColumns"]


@pytest.mark.parametrize("name", [COHORT, *views.NAMED])
def test_every_experiment_has_a_note_that_says_how_to_open_the_view(name):
    tags = views.missing_tags(name, {})
    assert "make ui" in tags[NOTE_TAG]
    assert f"*{views.VIEW_NAME}*" in tags[NOTE_TAG]
    assert all(len(value) <= 5000 for value in tags.values())  # room in MLflow's table


@pytest.mark.parametrize("name", [COHORT, "melanoma-study"])
def test_notes_of_networks_say_by_what_to_compare_and_that_older_runs_have_other_names(name):
    note = views.missing_tags(name, {})[NOTE_TAG]
    assert "selection/auc_roc" in note
    assert "Older runs keep the metric names" in note


def test_experiments_of_others_get_no_note():
    assert views.missing_tags("Default", {}) == {}


def test_an_experiment_that_has_both_needs_nothing():
    assert views.missing_tags(COHORT, views.missing_tags(COHORT, {})) == {}


@pytest.mark.parametrize("name", [NOTE_TAG, VIEW_TAG])
def test_a_text_of_ours_is_replaced_and_one_of_a_person_is_kept(name):
    # As an earlier version of this project left it: another text, with its digest.
    before = views.missing_tags("melanoma-data", {})
    assert name in views.missing_tags(COHORT, before)
    for text in ("My own words.", ""):
        assert name not in views.missing_tags(COHORT, before | {name: text})


def test_a_note_that_was_there_before_ours_is_kept():
    assert NOTE_TAG not in views.missing_tags(COHORT, {NOTE_TAG: "My own words."})


def test_a_comparison_shows_its_runs_with_scores_and_the_parameters_that_differ():
    tags = views.comparison_tags("two best trials", ["a", "b"], ["depth"], {})
    saved = tags["mlflow.sharedViewState.melanoma-two-best-trials"]
    assert json.loads(saved)["name"] == "Two best trials"
    state = state_of(saved)
    assert state["searchFilter"] == "attributes.run_id IN ('a', 'b')"
    assert state["selectedColumns"] == [*map(views.metric, views.SCORES), "params.`depth`"]
    assert views.comparison_tags("two best trials", ["a", "b"], ["depth"], tags) == {}
    assert views.comparison_tags("two best trials", ["a", "c"], ["depth"], tags) != {}


def test_addresses_hold_what_the_pages_read():
    server = "http://127.0.0.1:5000"
    assert views.runs_page(server, "7") == (
        f"{server}/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=melanoma"
    )
    address = views.version_comparison_page(server, "my model", {"1": "a", "2": "b"})
    query = parse_qs(address.partition("?")[2])
    assert unquote(json.loads(query["name"][0])) == "my model"
    assert json.loads(query["runs"][0]) == {"1": "a", "2": "b"}
    assert views.model_page(server, "a/b").startswith(f"{server}/#/models/a%2Fb?")
    assert " " not in address
