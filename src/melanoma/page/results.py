"""The headline of a cohort as sentences and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from melanoma.data.tone_classes import CAVEAT
from melanoma.evaluation import asked_and_got, crossvalidation
from melanoma.evaluation.bootstrap import explained, in_words
from melanoma.evaluation.headline import (
    OF_SLICE,
    decisions,
    looks_in_words,
    metric_rows,
    outcome,
    verdict,
    verdict_word,
)
from melanoma.evaluation.metric_table import BY_NAME, HEADLINE
from melanoma.page import charts
from melanoma.page.tables import Table, make
from melanoma.schema import MODEL_NAMES, REFERENCE_NAMES

BASELINE, COLOUR = MODEL_NAMES[0], REFERENCE_NAMES[0]
NAMES = {
    **{model: model for model in MODEL_NAMES},
    **dict(zip(REFERENCE_NAMES, ("colours alone", "file facts alone", "lesion size alone"), strict=True)),
}
VERDICTS = {"passed": "promoted", "accepted": "accepted by a person", "refused": "refused"}


def describe(headline: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of a cohort, from its headline (`evaluation.headline.gather`)."""
    promotion, point = headline["promotion"], headline["operating_point"]
    return {
        "cohort": headline["cohort"],
        "is_synthetic": headline["is_synthetic"],
        "summary": _summary(headline),
        "is_promoted": promotion["is_promoted"],
        "verdict": verdict(promotion),
        "served_version": promotion["version"] if promotion["is_promoted"] else promotion["staging_version"],
        "chart": charts.auc_bars(headline, names=NAMES),
        "caption": f"AUC of {headline['cohort']} on the test set, with 95 % intervals",
        "auc_in_words": "; ".join(
            f"{model}: AUC {in_words(headline['metrics'][model]['auc_roc'])}" for model in MODEL_NAMES
        ),
        "roc": {model: charts.roc_path(curve) for model, curve in headline["roc"].items()},
        "seeds": _sentence(headline["seeds"]),
        "crossvalidation": crossvalidation.beside(headline),
        "search": headline.get("search", ""),  # older headlines do not have it
        "metrics": _metrics_table(headline),
        "skin": _skin_table(headline),
        "gates": _gates_table(headline),
        "warnings": headline["warnings"],
        "operating_point": {
            "table": make(
                f"Operating point of {headline['cohort']}: asked and got",
                asked_and_got.TITLES,
                asked_and_got.table(point, headline),
            ),
            "notes": asked_and_got.notes(point),
            "warnings": point["evidence"]["warnings"],
        },
    }


def overview(headlines: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each cohort."""
    titles = [
        "cohort",
        "images",
        "AUC of the baseline",
        "AUC of the selected model",
        "colours alone",
        "verdict",
    ]
    rows = [
        [
            found["cohort"],
            "synthetic" if found["is_synthetic"] else "real",
            in_words(found["metrics"][BASELINE]["auc_roc"]),
            in_words(found["metrics"][found["selected"]]["auc_roc"]),
            in_words(found["references"][COLOUR]["auc_roc"]),
            VERDICTS[verdict_word(found["promotion"])],
        ]
        for found in headlines
    ]
    return make("All cohorts: AUC on the test set, with 95 % intervals", titles, rows)


def _looks(headline: Mapping[str, Any]) -> str:
    """How often the test set was used; empty in headlines of earlier versions, which do not have it."""
    looks = headline["promotion"].get("looks")
    return f" This test set, or a part of it, has been {looks_in_words(looks)}." if looks else ""


def _summary(headline: Mapping[str, Any]) -> str:
    """The selected model and what it does on the test set, at the operating point chosen on validation."""
    found = headline["metrics"][headline["selected"]]
    kind = "synthetic" if headline["is_synthetic"] else "real"
    return (
        f"The selected model is the {headline['selected']} network. Tested on "
        f"{headline['num_images']:,} {kind} images in {headline['num_groups']:,} groups, "
        f"{headline['num_malignant']:,} of them positive, it has an AUC of {in_words(found['auc_roc'])}. "
        f"At its decision threshold its sensitivity is {in_words(found['sensitivity'])} and its specificity "
        f"{in_words(found['specificity'])}. {decisions(headline)}{_looks(headline)}"
    )


def _sentence(text: str) -> str:
    """`text` with a capital first letter and a full stop; other letters keep their case."""
    return f"{text[:1].upper()}{text[1:]}."


def _metrics_table(headline: Mapping[str, Any]) -> Table:
    rows = [[metric.label, *map(explained, entries)] for metric, entries in metric_rows(headline, HEADLINE)]
    return make(
        f"Metrics of {headline['cohort']} on the test set, with 95 % intervals",
        ["metric", *MODEL_NAMES],
        rows,
    )


def _skin_table(headline: Mapping[str, Any]) -> Table | None:
    """Metrics by skin type and tone; None in headlines of earlier versions, which do not have them."""
    if not headline.get("skin"):
        return None
    rows = [
        [
            f"{part['slice'].replace('_', ' ')}: {part['value']}",
            f"{part['num_images']:,}",
            f"{part['num_malignant']:,}",
            *(explained(part[name]) for name in OF_SLICE),
        ]
        for part in headline["skin"]
    ]
    return make(
        f"Test set of {headline['cohort']} by skin, with 95 % intervals. Skin tone is {CAVEAT}.",
        ["skin", "images", "positive", *(BY_NAME[name].label for name in OF_SLICE)],
        rows,
    )


def _gates_table(headline: Mapping[str, Any]) -> Table:
    rows = [[gate["name"], outcome(gate), gate["words"]] for gate in headline["promotion"]["gates"]]
    return make(f"Gates of {headline['cohort']}", ["gate", "outcome", "in words"], rows)
