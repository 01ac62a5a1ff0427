"""Draw the hyperparameters of a trial from the search space `params.yaml: tune.space`."""

from typing import Any

import optuna

from melanoma.config.training import Choices, FloatRange, Hyperparameters, IntRange, Space


def suggest(trial: optuna.Trial, space: Space, baseline: Hyperparameters) -> Hyperparameters:
    """Draw each searched hyperparameter that the drawn family has; the others are those of `baseline`."""
    drawn = {} if space.family is None else {"family": _draw(trial, "family", space.family)}
    for name, row in space.rows(drawn.get("family", baseline.family)).items():
        if name not in drawn:
            drawn[name] = _draw(trial, name, row)
    return baseline.with_drawn(drawn)


def baseline_params(space: Space, baseline: Hyperparameters) -> dict[str, Any]:
    """The baseline's values of searched hyperparameters: the parameters of its trial."""
    return {name: getattr(baseline, name) for name in space.rows(baseline.family)}


def in_words(space: Space, baseline: Hyperparameters) -> str:
    """`depth (1 to 5), optimizer (adam, sgd)`: what a search around the baseline varies, with ranges."""
    families = space.families(baseline)
    rows = {name: row for family in families for name, row in space.rows(family).items()}
    return ", ".join(f"{name} ({_range_in_words(row)})" for name, row in rows.items())


def _range_in_words(row: FloatRange | IntRange | Choices) -> str:
    match row:
        case FloatRange():
            return f"{row.low:g} to {row.high:g}{', log scale' if row.log else ''}"
        case IntRange():
            return f"{row.low} to {row.high}"
    return ", ".join(map(str, row.choices))


def _draw(trial: optuna.Trial, name: str, row: FloatRange | IntRange | Choices) -> Any:
    match row:
        case FloatRange():
            return trial.suggest_float(name, row.low, row.high, log=row.log)
        case IntRange():
            return trial.suggest_int(name, row.low, row.high)
    return trial.suggest_categorical(name, row.choices)
