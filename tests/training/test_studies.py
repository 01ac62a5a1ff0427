import json
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState

from melanoma.config.tuning import Choices, FloatRange, Starts
from melanoma.errors import TrainingError
from melanoma.training import spaces, studies
from melanoma.training.storages import open_storage

PROBLEM = {"data_digest": "a", "model": {"family": "conv_blocks", "batch_norm": False}, "seeds": [1, 2]}


@pytest.fixture
def tune(params, tmp_path):
    return params.tune.model_copy(update={"storage": str(tmp_path / "s.journal")})


@pytest.fixture
def begin(tune, params):
    def opened(name="s", problem=PROBLEM, **changes):
        changed = tune.model_copy(update=changes)
        return studies.open_study(name, problem, changed, starts=Starts(params.baseline))

    return opened


def finish(study, tune, values):
    """Complete a trial for each value."""
    for value in values:
        trial = study.ask()
        trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        trial.suggest_int("depth", 1, 5)
        study.tell(trial, value)


def test_a_name_stands_for_one_problem_whatever_the_order_of_its_keys():
    name = studies.study_name("ph2", PROBLEM, None)
    assert name.startswith("ph2-")
    assert studies.study_name("ph2", dict(reversed(PROBLEM.items())), None) == name
    assert studies.study_name("ph2", PROBLEM | {"data_digest": "b"}, None) != name


def test_a_name_of_ones_own_is_kept_apart_by_cohort():
    assert studies.study_name("ph2", PROBLEM, "deep") == "ph2-deep"
    assert studies.study_name("joint", PROBLEM, "deep") == "joint-deep"


def test_the_baseline_waits_as_the_first_trial_once(begin):
    begin()
    study = begin()
    (first,) = study.trials
    assert first.state is TrialState.WAITING
    assert first.system_attrs["fixed_params"] == {"learning_rate": 5e-4, "depth": 3}


def test_a_baseline_that_failed_is_tried_again_and_one_that_ran_is_not(begin, tune):
    study = begin()
    study.tell(study.ask(), state=TrialState.FAIL)
    assert [trial.user_attrs.get("is_baseline") for trial in begin().trials] == [True, True]
    finish(begin(), tune, [0.7])
    assert len(begin().trials) == 2


def at(minute, *, until, **attributes):
    """A completed trial that ran from one minute of an hour to another."""
    trial = optuna.create_trial(value=0.5, user_attrs=attributes)
    hour = datetime(2026, 1, 1, 12)
    trial.datetime_start = hour + timedelta(minutes=minute)
    trial.datetime_complete = hour + timedelta(minutes=until)
    return trial


def test_the_time_of_a_search_is_that_in_which_a_trial_ran():
    assert studies.minutes_spent([]) == 0
    one, beside, later = at(0, until=10), at(5, until=12), at(30, until=35)
    assert studies.minutes_spent([later, one, beside]) == 17  # 0 to 12, and 30 to 35
    waited = at(12, until=30, error=studies.INTERRUPTED)  # a night, as far as the storage knows
    assert studies.minutes_spent([one, beside, waited, later]) == 17


def test_successive_halving_lets_a_third_go_on(begin, tune):
    changed = tune.model_copy(update={"pruner": "successive_halving", "num_warmup_epochs": 2})
    study = optuna.create_study(direction="maximize", pruner=studies.make_pruner(changed))
    pruned = []
    for value in (0.9, 0.8, 0.7, 0.95):
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(value, epoch)
            if trial.should_prune():
                pruned.append((value, epoch))
                break
        study.tell(trial, value)
    assert pruned == [(0.8, 2), (0.7, 2)]


def test_the_summary_of_a_search_that_ran_out_of_time_says_so(begin, tune, params):
    study = begin()
    finish(study, tune, [0.6])
    limited = tune.model_copy(update={"max_minutes": 5})
    summary = studies.summarize(study, limited, Starts(params.baseline), run_ids={})
    assert (summary["is_wide"], summary["max_minutes"]) == (False, 5)
    assert "stopped" not in studies.summary_line(summary)
    stopped = studies.summary_line(summary | {"minutes": 6.4})
    assert "; the search stopped after 6 minutes, its limit is 5" in stopped


def test_trials_have_a_seed_that_the_comparison_of_networks_does_not_use(tune, params):
    seed = studies.trial_seed(tune)
    assert seed == studies.trial_seed(tune.model_copy(update={"num_trials": 1}))
    assert seed != studies.trial_seed(tune.model_copy(update={"seed": tune.seed + 1}))
    assert not params.train.seed <= seed < params.train.seed + 1000


def test_a_study_keeps_its_identity_and_one_begun_anew_has_another(begin, tmp_path):
    first = begin().user_attrs["study_id"]
    assert begin().user_attrs["study_id"] == first
    assert begin(storage=str(tmp_path / "other.journal")).user_attrs["study_id"] != first


def test_a_study_of_the_same_problem_is_gone_on_with(begin):
    begin().ask()
    assert len(begin(problem=json.loads(json.dumps(PROBLEM))).trials) == 1


def test_a_study_of_another_problem_is_refused_and_every_difference_is_named(begin):
    begin()
    other = {"data_digest": "b", "model": {"family": "conv_blocks", "batch_norm": True}, "new": 1.0}
    with pytest.raises(TrainingError, match="Study s was started with other settings or data") as caught:
        begin(problem=other)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:-1]]
    assert lines == [
        'data_digest: "a" in the study, "b" now',
        "model.batch_norm: false in the study, true now",
        "new: nothing in the study, 1.0 now",
        "seeds: [1, 2] in the study, nothing now",
    ]
    assert "params.yaml: tune.study to another name" in str(caught.value)


def test_a_study_with_a_changed_space_is_refused_by_the_row_that_changed(begin, tune, params):
    def problem(**rows):
        space = tune.space.model_copy(update=rows)
        return {"tune": tune.model_copy(update={"space": space}).model_dump(exclude={"storage"})}

    begin(problem=problem())
    begin(problem=problem())
    with pytest.raises(TrainingError, match=r"tune.space.filters: null in the study, nothing now"):
        begin(problem=problem(filters=Choices(choices=[16, 32])))
    with pytest.raises(
        TrainingError,
        match=(
            r"tune.space.filters.choices: nothing in the study, \[16, 32\] "
            r"now"
        ),
    ):
        begin(problem=problem(filters=Choices(choices=[16, 32])))


def test_of_very_many_differences_the_first_are_named(begin):
    begin(problem={str(number): 0 for number in range(100, 150)})
    with pytest.raises(TrainingError, match=r"119: .*\n  and 30 more"):
        begin(problem={str(number): 1 for number in range(100, 150)})


def test_a_study_that_was_made_elsewhere_is_refused_and_an_empty_one_is_taken(begin, tune):
    for name in ("empty", "used"):
        optuna.create_study(study_name=name, storage=open_storage(tune.storage), direction="maximize")
    optuna.load_study(study_name="used", storage=open_storage(tune.storage)).ask()
    assert begin("empty").user_attrs["problem"] == PROBLEM
    with pytest.raises(TrainingError, match="Study used was not created by this project"):
        begin("used")


def prune_at(tune, pruner, *, good, bad):
    """At which epoch a trial that reports `bad` is given up, after others that reported `good`."""
    study = optuna.create_study(
        direction="maximize", pruner=studies.make_pruner(tune.model_copy(update=pruner))
    )
    for value in [good] * 9 + [bad]:
        trial = study.ask()
        for epoch in range(1, 13):
            trial.report(value, epoch)
            if trial.should_prune() and value == bad:
                return epoch
        study.tell(trial, value)
    return None


def test_the_median_pruner_waits_for_the_warm_up(tune):
    assert prune_at(tune, {"pruner": "median", "num_warmup_epochs": 5}, good=0.9, bad=0.5) == 5
    assert prune_at(tune, {"pruner": "median", "num_warmup_epochs": 0}, good=0.9, bad=0.5) == 1


def test_the_median_pruner_waits_for_the_first_trials(tune):
    assert prune_at(tune, {"pruner": "median", "num_startup_trials": 10}, good=0.9, bad=0.5) is None


def test_no_trial_is_given_up_that_is_as_good_as_others(tune):
    assert prune_at(tune, {"pruner": "median"}, good=0.5, bad=0.9) is None


def test_hyperband_waits_for_the_warm_up(tune):
    pruner = {"pruner": "hyperband", "num_warmup_epochs": 3, "num_epochs": 8}  # one bracket: 8 < 3 * 3
    assert prune_at(tune, pruner, good=0.9, bad=0.5) == 3


@pytest.mark.parametrize("warmup", [0, 12, 99])
def test_hyperband_takes_any_warm_up(tune, warmup):
    prune_at(tune, {"pruner": "hyperband", "num_warmup_epochs": warmup}, good=0.9, bad=0.5)


def test_without_a_pruner_no_trial_is_given_up(tune):
    assert prune_at(tune, {"pruner": "none", "num_warmup_epochs": 0}, good=0.9, bad=0.1) is None


def test_each_draw_has_a_seed_of_its_own_that_follows_from_the_seed(tune):
    def draw(number, seed=3):
        sampler = studies.make_sampler(tune.model_copy(update={"seed": seed}), number)
        return optuna.create_study(sampler=sampler).ask().suggest_float("x", 0, 1)

    assert draw(1) == draw(1)
    assert len({draw(1), draw(2), draw(1, seed=4)}) == 3


def test_the_summary_names_the_best_its_hyperparameters_and_every_trial(begin, tune, params):
    study = begin()
    finish(study, tune, [0.6, 0.8, 0.7])
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"depth": 1})
    summary = studies.summarize(study, tune, Starts(params.baseline), run_ids={1: "r1"})
    drawn = study.trials[1].params
    assert summary["best"] == {
        "trial": 1,
        "value": 0.8,
        "hyperparameters": params.baseline.model_dump() | drawn,
    }
    assert summary["objective"] == "auc_roc"
    assert summary["num_finished"] == 3
    assert summary["num_by_state"] == {"complete": 3, "pruned": 0, "failed": 1}
    assert [row["trial"] for row in summary["trials"]] == [0, 1, 2, 3]
    assert [row["state"] for row in summary["trials"]] == ["complete"] * 3 + ["failed"]
    assert [row["value"] for row in summary["trials"]] == [0.6, 0.8, 0.7, None]
    assert [row["is_baseline"] for row in summary["trials"]] == [True, False, False, False]
    assert [row["run_id"] for row in summary["trials"]] == [None, "r1", None, None]
    assert summary["trials"][0]["hyperparameters"] == params.baseline.model_dump()
    assert studies.summary_line(summary) == (
        "4 trials (3 completed, 1 failed) over learning_rate, depth; best is trial 1: learning_rate "
        f"{drawn['learning_rate']:.2g}, depth {drawn['depth']}; hold-out auc_roc 0.800"
    )


def test_the_summary_line_names_what_was_searched_whatever_it_was(begin, tune, params):
    rows = {"learning_rate": None, "depth": None, "dropout": FloatRange(low=0, high=0.5, log=False)}
    space = tune.space.model_copy(update=rows)
    tune = tune.model_copy(update={"space": space})
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"dropout": 0.25})
    study.ask({"dropout": optuna.distributions.FloatDistribution(0, 0.5)})
    study.tell(0, 0.75)
    line = studies.summary_line(studies.summarize(study, tune, Starts(params.baseline), run_ids={}))
    assert line.startswith("1 trial (1 completed) over dropout; best is trial 0: dropout 0.25; hold-out")


def test_the_summary_line_says_when_the_baseline_is_the_best(begin, tune, params):
    study = begin()
    finish(study, tune, [0.8, 0.6])
    line = studies.summary_line(studies.summarize(study, tune, Starts(params.baseline), run_ids={}))
    assert line.endswith("this is the baseline itself, the search found nothing better")


def test_a_pruned_trial_has_no_value_for_it_is_not_compared(begin, tune, params):
    study = begin()
    finish(study, tune, [0.6])
    trial = study.ask()
    trial.report(0.9, 1)
    study.tell(trial, state=TrialState.PRUNED)
    row = studies.summarize(study, tune, Starts(params.baseline), run_ids={})["trials"][1]
    assert (row["state"], row["value"], row["num_epochs"]) == ("pruned", None, 1)


def test_a_study_without_a_completed_trial_has_no_best(begin, tune, params):
    study = begin()
    study.tell(study.ask(), state=TrialState.PRUNED)
    with pytest.raises(TrainingError, match=r"No trial of study s was completed"):
        studies.summarize(study, tune, Starts(params.baseline), run_ids={})


def test_a_study_of_both_families_learns_from_each_and_tells_what_a_trial_lacks(tune, params):
    rows = {"batch_norm": Choices(choices=[False, True]), "family": Choices(choices=["conv_blocks", "vgg16"])}
    both = tune.model_copy(update={"space": tune.space.model_copy(update=rows), "num_startup_trials": 2})
    study = studies.open_study("both", PROBLEM, both, starts=Starts(params.baseline))
    for number in range(12):
        study.sampler = studies.make_sampler(both, number)
        trial = study.ask()
        chosen = spaces.suggest(trial, both.space, Starts(params.baseline))
        study.tell(trial, 0.6 + 0.1 * (chosen.family == "vgg16") - 0.01 * (chosen.depth or 0))
    summary = studies.summarize(study, both, Starts(params.baseline), run_ids={})
    families = [row["hyperparameters"]["family"] for row in summary["trials"]]
    assert families[0] == "conv_blocks"  # the baseline
    assert set(families) == {"conv_blocks", "vgg16"}
    for trial, row in zip(study.trials, summary["trials"], strict=True):
        is_vgg16 = row["hyperparameters"]["family"] == "vgg16"
        assert ("batch_norm" in trial.params) is not is_vgg16
        assert (row["hyperparameters"]["batch_norm"] is None) is is_vgg16
    assert summary["best"]["hyperparameters"]["family"] == "vgg16"
    assert summary["best"]["hyperparameters"]["filters"] is None


def test_the_samplers_grouping_is_no_news(tune, recwarn):
    families = Choices(choices=["conv_blocks", "vgg16"])
    studies.make_sampler(
        tune.model_copy(update={"space": tune.space.model_copy(update={"family": families})}), 0
    )
    assert [str(warning.message) for warning in recwarn] == []
