"""Compare the baseline and the tuned network over several seeds, so that a lucky seed is not called progress.

All scores are those of the kept epochs on validation; the test set is not used. Spread is the standard
deviation over seeds of networks trained on the same images; for other patients see the bootstrap of `report`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from melanoma import metric_names
from melanoma.config.training import in_words
from melanoma.errors import DataError
from melanoma.schema import MODEL_NAMES

SELECTING = "val_auc_roc"
LEVEL = 0.95  # confidence level of the interval of a difference


def compare(scores: pd.DataFrame, *, changed: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Content of `seeds.json`: each score by model, and the paired difference of the models.

    Args:
        scores: One row per network: `model` (one of `MODEL_NAMES`), `seed` (the same for both models; the
            first is the seed of the networks that are kept), and its scores, columns `val_…`.
        changed: Baseline's and tuned value of each hyperparameter in which the models differ; empty if the
            search found nothing better than the baseline.

    Returns:
        `seeds`, `kept_seed`, `same_hyperparameters`, `changed`; by model and score `by_seed`, `mean`,
        `standard_deviation` (of a sample), `min` and `max`; `tuned_minus_baseline` by score `by_seed`,
        `mean`, `standard_deviation`, and `low` and `high` of the 95 % t interval of the mean. Spread and
        interval of one seed are nan.

    Raises:
        DataError: The models do not have the same seeds, each once.
    """
    names = [name for name in scores.columns if name.startswith("val_")]
    by_model = {model: scores[scores["model"] == model].set_index("seed")[names] for model in MODEL_NAMES}
    baseline, tuned = by_model["baseline"], by_model["tuned"]
    by_seed = sorted(baseline.index), sorted(tuned.index)
    if by_seed[0] != by_seed[1] or not baseline.index.is_unique:
        raise DataError(
            f"Both models must be trained once with each seed; the baseline has the seeds {by_seed[0]}, "
            f"tuned has {by_seed[1]}. Run `dvc repro --force train`."
        )
    return {
        "seeds": baseline.index.tolist(),
        "kept_seed": int(baseline.index[0]),
        "same_hyperparameters": not changed,
        "changed": {name: list(values) for name, values in changed.items()},
        **{model: {name: _describe(table[name]) for name in names} for model, table in by_model.items()},
        "tuned_minus_baseline": {name: _describe_difference(tuned[name] - baseline[name]) for name in names},
    }


def _describe(scores: pd.Series) -> dict[str, Any]:
    return _center(scores) | {"min": float(scores.min()), "max": float(scores.max())}


def _center(scores: pd.Series) -> dict[str, Any]:
    return {
        "by_seed": {str(seed): float(score) for seed, score in scores.items()},
        "mean": float(scores.mean()),
        "standard_deviation": float(scores.std(ddof=1)),
    }


def _describe_difference(differences: pd.Series) -> dict[str, Any]:
    described = _center(differences)
    low, high = _t_interval(differences.to_numpy())
    return described | {"low": low, "high": high}


def _t_interval(values: np.ndarray) -> tuple[float, float]:
    """Interval of the mean of normally distributed values; nan for fewer than two values."""
    if len(values) < 2:
        return math.nan, math.nan
    margin = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - margin), float(values.mean() + margin)


def select(comparison: dict[str, Any]) -> str:
    """The model to promote: the one with the higher mean AUC on validation.

    It is the baseline on a tie, and if both models have the same hyperparameters.
    """
    mean = {model: comparison[model][SELECTING]["mean"] for model in MODEL_NAMES}
    is_better = mean["tuned"] > mean["baseline"] and not comparison["same_hyperparameters"]
    return "tuned" if is_better else "baseline"


def flat_metrics(comparison: dict[str, Any], model: str) -> dict[str, float]:
    """`seeds/auc_roc_mean`, …: mean and spread of one model by name of the MLflow metric."""
    values = {
        f"{name}_{statistic}": described[statistic]
        for name, described in comparison[model].items()
        for statistic in ("mean", "standard_deviation")
    }
    return metric_names.of_seeds(values)


def table(comparison: dict[str, Any]) -> pd.DataFrame:
    """The validation AUC of every network, columns `network` and `val_auc_roc`."""
    rows = [
        {"network": f"{model}, seed {seed}", SELECTING: score}
        for model in MODEL_NAMES
        for seed, score in comparison[model][SELECTING]["by_seed"].items()
    ]
    return pd.DataFrame(rows)


def summary_line(comparison: dict[str, Any]) -> str:
    """Mean and spread of the validation AUC of both models, and their difference, in one line."""
    seeds = comparison["seeds"]
    parts = [_in_words(model, comparison[model][SELECTING]) for model in MODEL_NAMES]
    difference = comparison["tuned_minus_baseline"][SELECTING]
    text = f"validation AUC, {'mean of seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}: "
    text += ", ".join(parts)
    if not comparison["changed"]:
        return f"{text}; both have the same hyperparameters"
    text += f", difference {difference['mean']:+.3f}"
    if len(seeds) > 1:
        text += f" (95 % interval {difference['low']:+.3f} to {difference['high']:+.3f})"
    values = comparison["changed"].items()
    baseline, tuned = ({name: pair[at] for name, pair in values} for at in range(2))
    return f"{text}; tuned has {in_words(tuned)} instead of {in_words(baseline)}"


def _in_words(model: str, score: dict[str, Any]) -> str:
    spread = score["standard_deviation"]
    is_known = spread is not None and not math.isnan(spread)  # null if it was read from a file
    return f"{model} {score['mean']:.3f}" + (f" (standard deviation {spread:.3f})" if is_known else "")
