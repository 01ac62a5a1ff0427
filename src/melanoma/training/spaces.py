"""Draw hyperparameters from the space of `params.yaml: tune.space`."""

from typing import Any

import optuna

from melanoma.training_sections import Choices, FloatRange, Hyperparameters, IntRange, Space


def suggest(trial: optuna.Trial, space: Space, baseline: Hyperparameters) -> Hyperparameters:
    """Draw every row of `space`; what has no row is as in `baseline`."""
    drawn = {name: _draw(trial, name, row) for name, row in space.rows().items()}
    return complete(drawn, baseline)


def complete(drawn: dict[str, Any], baseline: Hyperparameters) -> Hyperparameters:
    """All hyperparameters of a trial that drew these.

    Raises:
        ValidationError: A value out of its range.
    """
    return Hyperparameters.model_validate(baseline.model_dump() | drawn)


def searched(space: Space, baseline: Hyperparameters) -> dict[str, Any]:
    """The baseline's values of what is searched: the parameters of its trial."""
    return {name: getattr(baseline, name) for name in space.rows()}


def _draw(trial: optuna.Trial, name: str, row: FloatRange | IntRange | Choices) -> Any:
    match row:
        case FloatRange():
            return trial.suggest_float(name, row.low, row.high, log=row.log)
        case IntRange():
            return trial.suggest_int(name, row.low, row.high)
    return trial.suggest_categorical(name, row.choices)
