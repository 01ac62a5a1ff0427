"""Compare the baseline and the tuned network over several seeds, so that a lucky seed is not called progress.

All scores are those of the kept epochs on training groups that the network did not learn from: a hold-out
inside training, where the epoch was chosen on them, or out of fold, where nothing was. Each seed holds out
the same groups for both models. Where the mean of several networks is served, it is not scored there: each
training group was learned by one of them, so its recipe is judged by networks.

A few seeds are described, not tested: where nothing is better, a t interval over three of them says "above 0"
too often. Claims rest on paired intervals over test groups (`intervals`) or on repeated cross-validation
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
HOLDOUT, OUT_OF_FOLD = "hold-out inside training", "out of fold"  # what scores on training groups are
ON = {HOLDOUT: "hold-out", OUT_OF_FOLD: "out-of-fold"}
ALL, ALL_BUT_ONE = "all training groups", "all training groups but those of one fold"
RULE = (
    "The recipe with the higher mean AUC of its networks is selected, on a tie the baseline. Each network is "
    "scored on training groups that it did not learn from, the same for both models by seed. The mean of "
    "several networks is not scored there."
)


def compare(
    scores: pd.DataFrame,
    *,
    changed: Mapping[str, Sequence[Any]],
    networks: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Content of `seeds.json`: each score by model, and the paired difference of the models.

    Args:
        scores: One row per network: `model` (one of `MODEL_NAMES`), `seed` (the same for both models; the
            first is the first seed that is kept), and its scores, columns `val_…`.
        changed: Baseline's and tuned value of each hyperparameter in which the models differ; empty if the
            search found nothing better than the baseline.
        networks: By model, `scored_on` (`hold-out inside training` or `out of fold`), `seeds` of the networks
            that are served and what each of them `learned_from`.

    Returns:
        `rule`, `networks`, `seeds`, `kept_seed`, `same_hyperparameters`, `changed`; by model and score
        `by_seed`, `mean`, `standard_deviation` (of a sample; nan for one seed), `min` and `max`; the same of
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
        "rule": RULE,
        "networks": {model: dict(how) for model, how in networks.items()},
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


def describe_views(measured: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """`views` of `seeds.json`: by model and number of views, the mean of each score over networks.

    Args:
        measured: By model, for each network with a hold-out, its scores by number of views.
    """
    return {
        model: {
            num_views: {"num_networks": len(networks)}
            | {name: sum(one[num_views][name] for one in networks) / len(networks) for name in first}
            for num_views, first in networks[0].items()
        }
        for model, networks in measured.items()
        if networks
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


def how_served(comparison: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What is served of a model: its entry of `networks`; one network in results of older versions."""
    one = {"scored_on": HOLDOUT, "seeds": [comparison["kept_seed"]], "learned_from": None}
    return one | dict(comparison.get("networks", {}).get(model, {}))


def score_of_served(comparison: Mapping[str, Any], model: str) -> float:
    """The AUC of what is served on held-out training groups; of its recipe's networks if it has none."""
    how, score = how_served(comparison, model), comparison[model][SELECTING]
    is_scored = len(how["seeds"]) == 1 and how["learned_from"] != ALL
    return float(score["by_seed"][str(how["seeds"][0])] if is_scored else score["mean"])


def provenance(comparison: Mapping[str, Any], model: str) -> str:
    """Which networks are served as a model, and by what its recipe was judged, in sentences."""
    how, score = how_served(comparison, model), comparison[model][SELECTING]
    named = ", ".join(map(str, how["seeds"]))
    what = f"the network of seed {named}" if len(how["seeds"]) == 1 else _mean_of(how, named)
    learned = f" It learned from {how['learned_from']}." if how["learned_from"] else ""
    if len(how["seeds"]) > 1:
        learned = f" Each of them learned from {how['learned_from']}."
    chose = "which chose their epochs" if how["scored_on"] == HOLDOUT else "on which nothing was chosen"
    return (
        f"The {model} model is {what}.{learned} Its recipe was judged by networks of the seeds "
        f"{', '.join(map(str, comparison['seeds']))} on training groups that they did not learn from "
        f"({how['scored_on']}), {chose}: AUC {score['mean']:.3f} on average ({score['min']:.3f} to "
        f"{score['max']:.3f})."
    )


def _mean_of(how: Mapping[str, Any], named: str) -> str:
    return f"the mean of the logits of {len(how['seeds'])} networks, seeds {named}"


def select(comparison: dict[str, Any]) -> str:
    """The model to promote: the one with the higher mean AUC on held-out training groups, see `RULE`.

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
    """The AUC of every network on its held-out groups, columns `network` and `val_auc_roc`."""
    rows = [
        {"network": f"{model}, seed {seed}", SELECTING: score}
        for model in MODEL_NAMES
        for seed, score in comparison[model][SELECTING]["by_seed"].items()
    ]
    return pd.DataFrame(rows)


def summary_line(comparison: dict[str, Any]) -> str:
    """Mean and range of both models' held-out AUC, and their differences by seed, in one line."""
    seeds = comparison["seeds"]
    kinds = [how_served(comparison, model)["scored_on"] for model in MODEL_NAMES]
    is_one_kind = len(set(kinds)) == 1
    parts = [
        _in_words(model, comparison[model][SELECTING]) + ("" if is_one_kind else f" ({kind})")
        for model, kind in zip(MODEL_NAMES, kinds, strict=True)
    ]
    difference = comparison["tuned_minus_baseline"][SELECTING]
    text = f"{ON[kinds[0]] if is_one_kind else 'held-out'} AUC, "
    text += f"{'mean of seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}: "
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
