import re

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from matplotlib import pyplot as plt
from optuna.trial import TrialState

from melanoma.evaluation import search_figures
from melanoma.evaluation.search_figures import importances, why_no_importances
from melanoma.schema import NOT_A_DEVICE

NOTE = "cohort toy: SYNTHETIC images"
PLOTS = {"importance", "history", "slice", "parallel_coordinates"}


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


@pytest.fixture(scope="module")
def figures(study):
    return search_figures.study_figures(study, objective="auc_roc", note=NOTE)


@pytest.fixture(scope="module")
def pages(study):
    return search_figures.study_pages(study, objective="auc_roc", note=NOTE)


def test_every_plot_comes_as_a_figure_and_as_a_page(figures, pages):
    assert set(figures) == set(pages) == PLOTS


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_figures_and_pages_say_where_the_images_come_from_and_that_this_is_no_device(figures, pages, name):
    assert figures[name].get_supxlabel() == f"{NOTE} · {NOT_A_DEVICE}"
    assert f"study toy, {NOTE} · {NOT_A_DEVICE}" in pages[name]


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_a_page_needs_no_network(pages, name):
    assert len(pages[name]) > 1_000_000  # plotly itself
    assert not re.search(r"<(script|link)[^>]+(src|href)=", pages[name])


def test_figures_leave_no_trace_in_pyplot(figures):
    assert plt.get_fignums() == []
    assert mpl.rcParams["axes.facecolor"] == mpl.rcParamsDefault["axes.facecolor"]


def test_the_history_shows_every_completed_trial_the_best_so_far_and_pruned_ones(figures):
    (axes,) = figures["history"].axes
    best, completed, pruned = axes.get_lines()
    assert list(completed.get_ydata()) == [0.6, 0.5, 0.8, 0.7, 0.65, 0.75]
    assert list(best.get_ydata()) == [0.6, 0.6, 0.8, 0.8, 0.8, 0.8]
    assert (list(pruned.get_xdata()), list(pruned.get_ydata())) == ([6], [0.55])
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("baseline", (0, 0.6))]


def test_the_slice_has_a_panel_for_each_hyperparameter_with_every_completed_trial(figures, study):
    *panels, _ = figures["slice"].axes
    assert [axes.get_xlabel() for axes in panels] == ["learning_rate", "depth", "optimizer"]
    assert [axes.get_xscale() for axes in panels] == ["log", "linear", "linear"]
    completed = study.trials[:6]
    for axes in panels:
        drawn = axes.collections[0].get_offsets()
        assert [place[1] for place in drawn] == [trial.value for trial in completed]
    depths = [place[0] for place in panels[1].collections[0].get_offsets()]
    assert depths == [trial.params["depth"] for trial in completed]
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["adam", "sgd"]


def test_a_line_of_the_parallel_coordinates_runs_between_the_ends_of_the_ranges():
    ends = [
        {"learning_rate": 1e-5, "depth": 1, "optimizer": "adam"},
        {"learning_rate": 1e-2, "depth": 5, "optimizer": "sgd"},
        {"learning_rate": 10**-3.5, "depth": 3, "optimizer": "adam"},
    ]
    study = study_of([0.5, 0.7, 0.6], draw=lambda number: ends[number])
    figure = search_figures.study_figures(study, objective="auc_roc", note=NOTE)["parallel_coordinates"]
    lines = [line for line in figure.axes[0].get_lines() if np.size(line.get_ydata()) == 3]
    assert [np.asarray(line.get_ydata()).tolist() for line in lines] == [
        [0, 0, 0],
        pytest.approx([0.5, 0.5, 0]),
        [1, 1, 1],
    ]
    assert [line.get_linestyle() for line in lines] == ["--", "-", "-"]  # the lowest is drawn first
    ends_shown = [text.get_text() for text in figure.axes[0].texts]
    assert ends_shown == ["1e-05", "0.01", "1", "5", "adam", "sgd"]


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
        "undefined: 4 trials ran to their end, 5 are needed"
    )
    assert importances(study_of([0.5, 0.6, 0.7, 0.8])) == {}
    assert why_no_importances(study_of([0.5, 0.6, 0.7, 0.8, 0.9])) is None


def test_importances_are_undefined_when_all_trials_reached_the_same():
    reason = "undefined: all 6 trials that ran to their end reached the same"
    assert why_no_importances(study_of([0.5] * 6)) == reason


@pytest.mark.parametrize("values", [[0.6], [0.5] * 6, [1.0, 0.0]])
@pytest.mark.parametrize("rows", [("depth",), ("learning_rate", "depth", "optimizer")])
def test_a_plot_without_importances_says_why_and_the_others_are_drawn(values, rows):
    study = study_of(values, rows=rows)
    figures = search_figures.study_figures(study, objective="auc_roc", note=NOTE)
    pages = search_figures.study_pages(study, objective="auc_roc", note=NOTE)
    assert figures["importance"].axes[0].texts[0].get_text() == why_no_importances(study)
    assert str(why_no_importances(study)) in pages["importance"]
    for figure in figures.values():
        figure.canvas.draw()


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
    figures = search_figures.study_figures(made, objective="auc_roc", note=NOTE)
    panels = {axes.get_xlabel(): axes for axes in figures["slice"].axes}
    shown = {
        name: np.shape(panels[name].collections[0].get_offsets())[0]
        for name in ("depth", "batch_norm", "only_here")
    }
    assert shown == {"depth": 6, "batch_norm": 3, "only_here": 3}
    axes = figures["parallel_coordinates"].axes[0]
    gaps = [int(np.isnan(line.get_ydata()).sum()) for line in axes.lines if np.size(line.get_xdata()) == 3]
    assert gaps == [1] * 6
    assert set(search_figures.study_pages(made, objective="auc_roc", note=NOTE)) == PLOTS
