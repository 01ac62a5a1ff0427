import shutil

import optuna
import pytest
from optuna.trial import TrialState

from melanoma import tracking
from melanoma.config.tuning import Starts
from melanoma.stages.trial_runs import TrialRuns
from melanoma.training import search
from tests.pipelines.workspace import inside


@pytest.fixture(scope="module")
def store(empty_store, tmp_path_factory):
    """One for all tests."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    with inside(folder):
        yield


@pytest.fixture
def parent(store):
    with tracking.open_run(experiment="e", name="tune", tags={}) as run:
        yield run


@pytest.fixture
def runs(parent, params):
    described = {"train": {"num_epochs": 2}}
    return TrialRuns(parent, {"cohort": "toy"}, "auc_roc", Starts(params.baseline), lambda _: described)


@pytest.fixture
def study():
    made = optuna.create_study(study_name="s", direction="maximize")
    made.enqueue_trial({"depth": 3}, user_attrs={"is_baseline": True})
    return made


def begin(study, runs=None):
    """A trial that has drawn its depth; with its run, when there are runs."""
    trial = study.ask()
    trial.suggest_int("depth", 1, 5)
    if runs is not None:
        trial.set_user_attr(search.RUN_ID, runs.begin(study.trials[trial.number]))
    return trial


@pytest.fixture
def ended(study, runs, parent):
    """The run of a trial that ended in a state."""

    def end(state, value, **facts):
        trial = begin(study, runs)
        for name, fact in facts.items():
            trial.set_user_attr(name, fact)
        study.tell(trial, value, state=state)
        runs.end(study.trials[0])
        return stored(parent)[0]

    return end


def stored(parent):
    """The run of each trial, by its number; no trial may have two."""
    store = tracking.client()
    found = [store.get_run(child.run.run_id) for child in tracking.children(parent)]
    assert len({run.data.tags["trial"] for run in found}) == len(found)
    return {int(run.data.tags["trial"]): run for run in found}


def test_a_trial_that_begins_has_an_open_run_with_all_hyperparameters(study, runs, parent, params):
    begin(study, runs)
    run = stored(parent)[0]
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "trial 0 (baseline)"
    assert run.data.tags["cohort"] == "toy"
    note = "Trial 0 of the hyperparameter search, the baseline: depth 3."
    assert run.data.tags["mlflow.note.content"] == note
    chosen = params.baseline.model_dump(exclude_none=True)
    assert run.data.params == {key: str(value) for key, value in chosen.items()} | {
        "train.num_epochs": "2"
    }  # which all trials share, under the name that trained networks give it


@pytest.mark.parametrize(
    ("state", "value", "status"),
    [
        (TrialState.COMPLETE, 0.75, "FINISHED"),
        (TrialState.PRUNED, None, "FINISHED"),
        (TrialState.FAIL, None, "FAILED"),
    ],
)
def test_a_run_ends_as_its_trial_did(ended, state, value, status):
    run = ended(state, value)
    assert run.info.status == status
    assert run.data.tags["state"] == {"FAIL": "failed"}.get(state.name, state.name.lower())
    assert run.data.metrics == ({"selection/auc_roc": 0.75} if value else {})


def test_a_run_says_where_its_trial_ran_how_long_and_why_it_failed(ended):
    facts = {"device_name": "a device", "duration_seconds": 1.5, "error": "the loss is nan"}
    tags = ended(TrialState.FAIL, None, **facts).data.tags
    assert {name: tags[name] for name in facts} == {name: str(fact) for name, fact in facts.items()}


def test_the_run_of_a_trial_that_was_put_back_is_killed(study, runs, parent):
    begin(study, runs)
    search.put_back(study)
    runs.reconcile(study.trials)
    assert stored(parent)[0].info.status == "KILLED"
    assert list(stored(parent)) == [0]  # the one that waits has none yet


def test_a_run_whose_id_a_kill_kept_from_the_study_is_found_again(study, runs, parent):
    begin(study)
    known = runs.begin(study.trials[0])
    search.put_back(study)
    runs.reconcile(study.trials)
    assert runs.ids() == {0: known}
    assert stored(parent)[0].info.status == "KILLED"


def test_trials_without_a_run_get_one_with_what_the_study_knows(study, runs, parent):
    trial = begin(study)
    trial.report(0.5, 1)
    trial.report(0.75, 2)
    study.tell(trial, 0.75)
    runs.reconcile(study.trials)
    run = stored(parent)[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["state"] == "complete"
    assert run.data.params["depth"] == "3"
    epochs = tracking.client().get_metric_history(run.info.run_id, "epoch/holdout_auc_roc")
    assert [(entry.step, entry.value) for entry in epochs] == [(1, 0.5), (2, 0.75)]


def test_a_second_reconciliation_changes_nothing(study, runs, parent):
    study.tell(begin(study, runs), 0.5)
    study.tell(begin(study), 0.6)
    runs.reconcile(study.trials)
    before = {number: run.to_dictionary() for number, run in stored(parent).items()}
    runs.reconcile(study.trials)
    assert {number: run.to_dictionary() for number, run in stored(parent).items()} == before
