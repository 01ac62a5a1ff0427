"""Draw the hyperparameters of a trial from a search space, `params.yaml: tune.space` or `search.space`."""

from typing import Any

import optuna

from melanoma.config.training import Hyperparameters
from melanoma.config.tuning import Choices, FloatRange, IntRange, Space, Starts


def suggest(trial: optuna.Trial, space: Space, starts: Starts) -> Hyperparameters:
    """Draw each searched hyperparameter that the drawn family has; the others are where the family starts."""
    drawn = {} if space.family is None else {"family": _draw(trial, "family", space.family)}
    for name, row in space.rows(drawn.get("family", starts.baseline.family)).items():
        if name not in drawn:
            drawn[name] = _draw(trial, name, row)
    return starts.complete(drawn)


def params_of(space: Space, first: Hyperparameters) -> dict[str, Any]:
    """The values that these hyperparameters have of what is searched: the parameters of their trial."""
    return {name: getattr(first, name) for name in space.rows(first.family)}


def in_words(space: Space, starts: Starts) -> str:
    """`depth (1 to 5), optimizer (adam, sgd)`: what a search varies, with ranges."""
    families = space.families(starts)
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
