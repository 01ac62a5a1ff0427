"""A small page's contents, of which each test changes what it is about."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from melanoma.page.graph import Node
from melanoma.page.registered import Holder, Model, Version, Window
from melanoma.page.render import Contents, Origin

WIDTH = 400


def measured(
    value: float | None, low: float | None = None, high: float | None = None
) -> dict[str, float | None]:
    """An entry of `metrics.json`; ends that are not given are 0.1 away."""
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - 0.1 if low is None else low, "high": high or value + 0.1}


METRICS = (
    "auc_roc",
    "partial_auc_above_80_sensitivity",
    "specificity_at_95_sensitivity",
    "average_precision",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "brier_score",
    "expected_calibration_error",
)
GATES = [
    {
        "name": "must_beat_colour",
        "is_judged": True,
        "is_passed": False,
        "words": "AUC below that of the colours",
    },
    {"name": "max_primary_drop", "is_judged": False, "is_passed": None, "words": "no champion"},
]
ASKED = {
    "asked": 0.95,
    "got": 1.0,
    "num_right": 8,
    "num_groups": 8,
    "confidence": 0.95,
    "guaranteed": 0.688,
    "groups_needed": [59, 93],
}
POINT = {
    "threshold": 0.2,
    "refer_from": 0.1,
    "refer_to": 0.4,
    "evidence": {
        "asked_and_got": {
            "threshold": ASKED,
            "band_start": ASKED | {"asked": 0.99},
            "band_end": ASKED | {"num_groups": 32, "guaranteed": None, "undefined": "it was narrowed"},
            "referred": {"asked": 0.3, "got": 0.25},
        },
        "choices": {"plain": {"threshold": 0.2, "specificity": 0.5}, "guaranteed": None},
        "warnings": ["the referral band was narrowed"],
    },
}
OLDER_POINT = POINT | {"evidence": {"sensitivity": 1.0, "warnings": ["the band was narrowed"]}}


def headline(cohort: str = "ph2", **changes: Any) -> dict[str, Any]:
    """As `evaluation.headline` writes it."""
    auc = {"baseline": measured(0.75), "tuned": measured(0.7)}
    return {
        "cohort": cohort,
        "is_synthetic": False,
        "selected": "baseline",
        "data_digest": "d" * 64,
        "split": "test",
        "num_images": 1040,
        "num_groups": 38,
        "num_malignant": 8,
        "metrics": {
            model: dict.fromkeys(METRICS, measured(0.5)) | {"auc_roc": entry} for model, entry in auc.items()
        },
        "three_way": {
            "counts": {"positive": {"negative": 1, "refer": 2, "positive": 5}, "negative": {}},
            "referred_fraction": measured(0.25),
        },
        "operating_point": POINT,
        "at_operating_point": {
            "threshold": measured(0.875),
            "band_start": measured(1.0, 0.63, 1.0),
            "band_end": measured(0.5),
        },
        "references": {"colour": {"auc_roc": measured(0.8), "selected_minus_reference": measured(-0.05)}},
        "skin": [
            {
                "slice": "skin_tone",
                "value": "estimated from pixels: 2 light",
                "num_images": 30,
                "num_malignant": 4,
            }
            | {"auc_roc": measured(0.7), "specificity": measured(0.6)}
            | {"sensitivity": {"value": None, "low": None, "high": None, "undefined": "fewer than 10 groups"}}
        ],
        "warnings": ["hair: adding it changes 15% of the decisions"],
        "seeds": "validation AUC, seed 1: baseline 0.700, tuned 0.600, difference -0.100",
        "promotion": {
            "registered_model": f"melanoma-{cohort}",
            "version": 3,
            "is_promoted": False,
            "reasons": ["AUC below that of the colours"],
            "staging_version": 2,
            "gates": GATES,
        },
        "roc": {
            model: {"false_positive_fraction": "0 0 0.5 1", "sensitivity": "0 0.5 0.5 1"} for model in auc
        },
        "run_ids": {"baseline": "b" * 32, "tuned": "t" * 32},
    } | changes


MEASURED = ("0.900 (0.800 to 0.950)", "intercept 0.100 (-0.200 to 0.400), slope 1.000 (0.800 to 1.200)")
MODEL = Model(
    name="melanoma-ph2",
    versions=[
        Version(
            3, ("challenger",), "2026-05-18 10:00 UTC", "refused", "tuned", "0.700", "c" * 40, False, True
        ),
        Version(
            2, ("staging",), "2026-05-17 10:00 UTC", "passed", "baseline", "0.750", "c" * 40, False, False
        ),
    ],
    holders=[
        Holder("challenger", 3, "", "not in the ledger", "", "", ""),
        Holder("staging", 2, "2026-05-17 10:05 UTC", "A. Name", "passed 5 gates", "promote", ""),
    ],
    num_older=0,
    windows=[
        Window(2, "2026-05-01", "2026-06-01", "90", "1", "0.800", "-", "-", ("an alarm that is over",)),
        Window(2, "2026-06-01", "2026-07-01", "120", "3", "0.001", *MEASURED, ("the answers are shifted",)),
    ],
)

GRAPH = [
    Node("ingest", "run.datasets", ("ph2",), "bring metadata in.", (), ("data/records/${item}.parquet",)),
    Node("train", "run.cohorts", ("ph2",), "fit networks.", ("ingest",), ("models/${item}",)),
    Node("page", "", (), "put all on a page.", ("train",), ("reports/index.html",)),
]
ORIGIN = Origin(
    note="Results of a test.",
    results_at="2026-05-19 08:00 UTC",
    git_commit="c0ffee",
    is_dirty=False,
    commands="git checkout c0ffee\nmake install\ndvc repro",
    raw_digests={"ph2": "a" * 32},
    graph=GRAPH,
    models={"ph2": MODEL},
)


def contents(*, origin: dict[str, Any] | None = None, **changes: Any) -> Contents:
    """Contents without cards and study; `origin` and `changes` replace what they name."""
    plain: dict[str, Any] = {"headlines": [headline()], "cards": {}, "study": [], "missing": []}
    return Contents(origin=replace(ORIGIN, **(origin or {})), **plain | changes)


def draw_picture(path: Path, *, size: tuple[int, int] = (60, 40), colour: str = "teal") -> Path:
    """A PNG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path
