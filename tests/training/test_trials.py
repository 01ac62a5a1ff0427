from dataclasses import replace
from unittest.mock import Mock

import optuna
import pytest

from melanoma.errors import DataError, DivergenceError, TrainingError
from melanoma.training import fit, trials


class Log(dict):
    """Scores by epoch."""

    def __call__(self, epoch, scores):
        self[epoch] = dict(scores)


class PruneAt(optuna.pruners.BasePruner):  # type: ignore[misc]  # optuna is untyped to mypy
    """Gives up every trial at one epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def prune(self, study, trial):
        return trial.last_step >= self.epoch


@pytest.fixture
def trial():
    return optuna.create_study(direction="maximize").ask()


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def run(bright_or_dark, recipe, trial, log):
    def run_trial(
        *,
        pruner=None,
        can_prune=True,
        objective="auc_roc",
        num_epochs=3,
        recipe=recipe,
        folds=(bright_or_dark,),
    ):
        trial.study.pruner = pruner or optuna.pruners.NopPruner()
        report = trials.Report(trial, objective, log, can_prune=can_prune)
        return trials.run_trial(folds, recipe, report, num_epochs=num_epochs, seed=5, objective=objective)

    return run_trial


def stored(trial):
    return trial.study.trials[0].intermediate_values


def test_a_trial_reports_each_epoch_and_is_worth_its_objective_at_the_epoch_that_is_kept(run, trial, log):
    outcome = run(objective="average_precision")
    assert outcome.state == "complete"
    assert sorted(log) == [1, 2, 3]
    assert stored(trial) == {epoch: log[epoch]["val_average_precision"] for epoch in log}
    kept = min(log, key=lambda epoch: log[epoch]["val_loss"])
    assert outcome.value == log[kept]["val_average_precision"]
    assert outcome.facts["best_epoch"] == kept


def test_a_trial_of_several_folds_is_worth_their_mean_and_reports_the_epochs_of_the_first(
    run, trial, log, bright_or_dark
):
    swapped = replace(bright_or_dark, train=bright_or_dark.holdout, holdout=bright_or_dark.train)
    alone = [run(folds=[fold], objective="average_precision") for fold in (bright_or_dark, swapped)]
    both = run(folds=[bright_or_dark, swapped], objective="average_precision")
    assert both.value == pytest.approx((alone[0].value + alone[1].value) / 2, rel=1e-6)
    assert both.scores["val_loss"] == pytest.approx(
        (alone[0].scores["val_loss"] + alone[1].scores["val_loss"]) / 2, rel=1e-6
    )
    assert both.history.splitlines()[0] == alone[0].history.splitlines()[0]
    assert sorted(log) == [1, 2, 3]


def test_a_trial_that_is_stopped_in_its_first_fold_trains_no_other(run, bright_or_dark, monkeypatch):
    train = Mock(wraps=fit.train)
    monkeypatch.setattr(fit, "train", train)
    assert run(folds=[bright_or_dark, bright_or_dark], pruner=PruneAt(1)).state == "pruned"
    assert train.call_count == 1


def test_a_trial_says_how_long_it_took_where_and_with_how_much_memory(run):
    facts = run(num_epochs=1).facts
    assert facts["duration_seconds"] > 0
    assert facts["images_per_second"] > 0
    assert facts["peak_memory_mib"] > 0
    assert facts["device_kind"] in {"cpu", "gpu"}
    assert {"backend", "device_name", "keras_version"} <= set(facts)


def test_a_trial_that_falls_behind_stops_after_that_epoch(run, trial, log):
    outcome = run(pruner=PruneAt(2))
    assert (outcome.state, outcome.value) == ("pruned", None)
    assert sorted(log) == [1, 2]
    assert list(stored(trial)) == [1, 2]


def test_a_trial_at_its_last_epoch_is_complete_whatever_the_pruner_says(run, log):
    assert run(pruner=PruneAt(3)).state == "complete"
    assert sorted(log) == [1, 2, 3]


def test_the_baseline_is_never_given_up(run, log):
    assert run(pruner=PruneAt(1), can_prune=False).state == "complete"
    assert sorted(log) == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DivergenceError("The loss is nan; lower the learning rate."), "The loss is nan; lower the"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "Out of memory (RuntimeError: CUBLAS"),
        (MemoryError("Unable to allocate 9 GiB"), "Out of memory (MemoryError: Unable to allocate 9 GiB)."),
        (
            RuntimeError("RESOURCE_EXHAUSTED: OOM\nat [128]"),
            "Out of memory (RuntimeError: RESOURCE_EXHAUSTED: OOM).",
        ),
    ],
)
def test_what_is_wrong_with_the_trial_is_its_outcome(run, monkeypatch, error, text):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fit, "train", fail)
    outcome = run()
    assert outcome.state == "failed"
    assert outcome.value is None
    assert outcome.error.startswith(text)
    assert "\n" not in outcome.error
    assert outcome.facts["duration_seconds"] >= 0


@pytest.mark.parametrize(
    "error", [DataError("packed anew"), TrainingError("no weights"), RuntimeError("a bug")]
)
def test_any_other_error_is_raised(run, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fit, "train", fail)
    with pytest.raises(type(error), match=str(error)):
        run()


def test_a_learning_rate_that_breaks_the_network_fails_the_trial(run, recipe):
    extreme = recipe.hyperparameters.model_copy(update={"learning_rate": 1e38})
    outcome = run(recipe=replace(recipe, hyperparameters=extreme))
    assert outcome.state == "failed"
    assert "learning rate" in outcome.error
