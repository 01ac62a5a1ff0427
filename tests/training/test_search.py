from contextlib import contextmanager
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from melanoma.errors import TrainingError
from melanoma.training import search


class Log:
    """Remembers what a trial says; a tracker's run in small."""

    def __init__(self, number, params):
        self.number, self.params, self.epochs, self.tags = number, params, [], {}

    def log_epoch(self, epoch, scores):
        self.epochs.append(epoch)

    def set_tags(self, values):
        self.tags |= values


@pytest.fixture
def logs():
    return []


@pytest.fixture
def open_log(logs):
    @contextmanager
    def opened(number, params):
        logs.append(Log(number, params))
        yield logs[-1]

    return opened


@pytest.fixture
def tune(params, tmp_path):
    return params.tune.model_copy(
        update={"num_trials": 3, "max_depth": 2, "storage": str(tmp_path / "studies" / "s.journal")}
    )


@pytest.fixture
def baseline(params):
    return params.baseline.model_copy(update={"depth": 1})


@pytest.fixture
def run(params, bright_or_dark, settings, open_log):
    def run_trials(study, tune):
        small = params.model.model_copy(update={"filters": [2, 2], "dense_units": 2})
        search.run_trials(
            study,
            bright_or_dark,
            tune=tune,
            settings=replace(settings, num_epochs=2),
            model=small,
            augment=params.augment,
            open_log=open_log,
        )

    return run_trials


def test_trial_0_is_the_baseline_and_every_trial_has_its_log(tune, baseline, run, logs):
    study = search.open_study("s", tune, baseline)
    run(study, tune)
    assert study.trials[0].params == {"learning_rate": baseline.learning_rate, "depth": 1}
    assert study.trials[0].user_attrs["is_baseline"]
    assert [log.number for log in logs] == [0, 1, 2]
    assert [log.params for log in logs] == [trial.params for trial in study.trials]
    assert all(log.epochs == [1, 2] for log in logs)
    assert {log.tags["trial_state"] for log in logs} <= {"complete", "pruned"}


def test_parameters_stay_in_their_space(tune, baseline):
    study = search.open_study("s", tune, baseline)
    for _ in range(30):
        drawn = search.suggest(study.ask(), tune)
        assert tune.min_learning_rate <= drawn["learning_rate"] <= tune.max_learning_rate
        assert tune.min_depth <= drawn["depth"] <= tune.max_depth


def test_a_finished_study_runs_nothing_more(tune, baseline, run, logs):
    study = search.open_study("s", tune, baseline)
    run(study, tune)
    again = search.open_study("s", tune, baseline)
    run(again, tune)
    assert len(logs) == 3


def test_a_trial_that_a_kill_left_running_is_failed_and_tried_again(tune, baseline, run):
    study = search.open_study("s", tune, baseline)
    killed = study.ask()
    params = search.suggest(killed, tune)
    again = search.open_study("s", tune, baseline)
    assert again.trials[0].state is TrialState.FAIL
    run(again, tune)
    assert again.trials[1].params == params
    assert len(search.finished_trials(again)) == 3


def test_the_repeated_baseline_still_counts_as_the_baseline(tune, baseline, run):
    study = search.open_study("s", tune, baseline)
    search.suggest(study.ask(), tune)
    again = search.open_study("s", tune, baseline)
    run(again, tune)
    finished = [row for row in search.summarize(again)["trials"] if row["state"] == "complete"]
    assert [row["is_baseline"] for row in finished].count(True) == 1


def test_a_trial_killed_before_it_drew_anything_leaves_a_usable_study(tune, baseline, run):
    search.open_study("s", tune, baseline).ask()
    again = search.open_study("s", tune, baseline)
    run(again, tune)
    assert len(search.finished_trials(again)) == 3
    assert any(
        trial.params == {"learning_rate": baseline.learning_rate, "depth": 1}
        for trial in search.finished_trials(again)
    )


def test_the_summary_names_the_best_and_all_trials(tune, baseline, run):
    study = search.open_study("s", tune, baseline)
    run(study, tune)
    summary = search.summarize(study)
    values = [row["val_auc_roc"] for row in summary["trials"] if row["val_auc_roc"] is not None]
    assert summary["best"]["val_auc_roc"] == max(values)
    assert summary["num_finished"] == len(summary["trials"]) == 3


def test_trials_that_all_fail_stop_the_search_with_what_to_do(tune, baseline, run, monkeypatch):
    tune = tune.model_copy(update={"min_learning_rate": 0.9, "max_learning_rate": 0.99})
    study = search.open_study("s", tune, baseline.model_copy(update={"learning_rate": 0.95}))

    def fail(*_, **__):
        raise TrainingError("the loss is no number")

    monkeypatch.setattr(search, "fit", fail)
    with pytest.raises(TrainingError, match="3 trials of study s failed"):
        run(study, tune)


def test_trials_that_failed_in_earlier_calls_do_not_count(tune, baseline, run):
    study = search.open_study("s", tune, baseline)
    for _ in range(5):
        study.tell(study.ask(), state=TrialState.FAIL)
    run(study, tune)
    assert len(search.finished_trials(study)) == 3


@pytest.mark.parametrize("change", [{"data_digest": "b"}, {"batch_size": 16}])
def test_another_problem_has_another_name(change):
    problem = {"data_digest": "a", "batch_size": 32}
    assert search.study_name("ph2", problem) == search.study_name("ph2", dict(reversed(problem.items())))
    assert search.study_name("ph2", problem) != search.study_name("ph2", problem | change)
    assert search.study_name("ph2", problem).startswith("ph2-")


def test_a_database_url_is_taken_as_it_is(tune, baseline, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    search.open_study("s", tune.model_copy(update={"storage": url}), baseline)
    assert optuna.load_study(study_name="s", storage=url).trials
