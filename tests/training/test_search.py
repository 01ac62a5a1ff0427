from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from melanoma.config.tuning import Choices, Starts
from melanoma.data.packed import Part
from melanoma.errors import DataError, TrainingError, WorkerError
from melanoma.training import search, studies
from melanoma.training.recipe import Arrays, require_both_classes
from melanoma.training.search import Outcome
from melanoma.training.studies import finished_trials, open_study
from tests.training.studying import Runs, open_threads


@pytest.fixture
def tune(params, tmp_path):
    """Four trials over learning rate, depth and optimizer; nothing is pruned."""
    space = params.tune.space.model_copy(update={"optimizer": Choices(choices=["adam", "sgd"])})
    changes = {
        "num_trials": 4,
        "num_startup_trials": 2,
        "space": space,
        "storage": str(tmp_path / "s.journal"),
    }
    return params.tune.model_copy(update=changes)


@pytest.fixture
def baseline(params):
    return params.baseline


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def begin(tune, baseline):
    """Open the study anew, as every start of the script does."""

    def opened(*, backbone=None, **changes):
        starts = Starts(baseline, backbone)
        return open_study("s", {"data": "a"}, tune.model_copy(update=changes), starts=starts)

    return opened


@pytest.fixture
def run(tune, baseline, runs):
    def run_trials(study, worker, *, num_slots=1, say=print, backbone=None, **changes):
        search.run_trials(
            study,
            open_threads(worker, num_slots),
            tune=tune.model_copy(update=changes),
            starts=Starts(baseline, backbone),
            runs=runs,
            say=say,
        )

    return run_trials


def score(asked):
    """The best learning rate is 1e-3, and deeper is better."""
    distance = abs(np.log10(asked.hyperparameters.learning_rate) + 3)
    return float(asked.hyperparameters.depth / 10 - distance / 10)


def succeed(asked):
    return Outcome("complete", score(asked), facts={"duration_seconds": 1.5})


def noting(asked, worker=succeed):
    """The worker, which also notes what it was asked."""

    def work(task):
        asked.append(task)
        return worker(task)

    return work


def at_trial(numbers, error):
    """A worker that raises `error` in the trials with these numbers."""

    def worker(asked):
        if asked.number in numbers:
            raise error
        return succeed(asked)

    return worker


def drawn(study):
    """What the trials that count have drawn, in their order."""
    return [trial.params for trial in finished_trials(study)]


def numbers(study, state):
    return [trial.number for trial in study.trials if trial.state is state]


@pytest.mark.parametrize("num_slots", [1, 3, 9])
def test_as_many_trials_finish_as_are_wanted_whatever_the_number_of_workers(begin, run, runs, num_slots):
    study = begin()
    run(study, succeed, num_slots=num_slots)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert runs.begun == [0, 1, 2, 3]
    assert runs.states == dict.fromkeys(range(4), "COMPLETE")


def test_the_first_trial_is_the_baseline(begin, run, baseline):
    asked: list[search.Asked] = []
    run(begin(), noting(asked))
    assert asked[0].hyperparameters == baseline
    assert [task.can_prune for task in asked] == [False, True, True, True]


def test_the_worker_gets_what_was_drawn_and_the_baselines_values_of_all_else(begin, run, baseline):
    study = begin()
    asked: list[search.Asked] = []
    run(study, noting(asked))
    for task, trial in zip(asked, study.trials, strict=True):
        expected = baseline.model_dump() | trial.params
        assert task.hyperparameters.model_dump() == expected
        assert set(trial.params) == {"learning_rate", "depth", "optimizer"}
        assert trial.user_attrs["run_id"] == task.run_id == f"run {trial.number}"


def test_value_and_facts_are_kept_with_the_trial(begin, run):
    study = begin()
    run(study, succeed)
    assert study.trials[0].value == pytest.approx(0.3 - abs(np.log10(5e-4) + 3) / 10)
    assert study.trials[0].user_attrs["duration_seconds"] == 1.5


def test_with_one_worker_the_same_seed_gives_the_same_trials(begin, run, tmp_path):
    studies = []
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        changes = {"storage": str(tmp_path / name), "seed": seed, "num_trials": 7}
        studies.append(begin(**changes))
        run(studies[-1], succeed, **changes)
    same, again, other = map(drawn, studies)
    assert same == again
    assert same[0] == other[0]  # the baseline
    assert all(one != another for one, another in zip(same[1:], other[1:], strict=True))


def test_no_trial_is_drawn_twice(begin, run):
    run(begin(), succeed, num_trials=2)
    study = begin()
    run(study, succeed, num_trials=9)
    rates = [params["learning_rate"] for params in drawn(study)]
    assert len(set(rates)) == 9


def test_more_trials_go_on_with_the_study(begin, run, runs):
    run(begin(), succeed, num_trials=2)
    run(begin(), succeed, num_trials=5)
    assert runs.begun == [0, 1, 2, 3, 4]


def test_a_study_that_is_complete_starts_no_worker(begin, run):
    run(begin(), succeed)
    run(begin(), at_trial(range(99), AssertionError("not one more")))


@pytest.mark.parametrize("stopped", [0, 1, 3])
def test_a_search_that_was_stopped_draws_what_it_would_have_drawn(begin, run, tmp_path, stopped):
    whole = begin(storage=str(tmp_path / "whole"), num_trials=6)
    run(whole, succeed, num_trials=6, storage=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        run(begin(), at_trial({stopped}, KeyboardInterrupt()), num_trials=6)
    study = begin()
    run(study, succeed, num_trials=6)
    assert drawn(study) == drawn(whole)


def test_a_trial_that_a_stop_interrupted_is_marked_and_comes_first_next_time(begin, run, runs):
    with pytest.raises(KeyboardInterrupt):
        run(begin(), at_trial({1, 2}, KeyboardInterrupt()), num_slots=2)
    study = begin()
    interrupted = numbers(study, TrialState.FAIL)
    assert numbers(study, TrialState.RUNNING) == []
    assert all(study.trials[number].user_attrs["error"] == studies.INTERRUPTED for number in interrupted)
    assert all(runs.states[number] == "FAIL" for number in interrupted)
    run(study, succeed)
    for number in interrupted:
        (again,) = [trial for trial in study.trials if trial.user_attrs.get("repeats") == number]
        assert again.params == study.trials[number].params
        assert again.state is TrialState.COMPLETE


def test_a_kill_leaves_trials_running_and_the_next_start_takes_them_up_however_often(begin, run, baseline):
    for _ in range(3):
        study = begin()
        search.put_back(study)
        study.ask()  # and the process is killed
    study = begin()
    run(study, succeed)
    assert len(finished_trials(study)) == 4
    (first,) = [trial for trial in finished_trials(study) if trial.user_attrs.get("is_baseline")]
    assert first.params["depth"] == baseline.depth
    assert numbers(study, TrialState.FAIL) == [0, 1, 2]


def test_a_kill_while_a_trial_is_put_back_does_not_enqueue_it_twice(begin, run, monkeypatch):
    study = begin()
    study.ask()

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study, "tell", die)
        search.put_back(study)
    search.put_back(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_was_killed_before_it_drew_anything_is_not_repeated(begin, run):
    study = begin()
    run(study, succeed, num_trials=1)
    study.ask()
    run(study, succeed)
    assert numbers(study, TrialState.FAIL) == [1]
    assert len(study.trials) == 5


def test_a_failed_trial_is_kept_with_its_error_and_does_not_count(begin, run, runs):
    def worker(asked):
        if asked.number in {1, 2}:
            return Outcome("failed", error="the loss is nan", facts={"duration_seconds": 0.5})
        return succeed(asked)

    study = begin()
    run(study, worker)
    assert numbers(study, TrialState.FAIL) == [1, 2]
    assert study.trials[1].user_attrs["error"] == "the loss is nan"
    assert len(finished_trials(study)) == 4
    assert not any("repeats" in trial.user_attrs for trial in study.trials)
    assert runs.states[2] == "FAIL"


def test_a_pruned_trial_counts(begin, run):
    def worker(asked):
        return Outcome("pruned") if asked.number == 2 else succeed(asked)

    study = begin()
    run(study, worker)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]


def test_trials_that_all_fail_stop_the_search_with_what_they_say(begin, run):
    def worker(asked):
        return Outcome("failed", error=f"too deep: {asked.hyperparameters.depth}")

    study = begin()
    with pytest.raises(TrainingError, match=r"4 trials of study s failed.*trial 0: too deep: 3, trial 1"):
        run(study, worker)
    assert numbers(study, TrialState.FAIL) == [0, 1, 2, 3]


def test_one_wanted_trial_may_fail_twice_but_not_three_times(begin, run):
    def fail_until(last):
        return lambda asked: succeed(asked) if asked.number == last else Outcome("failed", error="nan")

    with pytest.raises(TrainingError, match="3 trials"):
        run(begin(), fail_until(9), num_trials=1)
    run(begin(), fail_until(5), num_trials=1)  # failures of an earlier call do not count: 3 and 4 fail


def test_the_trial_of_a_worker_that_died_is_tried_again_once(begin, run, runs):
    study = begin()
    run(study, at_trial({1}, WorkerError("killed")))
    lost, again = study.trials[1], study.trials[2]
    assert lost.state is TrialState.FAIL
    assert lost.user_attrs["error"] == "killed"
    assert again.user_attrs["retry_of"] == 1
    assert again.params == lost.params
    assert again.state is TrialState.COMPLETE
    assert [trial.state for trial in study.trials].count(TrialState.COMPLETE) == 4
    assert len(study.trials) == 5
    assert runs.begun == [0, 1, 2, 3, 4]


def test_a_trial_that_kills_its_worker_twice_stays_failed(begin, run):
    study = begin()
    run(study, at_trial({1, 2}, WorkerError("killed")))
    assert numbers(study, TrialState.FAIL) == [1, 2]
    assert study.trials[3].params != study.trials[1].params
    assert len(finished_trials(study)) == 4


def test_a_baseline_whose_worker_died_is_still_the_baseline(begin, run, baseline):
    study = begin()
    asked: list[search.Asked] = []
    run(study, noting(asked, at_trial({0}, WorkerError("killed"))))
    assert [task.can_prune for task in asked] == [False, False, True, True, True]
    assert asked[1].hyperparameters == baseline


def test_a_retry_that_a_stop_interrupts_is_not_tried_a_third_time_after_another_death(begin, run):
    def worker(asked):
        raise {1: WorkerError("killed"), 2: KeyboardInterrupt(), 3: WorkerError("killed again")}[asked.number]

    def first_worker(asked):
        return succeed(asked) if asked.number in {0, 4, 5, 6} else worker(asked)

    with pytest.raises(KeyboardInterrupt):
        run(begin(), first_worker)
    study = begin()
    run(study, first_worker)
    assert study.trials[3].user_attrs["retry_of"] == 1
    assert numbers(study, TrialState.FAIL) == [1, 2, 3]
    assert len(study.trials) == 7


def test_an_error_that_is_not_the_trials_own_stops_the_search_and_leaves_it_usable(begin, run):
    with pytest.raises(DataError, match="packed anew"):
        run(begin(), at_trial({1}, DataError("packed anew")))
    study = begin()
    assert numbers(study, TrialState.RUNNING) == []
    run(study, succeed)
    assert len(finished_trials(study)) == 4


def test_a_tracker_that_breaks_as_a_trial_begins_leaves_no_trial_running(begin, run, runs, monkeypatch):
    def fail(_):
        raise DataError("no tracker")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="no tracker"):
        patch.setattr(runs, "begin", fail)
        run(begin(), succeed)
    study = begin()
    assert numbers(study, TrialState.RUNNING) == []
    run(study, succeed)
    assert study.trials[1].user_attrs["is_baseline"]


def test_a_storage_that_goes_down_during_the_search_is_named(begin, run, runs, monkeypatch):
    def fail(_):
        raise optuna.exceptions.StorageInternalError("the server closed the connection")

    monkeypatch.setattr(runs, "begin", fail)
    with pytest.raises(TrainingError, match=r"s.journal does not answer: the server closed the connection"):
        run(begin(), succeed)


def test_each_trial_that_ends_has_a_line(begin, run):
    def worker(asked):
        ends = {1: Outcome("pruned"), 2: Outcome("failed", error="nan")}
        return ends.get(asked.number) or Outcome("complete", 0.75)

    lines: list[str] = []
    run(begin(), worker, say=lines.append, num_trials=3)
    assert lines[0] == "trial 0 with learning_rate 0.0005, depth 3, optimizer adam: auc_roc 0.750"
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "pruned after 0 epochs",
        "failed (nan)",
        "auc_roc 0.750",
    ]


@pytest.fixture
def wide(params):
    """What a wide search changes: two families, each with its own start."""
    rows = {"family": Choices(choices=["conv_blocks", "efficientnet_lite"]), "depth": None}
    space = params.tune.space.model_copy(update=rows)
    return {"space": space, "wide": True, "num_trials": 8, "backbone": params.backbone}


def test_a_wide_search_begins_with_baseline_and_backbone_which_no_pruner_stops(begin, run, wide, params):
    asked: list[search.Asked] = []
    run(begin(**wide), noting(asked, lambda _: Outcome("complete", 0.5)), **wide)
    assert [task.hyperparameters for task in asked[:2]] == [params.baseline, params.backbone]
    assert [task.can_prune for task in asked] == [False] * 2 + [True] * 6


def test_a_trial_of_a_family_starts_from_the_baseline_of_that_family_else_from_the_backbone(
    begin, run, wide, params
):
    asked: list[search.Asked] = []
    run(begin(**wide), noting(asked, lambda _: Outcome("complete", 0.5)), **wide)
    starts = {"conv_blocks": params.baseline, "efficientnet_lite": params.backbone}
    drawn = [task.hyperparameters for task in asked]
    assert {one.family for one in drawn[2:]} == set(starts)
    for one in drawn:
        expected = starts[one.family].model_copy(update={"learning_rate": one.learning_rate})
        assert one == expected


def minutes_long(monkeypatch, minutes):
    """Each trial seems to have taken so many minutes; the clock is that of finished trials."""
    monkeypatch.setattr(search, "minutes_spent", lambda trials: minutes * len(finished(trials)))


def finished(trials):
    return [trial for trial in trials if trial.state.is_finished()]


def test_a_search_begins_no_trial_after_its_time_and_goes_on_if_given_more(begin, run, monkeypatch):
    minutes_long(monkeypatch, 10)
    study = begin()
    run(study, succeed, max_minutes=25)
    assert len(finished_trials(study)) == 3  # the third began after 20 minutes
    run(begin(), succeed, max_minutes=25)
    assert len(finished_trials(study)) == 3
    run(begin(), succeed, max_minutes=35)
    assert len(finished_trials(study)) == 4


def test_trials_that_run_when_the_time_is_over_are_finished(begin, run, monkeypatch):
    minutes_long(monkeypatch, 10)
    study = begin()
    run(study, succeed, num_slots=3, max_minutes=5)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3


def test_baseline_and_backbone_are_tried_whatever_the_time(begin, run, wide, monkeypatch):
    minutes_long(monkeypatch, 10)
    study = begin(**wide)
    run(study, lambda _: Outcome("complete", 0.5), **wide, max_minutes=1)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2


@pytest.mark.parametrize(("split", "name"), [("train", "training part"), ("holdout", "hold-out")])
def test_one_class_is_refused_before_any_trial(split, name):
    images = np.zeros((4, 2, 2, 3), np.uint8)
    both = Part(images, np.arange(4), np.array([0, 1, 0, 1], np.float32), image_ids=np.array(list("abcd")))
    arrays = Arrays(both, both)
    require_both_classes(arrays)
    one = replace(both, targets=np.zeros(4, np.float32))
    with pytest.raises(
        TrainingError, match=(f"The {name} has 4 images of at most one class.* need both classes")
    ):
        require_both_classes(replace(arrays, **{split: one}))
