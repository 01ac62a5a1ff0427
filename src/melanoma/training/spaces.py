"""Draw hyperparameters from the space of `params.yaml: tune.space`."""

from typing import Any

import optuna

from melanoma.config.training import Choices, FloatRange, Hyperparameters, IntRange, Space


def suggest(trial: optuna.Trial, space: Space, baseline: Hyperparameters) -> Hyperparameters:
    """Draw every row of `space` that networks of the drawn family have; the rest is as in `baseline`."""
    drawn = {} if space.family is None else {"family": _draw(trial, "family", space.family)}
    for name, row in space.rows(drawn.get("family", baseline.family)).items():
        if name not in drawn:
            drawn[name] = _draw(trial, name, row)
    return complete(drawn, baseline)


def complete(drawn: dict[str, Any], baseline: Hyperparameters) -> Hyperparameters:
    """All hyperparameters of a trial that drew these; null is what its family does not have.

    Raises:
        ValidationError: A value out of its range.
    """
    return baseline.with_drawn(drawn)


def searched(space: Space, baseline: Hyperparameters) -> dict[str, Any]:
    """The baseline's values of what is searched: the parameters of its trial."""
    return {name: getattr(baseline, name) for name in space.rows(baseline.family)}


def _draw(trial: optuna.Trial, name: str, row: FloatRange | IntRange | Choices) -> Any:
    match row:
        case FloatRange():
            return trial.suggest_float(name, row.low, row.high, log=row.log)
        case IntRange():
            return trial.suggest_int(name, row.low, row.high)
    return trial.suggest_categorical(name, row.choices)
