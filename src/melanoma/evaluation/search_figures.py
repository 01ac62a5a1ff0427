"""Interactive plots of a hyperparameter search, in one HTML page that needs no network (5 MB)."""

from html import escape

import optuna
from optuna import visualization
from optuna.trial import FrozenTrial, TrialState

from melanoma.schema import NOT_A_DEVICE

MIN_TRIALS = 5  # completed trials; importances from fewer would be chance


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each hyperparameter in what distinguishes the best trials, highest first; the sum is 1.

    Empty where it is undefined, see `why_no_importances`.

    Source: PED-ANOVA, Watanabe et al., IJCAI 2023, doi:10.24963/ijcai.2023/488.
    """
    return {} if why_no_importances(study) else optuna.importance.get_param_importances(study)


def why_no_importances(study: optuna.Study) -> str | None:
    """Why the importances are undefined; None where they are defined."""
    completed = _completed(study)
    if len(completed) < MIN_TRIALS:
        return f"undefined: {len(completed)} trials were completed, at least {MIN_TRIALS} are required"
    if len({trial.value for trial in completed}) == 1:
        return f"undefined: all {len(completed)} completed trials have the same value"
    return None


def search_page(study: optuna.Study, *, objective: str, found: str, note: str) -> str:
    """Importance, history, slices and parallel coordinates of a search as an HTML page.

    Args:
        study: Study with at least one completed trial; trial 0 is the baseline, and trial 1 of a wide
            search the backbone.
        objective: Name of its value.
        found: What was searched and found, in one line.
        note: Source of the images.
    """
    plots = {
        "History": visualization.plot_optimization_history(study, target_name=objective),
        "Slices": visualization.plot_slice(study, target_name=objective),
        "Parallel coordinates": visualization.plot_parallel_coordinate(study, target_name=objective),
    }
    if (reason := why_no_importances(study)) is None:
        plots["Importance"] = visualization.plot_param_importances(study, target_name=objective)
    parts = []
    for at, (title, plot) in enumerate(plots.items()):
        plot.update_layout(title=None)  # Plotly would write it across the parallel coordinates
        html = plot.to_html(include_plotlyjs=at == 0, full_html=False, default_height="70vh")
        parts.append(f"<h2>{title}</h2>{html}")
    if reason:
        parts.append(f"<h2>Importance</h2><p>{escape(reason)}</p>")
    is_wide = any(trial.user_attrs.get("is_backbone") for trial in study.get_trials(deepcopy=False))
    firsts = "trial 0 is the baseline" + (", trial 1 the backbone" if is_wide else "")
    source = f"{escape(note)} · {firsts} · {NOT_A_DEVICE}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Hyperparameter search</title>'
        f'<body style="font-family: sans-serif"><h1>Search {escape(study.study_name)}</h1>'
        f"<p>{escape(found)}</p><p>{source}</p>"
        f"{''.join(parts)}</body></html>"
    )


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
