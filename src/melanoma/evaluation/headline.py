"""The main results of a cohort in one small file and in sentences, for the terminal and the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import asked_and_got, seeds
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.metric_table import HEADLINE, Metric
from melanoma.evaluation.metrics import roc_curve
from melanoma.evaluation.slices import OF_SKIN
from melanoma.schema import EARLIER_POSITIVE, MODEL_NAMES, TEST
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, current_word

COUNTS = ("num_images", "num_groups", "num_malignant")
OF_SLICE = ("auc_roc", "sensitivity", "specificity")
OF_PROMOTION = (
    "registered_model",
    "version",
    "is_promoted",
    "reasons",
    "is_acceptable",
    "accepted",
    "staging_version",
    "gates",
    "looks",
)


def gather(
    *,
    metrics: Mapping[str, Any],
    models: Mapping[str, Any],
    predictions: pd.DataFrame,
    audit: Mapping[str, Any],
    comparison: Mapping[str, Any],
    search: str,
    promotion: Mapping[str, Any],
    slices: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather the results of a cohort that are shown elsewhere, as a JSON object.

    Args:
        metrics: Content of `metrics.json`.
        models: Content of `models.json`.
        predictions: Predictions of all models and splits, columns `schema.PREDICTION_COLUMNS`.
        audit: Content of `audit.json`.
        comparison: Content of `seeds.json`.
        search: What the hyperparameter search varied and found, in one line.
        promotion: Content of `promotion.json`.
        slices: Entries of the selected model in `slices.json`.
    """
    selected = metrics["selected"]
    test = metrics[selected][TEST]
    return {
        "cohort": metrics["cohort"],
        "is_synthetic": metrics["is_synthetic"],
        "positive_means": metrics["positive_means"],
        "selected": selected,
        "data_digest": promotion["data_digest"],
        "split": TEST,
        **{name: test[name] for name in COUNTS},
        "metrics": {
            model: {metric.name: metrics[model][TEST][metric.name] for metric in HEADLINE}
            for model in MODEL_NAMES
        },
        "three_way": test["three_way"],
        "num_unlike": test["unlike"]["num_referred"] if test["unlike"] else None,
        asked_and_got.ON_GROUPS: test[asked_and_got.ON_GROUPS],
        "operating_point": models[selected]["operating_point"],
        "references": {
            name: {"auc_roc": found["auc_roc"], "selected_minus_reference": found["selected_minus_reference"]}
            for name, found in audit["references"].items()
        },
        "warnings": list(audit["warnings"]),
        "skin": [
            {name: part[name] for name in ("slice", "value", *COUNTS, *OF_SLICE)}
            for part in slices
            if part["slice"] in OF_SKIN
        ],
        "search": search,
        "seeds": seeds.summary_line(dict(comparison)),
        "same_hyperparameters": comparison["same_hyperparameters"],
        "promotion": {name: promotion[name] for name in OF_PROMOTION},
        "roc": {model: _roc(predictions, model) for model in MODEL_NAMES},
        "run_ids": {model: models[model]["run_id"] for model in MODEL_NAMES},
    }


def metric_rows(
    headline: Mapping[str, Any], metrics: Sequence[Metric]
) -> list[tuple[Metric, list[Mapping[str, Any]]]]:
    """Those of the metrics that a headline has, with the entry of each model; older ones do not have all."""
    of_model = [headline["metrics"][model] for model in MODEL_NAMES]
    return [
        (metric, [entries[metric.name] for entries in of_model])
        for metric in metrics
        if all(metric.name in entries for entries in of_model)
    ]


def decisions(headline: Mapping[str, Any]) -> str:
    """How the selected model decides with a referral band, and what that means on the test set."""
    point, three_way = headline["operating_point"], headline["three_way"]
    (num_missed,) = (
        number
        for truth, answers in three_way["counts"].items()
        for answer, number in answers.items()
        if (current_word(truth), current_word(answer)) == (POSITIVE, NEGATIVE)
    )
    # Not in headlines of earlier versions, nor where it is off.
    unlike = ", and those unlike its training images," if headline.get("num_unlike") is not None else ""
    return (
        f"As a served model it answers negative below {point['refer_from']:.3f} and positive from "
        f"{point['refer_to']:.3f}, and refers images in between{unlike} to a person: "
        f"{in_words(three_way['referred_fraction'])} of the test images. It calls "
        f"{num_missed:,} of the {headline['num_malignant']:,} positive test "
        f"images negative. {meaning(headline)}"
    )


def meaning(content: Mapping[str, Any]) -> str:
    """What `positive` means, in a sentence.

    Args:
        content: A headline, or a report with the same head.
    """
    return f"Positive means {content.get('positive_means', EARLIER_POSITIVE)}."


def verdict(promotion: Mapping[str, Any]) -> str:
    """Whether the model passed the gates, and which version is served.

    Args:
        promotion: Content of `promotion.json`, or the part of it that a headline has.
    """
    name = f"{promotion['registered_model']} version {promotion['version']}"
    accepted = promotion.get("accepted")  # absent in older files, like `is_acceptable`
    if promotion["is_promoted"] and not accepted:
        return f"{name} passed the gates and received the alias staging, under which models are served."
    reasons = "; ".join(promotion["reasons"])  # none where an accepted version was judged without rivals
    said = [f"{name} was refused: {reasons}." if reasons else f"{name} was refused at first."]
    if accepted:
        said.append(accepted_in_words(accepted))
    elif promotion.get("is_acceptable"):
        said.append("A person may accept this: `python -m pipelines.accept`.")
    return " ".join([*said, _served(promotion)])


def verdict_word(promotion: Mapping[str, Any]) -> str:
    """The verdict in a word: `passed`, `accepted` by a person, or `refused`.

    Args:
        promotion: See `verdict`.
    """
    if promotion.get("accepted"):
        return "accepted"
    return "passed" if promotion["is_promoted"] else "refused"


def accepted_in_words(accepted: Mapping[str, str]) -> str:
    """Who accepted a refused version, when and why.

    Args:
        accepted: `promotion.json: accepted`, with `by`, `at` and `reason`.
    """
    reason = accepted["reason"].rstrip(".")
    return (
        f"Accepted by {accepted['by']} on {accepted['at']} although the gates refused it, because: {reason}."
    )


def outcome(gate: Mapping[str, Any]) -> str:
    """The outcome of a gate in a word or two.

    Args:
        gate: Entry of `promotion.json: gates`; an older one lacks `is_acceptable`.
    """
    if not gate["is_judged"]:
        return "not judged"
    if gate["is_passed"]:
        return "passed"
    return "NOT SHOWN" if gate.get("is_acceptable") else "NOT passed"


def _served(promotion: Mapping[str, Any]) -> str:
    holder = promotion["staging_version"]
    if holder is None:
        return "No version has the alias staging, so none is served."
    if holder == promotion["version"]:
        return (
            "It still has the alias staging and is served; `python -m pipelines.rollback` with --alias "
            "staging restores its predecessor."
        )
    return f"Version {holder} has the alias staging and is served."


def looks_in_words(looks: Mapping[str, Any]) -> str:
    """How often a test set was used.

    Args:
        looks: `promotion.json: looks`. Where an earlier version wrote it, it lacks `share` and `is_at_least`.

    Example:
        >>> looks_in_words({"num_looks": 5, "num_models": 3, "num_choices": 1, "is_at_least": True})
        'used at least 5 times for 3 models, once to choose a model'
    """
    at_least = "at least " if looks.get("is_at_least") else ""
    share, num_models = looks.get("share"), looks["num_models"]
    whole = share is None or not share < 1
    return (
        f"used {at_least}{_times(looks['num_looks'])} for {num_models} model{'s'[num_models == 1 :]}, "
        f"{_times(looks['num_choices'])} to choose a model"
        + ("" if whole else f"; a use saw {share:.0%} of its images on average".replace("%", " %"))
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _roc(predictions: pd.DataFrame, model: str) -> dict[str, str]:
    """Corners of the ROC curve on test, each axis as one text: a number per line would make a long file."""
    rows = predictions[(predictions["model"] == model) & (predictions["split"] == TEST)]
    curve = roc_curve(rows["target"].to_numpy(), rows["probability"].to_numpy())
    points = np.stack([curve["false_positive_fraction"], curve["sensitivity"]])
    is_corner = _corners(points)
    return {
        name: " ".join(f"{value:.4g}" for value in values[is_corner])
        for name, values in zip(("false_positive_fraction", "sensitivity"), points, strict=True)
    }


def _corners(points: np.ndarray) -> np.ndarray:
    """Which points of a polyline `(2, num)` are its ends or corners; the others lie on straight segments."""
    steps = np.diff(points)
    turns = steps[0, :-1] * steps[1, 1:] != steps[1, :-1] * steps[0, 1:]
    return np.r_[True, turns, True]
