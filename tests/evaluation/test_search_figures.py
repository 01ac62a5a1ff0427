import re

import optuna
import pytest
from optuna.trial import TrialState

from melanoma.evaluation import search_figures
from melanoma.evaluation.search_figures import importances, why_no_importances
from melanoma.schema import NOT_A_DEVICE

NOTE = "cohort toy: SYNTHETIC images"


def study_of(values, *, rows=("learning_rate", "depth", "optimizer"), draw=None):
    """Trials with these values; trial 0 is the baseline."""
    study = optuna.create_study(
        study_name="toy", sampler=optuna.samplers.RandomSampler(seed=1), direction="maximize"
    )
    for number, value in enumerate(values):
        if draw is not None:
            study.enqueue_trial(draw(number))
        trial = study.ask()
        if "learning_rate" in rows:
            trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        if "depth" in rows:
            trial.suggest_int("depth", 1, 5)
        if "optimizer" in rows:
            trial.suggest_categorical("optimizer", ["adam", "sgd"])
        trial.set_user_attr("is_baseline", number == 0)
        study.tell(trial, value)
    return study


@pytest.fixture(scope="module")
def study():
    made = study_of([0.6, 0.5, 0.8, 0.7, 0.65, 0.75])
    for state in (TrialState.PRUNED, TrialState.FAIL):
        trial = made.ask()
        trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        trial.report(0.55, 1)
        made.tell(trial, state=state)
    made.enqueue_trial({"depth": 1})
    return made


def page_of(study) -> str:
    return search_figures.search_page(study, objective="auc_roc", found="8 trials <over> depth", note=NOTE)


@pytest.fixture(scope="module")
def page(study):
    return page_of(study)


def test_the_page_holds_every_plot_and_plotly_once(page):
    assert re.findall("<h2>(.*?)</h2>", page) == ["History", "Slices", "Parallel coordinates", "Importance"]
    assert page.count("Plotly.newPlot(") == 4
    assert 1_000_000 < len(page) < 7_000_000  # Plotly itself, and not four times


def test_the_page_says_where_the_images_come_from_and_that_this_is_no_device(page):
    assert "<p>8 trials &lt;over&gt; depth</p>" in page
    assert f"{NOTE} · trial 0 is the baseline · {NOT_A_DEVICE}" in page


def test_the_page_needs_no_network(page):
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)


def test_what_sets_the_best_apart_is_the_most_important():
    good, bad = {"depth": 5}, {"depth": 1}
    study = study_of(
        [0.9, 0.91, 0.92] + [0.5] * 17, rows=("learning_rate", "depth"), draw=lambda n: good if n < 3 else bad
    )
    shares = importances(study)
    assert list(shares) == ["depth", "learning_rate"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["depth"] > 0.8


def test_importances_are_undefined_with_few_trials_and_defined_with_one_more():
    assert why_no_importances(study_of([0.5, 0.6, 0.7, 0.8])) == (
        "undefined: 4 trials were completed, at least 5 are required"
    )
    assert importances(study_of([0.5, 0.6, 0.7, 0.8])) == {}
    assert why_no_importances(study_of([0.5, 0.6, 0.7, 0.8, 0.9])) is None


def test_importances_are_undefined_when_all_trials_reached_the_same():
    reason = "undefined: all 6 completed trials have the same value"
    assert why_no_importances(study_of([0.5] * 6)) == reason


@pytest.mark.parametrize("values", [[0.6], [0.5] * 6, [1.0, 0.0]])
@pytest.mark.parametrize("rows", [("depth",), ("learning_rate", "depth", "optimizer")])
def test_a_page_without_importances_says_why_and_the_other_plots_are_drawn(values, rows):
    study = study_of(values, rows=rows)
    page = page_of(study)
    assert f"<p>{why_no_importances(study)}</p>" in page
    assert page.count("Plotly.newPlot(") == 3


def test_trials_of_two_families_are_drawn_where_each_has_the_hyperparameter():
    made = optuna.create_study(study_name="both", direction="maximize")
    for number in range(6):
        trial = made.ask()
        trial.suggest_int("depth", 1, 5)
        if number % 2 == 0:
            trial.suggest_categorical("batch_norm", [False, True])
        else:
            trial.suggest_float("only_here", 0, 1)
        trial.set_user_attr("is_baseline", number == 0)
        made.tell(trial, 0.5 + number / 20)
    page = page_of(made)
    assert all(name in page for name in ("depth", "batch_norm", "only_here"))
