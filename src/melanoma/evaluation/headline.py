"""What a cohort came to, in one small file: for the summary in the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import seeds
from melanoma.evaluation.metrics import roc_curve
from melanoma.schema import MODEL_NAMES, TEST

COUNTS = ("num_images", "num_groups", "num_malignant")
SHOWN = (
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
OF_PROMOTION = ("registered_model", "version", "is_promoted", "reasons", "staging_version", "gates")


def gather(
    *,
    metrics: Mapping[str, Any],
    models: Mapping[str, Any],
    predictions: pd.DataFrame,
    audit: Mapping[str, Any],
    comparison: Mapping[str, Any],
    promotion: Mapping[str, Any],
) -> dict[str, Any]:
    """All that is shown of a cohort elsewhere, for JSON.

    Args:
        metrics: `metrics.json`.
        models: `models.json`.
        predictions: Of all models and splits, columns `schema.PREDICTION_COLUMNS`.
        audit: `audit.json`.
        comparison: `seeds.json`.
        promotion: `promotion.json`.
    """
    selected = metrics["selected"]
    test = metrics[selected][TEST]
    return {
        "cohort": metrics["cohort"],
        "is_synthetic": metrics["is_synthetic"],
        "selected": selected,
        "data_digest": promotion["data_digest"],
        "split": TEST,
        **{name: test[name] for name in COUNTS},
        "metrics": {model: {name: metrics[model][TEST][name] for name in SHOWN} for model in MODEL_NAMES},
        "three_way": test["three_way"],
        "operating_point": models[selected]["operating_point"],
        "references": {
            name: {"auc_roc": found["auc_roc"], "selected_minus_reference": found["selected_minus_reference"]}
            for name, found in audit["references"].items()
        },
        "warnings": list(audit["warnings"]),
        "seeds": seeds.headline(dict(comparison)),
        "promotion": {name: promotion[name] for name in OF_PROMOTION},
        "roc": {model: _roc(predictions, model) for model in MODEL_NAMES},
        "run_ids": {model: models[model]["run_id"] for model in MODEL_NAMES},
    }


def _roc(predictions: pd.DataFrame, model: str) -> dict[str, str]:
    """The corners of the curve on test, each axis as words: a number a line would make a long file."""
    rows = predictions[(predictions["model"] == model) & (predictions["split"] == TEST)]
    curve = roc_curve(rows["target"].to_numpy(), rows["probability"].to_numpy())
    points = np.stack([curve["false_positive_fraction"], curve["sensitivity"]])
    is_corner = _corners(points)
    return {
        name: " ".join(f"{value:.4g}" for value in values[is_corner])
        for name, values in zip(("false_positive_fraction", "sensitivity"), points, strict=True)
    }


def _corners(points: np.ndarray) -> np.ndarray:
    """Which points of a line `(2, num)` are its ends or turn it: the others lie on a straight piece."""
    steps = np.diff(points)
    turns = steps[0, :-1] * steps[1, 1:] != steps[1, :-1] * steps[0, 1:]
    return np.r_[True, turns, True]
