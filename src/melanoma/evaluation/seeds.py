"""Compare the baseline and the tuned network over several seeds, so that a lucky seed is not called progress.

All scores are those of the kept epochs on the hold-out of the training groups. A few
seeds are described, not tested: where nothing is better, a t interval over three of them says "above 0" too
often. Claims rest on paired intervals over test groups (`intervals`) or on repeated cross-validation
(`resampling`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from melanoma import metric_names
from melanoma.config.training import in_words
from melanoma.errors import DataError
from melanoma.schema import MODEL_NAMES

SELECTING = "val_auc_roc"


def compare(scores: pd.DataFrame, *, changed: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Content of `seeds.json`: each score by model, and the paired difference of the models.

    Args:
        scores: One row per network: `model` (one of `MODEL_NAMES`), `seed` (the same for both models; the
            first is the seed of the networks that are kept), and its scores, columns `val_…`.
        changed: Baseline's and tuned value of each hyperparameter in which the models differ; empty if the
            search found nothing better than the baseline.

    Returns:
        `seeds`, `kept_seed`, `same_hyperparameters`, `changed`; by model and score `by_seed`, `mean`,
        `standard_deviation` (of a sample; nan for one seed), `min` and `max`; the same of
        `tuned_minus_baseline` by score, without an interval.

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
        "tuned_minus_baseline": {name: _describe(tuned[name] - baseline[name]) for name in names},
    }


def _describe(scores: pd.Series) -> dict[str, Any]:
    return {
        "by_seed": {str(seed): float(score) for seed, score in scores.items()},
        "mean": float(scores.mean()),
        "standard_deviation": float(scores.std(ddof=1)),
        "min": float(scores.min()),
        "max": float(scores.max()),
    }


def hyperparameter(comparison: dict[str, Any], name: str, of_baseline: Any) -> dict[str, Any]:
    """The value of a hyperparameter by model.

    Args:
        comparison: Content of `seeds.json`.
        name: Name of the hyperparameter.
        of_baseline: Its value in the baseline.
    """
    _, of_tuned = comparison["changed"].get(name, (of_baseline, of_baseline))
    return dict(zip(MODEL_NAMES, (of_baseline, of_tuned), strict=True))


def select(comparison: dict[str, Any]) -> str:
    """The model to promote: the one with the higher mean AUC on the hold-out.

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
    """The AUC of every network on the hold-out, columns `network` and `val_auc_roc`."""
    rows = [
        {"network": f"{model}, seed {seed}", SELECTING: score}
        for model in MODEL_NAMES
        for seed, score in comparison[model][SELECTING]["by_seed"].items()
    ]
    return pd.DataFrame(rows)


def summary_line(comparison: dict[str, Any]) -> str:
    """Mean and range of both models' AUC on the hold-out, and their differences by seed, in one line."""
    seeds = comparison["seeds"]
    parts = [_in_words(model, comparison[model][SELECTING]) for model in MODEL_NAMES]
    difference = comparison["tuned_minus_baseline"][SELECTING]
    text = f"hold-out AUC, {'mean of seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}: "
    text += ", ".join(parts)
    if not comparison["changed"]:
        return f"{text}; both have the same hyperparameters"
    by_seed = ", ".join(f"{value:+.3f}" for value in difference["by_seed"].values())
    word = "seed is" if len(seeds) == 1 else "seeds are"
    text += f"; difference by seed {by_seed} ({len(seeds)} {word} no evidence that one is better)"
    values = comparison["changed"].items()
    baseline, tuned = ({name: pair[at] for name, pair in values} for at in range(2))
    return f"{text}; tuned has {in_words(tuned)} instead of {in_words(baseline)}"


def _in_words(model: str, score: dict[str, Any]) -> str:
    has_range = len(score["by_seed"]) > 1
    spread = f" (range {score['min']:.3f} to {score['max']:.3f})" if has_range else ""
    return f"{model} {score['mean']:.3f}{spread}"
