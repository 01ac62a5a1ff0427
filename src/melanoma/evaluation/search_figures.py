"""Pictures of a study: what mattered, how it went, where its trials lie.

As matplotlib figures, in which the baseline is marked, and as pages by Optuna, in which one can point at a
trial. A page holds all that it shows, its scripts too, so that it opens without a network (5 MB).
"""

from html import escape
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from melanoma.evaluation.figures import COLORS, new_figure
from melanoma.schema import NOT_A_DEVICE

MIN_TRIALS = 5  # completed ones that importances need; from fewer they would be chance
PANEL_INCHES = 2.2  # width for each hyperparameter
COLOR_MAP = "viridis"


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each hyperparameter in what sets the best trials apart, highest first; they add to 1.

    Empty where it is undefined, see `why_no_importances`.

    Source: PED-ANOVA, Watanabe et al., IJCAI 2023, doi:10.24963/ijcai.2023/488.
    """
    return {} if why_no_importances(study) else optuna.importance.get_param_importances(study)


def why_no_importances(study: optuna.Study) -> str | None:
    """Why nothing can be said about what mattered; None when something can."""
    completed = _completed(study)
    if len(completed) < MIN_TRIALS:
        return f"undefined: {len(completed)} trials ran to their end, {MIN_TRIALS} are needed"
    if len({trial.value for trial in completed}) == 1:
        return f"undefined: all {len(completed)} trials that ran to their end reached the same"
    return None


def study_figures(study: optuna.Study, *, objective: str, note: str) -> dict[str, Figure]:
    """`importance`, `history`, `slice` and `parallel_coordinates` as matplotlib figures.

    Args:
        study: With at least one completed trial; trial 0 is the baseline.
        objective: Name of its value.
        note: Where the images come from; stands under each plot.
    """
    name = study.study_name
    return {
        "importance": importance_figure(study, title=f"what mattered in study {name}", note=note),
        "history": history_figure(study, objective, title=f"course of study {name}", note=note),
        "slice": slice_figure(study, objective, title=f"trials of study {name}", note=note),
        "parallel_coordinates": parallel_figure(study, objective, title=f"trials of study {name}", note=note),
    }


def importance_figure(study: optuna.Study, *, title: str, note: str) -> Figure:
    """A bar for each hyperparameter, or the words why there is none."""
    figure = new_figure(title, note, height=3.2)
    axes = figure.subplots()
    shares = importances(study)
    axes.barh(list(shares), list(shares.values()), color=COLORS["tuned"])
    axes.invert_yaxis()
    axes.set(xlabel="share in what sets the best trials apart", xlim=(0, 1))
    if reason := why_no_importances(study):
        axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=8, wrap=True)
        axes.set(yticks=[], ylim=(0, 1))
    return figure


def history_figure(study: optuna.Study, objective: str, *, title: str, note: str) -> Figure:
    """The value of each trial in the order of trials, and the best so far; the baseline is marked."""
    figure = new_figure(title, note)
    axes = figure.subplots()
    completed = _completed(study)
    numbers = [trial.number for trial in completed]
    values = [trial.value for trial in completed]
    axes.plot(numbers, np.maximum.accumulate(values), drawstyle="steps-post", label="best so far")
    axes.plot(numbers, values, "o", color=COLORS["tuned"], label="completed")
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    axes.plot(
        [trial.number for trial in pruned],
        [trial.value for trial in pruned],
        "x",
        color=COLORS["baseline"],
        label="pruned, its last epoch",
    )
    _mark_baseline(axes, [(trial, trial.number) for trial in completed])
    axes.set(xlabel="trial", ylabel=f"validation {objective}")
    axes.legend(fontsize=8)
    return figure


def slice_figure(study: optuna.Study, objective: str, *, title: str, note: str) -> Figure:
    """The value of each completed trial by each hyperparameter; colours are the order of trials."""
    completed, distributions = _completed(study), _distributions(study)
    width = PANEL_INCHES * max(len(distributions), 2)
    figure = new_figure(title, note, width=width, height=3.4)
    panels = figure.subplots(1, len(distributions), sharey=True, squeeze=False)[0]
    for axes, (name, distribution) in zip(panels, distributions.items(), strict=True):
        places = [
            (trial, _place(trial.params[name], distribution)) for trial in completed if name in trial.params
        ]
        points = axes.scatter(
            [place for _, place in places],
            [trial.value for trial, _ in places],
            c=[trial.number for trial, _ in places],
            cmap=COLOR_MAP,
        )
        points.set_clim(0, max(trial.number for trial in completed))
        _mark_baseline(axes, places)
        _scale(axes, name, distribution)
    panels[0].set_ylabel(f"validation {objective}")
    figure.colorbar(points, ax=panels[-1], label="trial")
    return figure


def parallel_figure(study: optuna.Study, objective: str, *, title: str, note: str) -> Figure:
    """A line for each completed trial through its hyperparameters; colours are values.

    It has a gap where the network's family has no such hyperparameter.
    """
    completed, distributions = _completed(study), _distributions(study)
    width = PANEL_INCHES * max(len(distributions), 2)
    figure = new_figure(title, note, width=width, height=3.6)
    axes = figure.subplots()
    colors = axes.scatter([], [], c=[], cmap=COLOR_MAP)
    colors.set_clim(min(trial.value for trial in completed), max(trial.value for trial in completed))
    for trial in sorted(completed, key=lambda trial: trial.value):  # the best is drawn last
        heights = [
            _height(trial.params[name], kind) if name in trial.params else np.nan
            for name, kind in distributions.items()
        ]
        style = "--" if _is_baseline(trial) else "-"
        axes.plot(heights, style, marker=".", color=colors.to_rgba(trial.value))
    for position, kind in enumerate(distributions.values()):
        axes.axvline(position, color="#bbbbbb", linewidth=1)
        for height, end in zip((0, 1), _ends(kind), strict=True):
            axes.annotate(end, (position, height), xytext=(4, 0), textcoords="offset points", fontsize=8)
    axes.set(xticks=range(len(distributions)), xticklabels=list(distributions), yticks=[], ylim=(-0.1, 1.1))
    axes.set_title("the dashed line is the baseline", fontsize=8)
    figure.colorbar(colors, ax=axes, label=f"validation {objective}")
    return figure


def study_pages(study: optuna.Study, *, objective: str, note: str) -> dict[str, str]:
    """The four plots of `study_figures` as HTML pages that need no network; arguments as there."""
    reason = why_no_importances(study)
    plots = {
        "history": visualization.plot_optimization_history(study, target_name=objective),
        "slice": visualization.plot_slice(study, target_name=objective),
        "parallel_coordinates": visualization.plot_parallel_coordinate(study, target_name=objective),
    }
    if reason is None:
        plots["importance"] = visualization.plot_param_importances(study, target_name=objective)
    origin = f"study {study.study_name}, {note}"
    pages = {name: _page(plot, title=name, origin=origin) for name, plot in plots.items()}
    return {"importance": f"{_heading('importance', origin)}<p>{reason}</p>", **pages}


def _page(plot: Any, *, title: str, origin: str) -> str:
    plot.update_layout(title=None)  # Plotly would write it across parallel coordinates
    page = plot.to_html(include_plotlyjs=True, full_html=True, default_height="85vh")
    return str(page.replace("<body>", f"<body>{_heading(title, origin)}", 1))


def _heading(title: str, origin: str) -> str:
    words = f"<b>{escape(title.replace('_', ' '))}</b><br>{escape(origin)} · {NOT_A_DEVICE}"
    return f'<meta charset="utf-8"><p style="font-family: sans-serif">{words}</p>'


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _distributions(study: optuna.Study) -> dict[str, BaseDistribution]:
    """Of all that any trial drew: networks of one family draw what others do not have."""
    return {name: kind for trial in _completed(study) for name, kind in trial.distributions.items()}


def _is_baseline(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get("is_baseline", False))


def _mark_baseline(axes: Axes, places: list[tuple[FrozenTrial, float]]) -> None:
    for trial, place in places:
        if _is_baseline(trial):
            at = (place, trial.value)
            axes.annotate("baseline", at, xytext=(5, 4), textcoords="offset points", fontsize=8)


def _place(value: Any, distribution: BaseDistribution) -> float:
    """Where a value stands on its axis; choices stand side by side."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value)
    return float(value)


def _scale(axes: Axes, name: str, distribution: BaseDistribution) -> None:
    axes.set_xlabel(name)
    if isinstance(distribution, CategoricalDistribution):
        places = range(len(distribution.choices))
        axes.set(xticks=places, xticklabels=[str(choice) for choice in distribution.choices])
        axes.set_xlim(-0.5, len(distribution.choices) - 0.5)
    elif getattr(distribution, "log", False):
        axes.set_xscale("log")


def _height(value: Any, distribution: BaseDistribution) -> float:
    """Where a value lies between the ends of its range, in 0..1; in the middle of a range of one value."""
    if isinstance(distribution, CategoricalDistribution):
        low, high = 0, len(distribution.choices) - 1
    else:
        low, high = distribution.low, distribution.high
    place = _place(value, distribution)
    if getattr(distribution, "log", False):
        low, high, place = np.log(low), np.log(high), np.log(place)
    return float((place - low) / (high - low)) if high > low else 0.5


def _ends(distribution: BaseDistribution) -> tuple[str, str]:
    if isinstance(distribution, CategoricalDistribution):
        return str(distribution.choices[0]), str(distribution.choices[-1])
    return f"{distribution.low:g}", f"{distribution.high:g}"
