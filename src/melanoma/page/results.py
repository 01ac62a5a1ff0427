"""The headline of a cohort as sentences and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.headline import SHOWN
from melanoma.page import charts
from melanoma.page.tables import Table, make
from melanoma.schema import MODEL_NAMES, REFERENCE_NAMES

BASELINE, COLOUR = MODEL_NAMES[0], REFERENCE_NAMES[0]
NAMES = {
    **{model: model for model in MODEL_NAMES},
    **dict(zip(REFERENCE_NAMES, ("colours alone", "file facts alone"), strict=True)),
}
METRIC_NAMES = {
    "auc_roc": "AUC",
    "partial_auc_above_80_sensitivity": "partial AUC above a sensitivity of 0.80 (at most 0.20)",
    "specificity_at_95_sensitivity": "specificity at a sensitivity of 0.95",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
}


def describe(headline: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of a cohort, from its headline (`evaluation.headline.gather`)."""
    promotion = headline["promotion"]
    return {
        "cohort": headline["cohort"],
        "is_synthetic": headline["is_synthetic"],
        "counts": _counts(headline),
        "is_promoted": promotion["is_promoted"],
        "verdict": _verdict(promotion),
        "chart": charts.auc_bars(headline, names=NAMES),
        "caption": f"AUC of {headline['cohort']} on test, with 95 % intervals",
        "auc_in_words": "; ".join(
            f"{model}: AUC {in_words(headline['metrics'][model]['auc_roc'])}" for model in MODEL_NAMES
        ),
        "roc": {model: charts.roc_path(curve) for model, curve in headline["roc"].items()},
        "seeds": f"{headline['seeds'][:1].upper()}{headline['seeds'][1:]}.",
        "answers": _answers(headline),
        "metrics": _metrics_table(headline),
        "gates": _gates_table(headline),
        "warnings": headline["warnings"],
    }


def overview(headlines: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each cohort."""
    titles = ["cohort", "images", "AUC of the baseline", "AUC of the selected", "colours alone", "verdict"]
    rows = [
        [
            found["cohort"],
            "synthetic" if found["is_synthetic"] else "real",
            in_words(found["metrics"][BASELINE]["auc_roc"]),
            in_words(found["metrics"][found["selected"]]["auc_roc"]),
            in_words(found["references"][COLOUR]["auc_roc"]),
            "promoted" if found["promotion"]["is_promoted"] else "refused",
        ]
        for found in headlines
    ]
    return make("All cohorts: AUC on test, with 95 % intervals", titles, rows)


def _counts(headline: Mapping[str, Any]) -> str:
    return (
        f"{headline['num_images']:,} test images in {headline['num_groups']:,} groups, "
        f"{headline['num_malignant']:,} of them malignant. Selected on validation: {headline['selected']}."
    )


def _verdict(promotion: Mapping[str, Any]) -> str:
    name = f"{promotion['registered_model']} version {promotion['version']}"
    if promotion["is_promoted"]:
        return f"{name} passed the gates and took the alias staging."
    holder = promotion["staging_version"]
    held = (
        "No version holds the alias staging"
        if holder is None
        else f"Version {holder} holds the alias staging"
    )
    return f"{name} was refused: {'; '.join(promotion['reasons'])}. {held}."


def _answers(headline: Mapping[str, Any]) -> str:
    """Decisions of the selected model on the test set, at the operating point chosen on validation."""
    answers, found = headline["three_way"], headline["metrics"][headline["selected"]]
    missed = answers["counts"]["malignant"]["benign"]
    return (
        f"At the threshold chosen on validation: sensitivity {in_words(found['sensitivity'])}, specificity "
        f"{in_words(found['specificity'])}. Referred to a person: "
        f"{in_words(answers['referred_fraction'])} of the images; {missed} of {headline['num_malignant']} "
        "malignant images were called benign."
    )


def _metrics_table(headline: Mapping[str, Any]) -> Table:
    rows = [
        [
            METRIC_NAMES.get(name, name.replace("_", " ")),
            *(in_words(headline["metrics"][model][name]) for model in MODEL_NAMES),
        ]
        for name in SHOWN
    ]
    return make(
        f"Metrics of {headline['cohort']} on test, with 95 % intervals", ["metric", *MODEL_NAMES], rows
    )


def _gates_table(headline: Mapping[str, Any]) -> Table:
    rows = [[gate["name"], _outcome(gate), gate["words"]] for gate in headline["promotion"]["gates"]]
    return make(f"Gates of {headline['cohort']}", ["gate", "outcome", "in words"], rows)


def _outcome(gate: Mapping[str, Any]) -> str:
    if not gate["is_judged"]:
        return "not judged"
    return "passed" if gate["is_passed"] else "NOT passed"
