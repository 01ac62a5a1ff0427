"""All that is said about the models of a cohort, put together from its scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.evaluation import bootstrap, figures, metrics
from melanoma.evaluation.thresholds import threshold_for_sensitivity
from melanoma.schema import PREDICTION_COLUMNS, TEST, VALIDATION
from melanoma.sections import Evaluate

MEASURED_SPLITS = (VALIDATION, TEST)


@dataclass(frozen=True)
class Report:
    """The evaluation of a cohort.

    Attributes:
        metrics: What `metrics.json` holds.
        thresholds: The operating point of each model.
        selected: The model to promote; chosen beforehand, see `seeds.select`.
        predictions: One row an image and model, columns `schema.PREDICTION_COLUMNS`; all splits.
        roc: Points of the ROC curves on test; columns `model`, `false_positive_fraction`, `sensitivity`,
            `threshold`.
        confusion: One row an image of test of the selected model; columns `truth`, `decision`.
        figures: By model, by file name.
    """

    metrics: dict[str, Any]
    thresholds: dict[str, float]
    selected: str
    predictions: pd.DataFrame
    roc: pd.DataFrame
    confusion: pd.DataFrame
    figures: dict[str, dict[str, Figure]]

    def flat_metrics(self, model: str) -> dict[str, float]:
        """`test_auc_roc`, `test_auc_roc_low`, …: metrics of one model under the names of MLflow."""
        flat = {"threshold": self.thresholds[model]}
        for split in MEASURED_SPLITS:
            for name, entry in self.metrics[model][split].items():
                if isinstance(entry, dict):
                    flat[f"{split}_{name}"] = entry["value"]
                    flat[f"{split}_{name}_low"] = entry["low"]
                    flat[f"{split}_{name}_high"] = entry["high"]
        return flat

    def save_figures(self, folder: Path) -> None:
        """Write every figure as PNG, `<model>_<name>`."""
        for model, by_name in self.figures.items():
            for name, figure in by_name.items():
                figure.savefig(folder / f"{model}_{name}", dpi=110)

    def headline(self) -> str:
        """One line: AUC of both models on test, with intervals, and which was selected."""
        parts = []
        for model in self.thresholds:
            entry = self.metrics[model][TEST]["auc_roc"]
            parts.append(f"{model} {entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})")
        kind = " on SYNTHETIC images" if self.metrics["is_synthetic"] else ""
        return f"test AUC{kind}, 95 % intervals: {', '.join(parts)}; selected {self.selected}"


def evaluate(
    index: pd.DataFrame,
    scores: dict[str, np.ndarray],
    settings: Evaluate,
    *,
    cohort: str,
    is_synthetic: bool,
    selected: str,
) -> Report:
    """Measure models on validation and test, each at the operating point it gets on validation.

    Args:
        index: One row an image, columns `schema.SPLIT_COLUMNS`.
        scores: By model: probabilities in the order of `index`.
        settings: `params.yaml: evaluate`.
        cohort: For titles.
        is_synthetic: Whether to say so in every title.
        selected: The model to promote, chosen without the test split.
    """
    validation = (index["split"] == VALIDATION).to_numpy()
    target = index["target"].to_numpy()
    thresholds = {
        model: threshold_for_sensitivity(
            target[validation], probability[validation], min_sensitivity=settings.min_sensitivity
        )
        for model, probability in scores.items()
    }
    measured = _measure(index, scores, thresholds, settings)
    predictions = _predictions(index, scores, thresholds)
    roc = _roc_curves(index, scores)
    note = f"cohort {cohort}, test split" + (", SYNTHETIC images" if is_synthetic else "")
    head = {"cohort": cohort, "is_synthetic": is_synthetic, "selected": selected}
    return Report(
        metrics=head | measured,
        thresholds=thresholds,
        selected=selected,
        predictions=predictions,
        roc=roc,
        confusion=_confusion_rows(predictions, selected),
        figures=_figures(measured, roc, note),
    )


def _measure(
    index: pd.DataFrame,
    scores: dict[str, np.ndarray],
    thresholds: dict[str, float],
    settings: Evaluate,
) -> dict[str, Any]:
    """Metrics by model and split, and the difference of the two models on test."""
    measured: dict[str, Any] = {model: {"threshold": thresholds[model]} for model in scores}
    for split in MEASURED_SPLITS:
        is_in = (index["split"] == split).to_numpy()
        rows, target = index[is_in], index["target"].to_numpy()[is_in]
        weights = bootstrap.draw_weights(
            rows["group_id"].to_numpy(), num_draws=settings.num_bootstrap_draws, seed=settings.seed
        )
        for model, probability in scores.items():
            measured[model][split] = _measure_split(
                rows, probability[is_in], threshold=thresholds[model], weights=weights
            )
        measured[f"tuned_minus_baseline_{split}_auc_roc"] = bootstrap.auc_difference(
            target, scores["tuned"][is_in], scores["baseline"][is_in], weights=weights
        )
    return measured


def _measure_split(
    rows: pd.DataFrame, probability: np.ndarray, *, threshold: float, weights: np.ndarray
) -> dict[str, Any]:
    target = rows["target"].to_numpy()
    once = np.ones((1, len(target)))
    counts = metrics.confusion_counts(target, probability >= threshold, weights=once)
    return {
        "num_images": len(rows),
        "num_groups": int(rows["group_id"].nunique()),
        "num_malignant": int(target.sum()),
        **{name: int(count[0]) for name, count in counts.items()},
        **bootstrap.metrics_with_intervals(target, probability, threshold=threshold, weights=weights),
    }


def _predictions(
    index: pd.DataFrame, scores: dict[str, np.ndarray], thresholds: dict[str, float]
) -> pd.DataFrame:
    parts = [
        index.assign(
            model=model,
            probability=probability,
            decision=np.where(probability >= thresholds[model], "malignant", "benign"),
        )
        for model, probability in scores.items()
    ]
    return pd.concat(parts)[list(PREDICTION_COLUMNS)]


def _roc_curves(index: pd.DataFrame, scores: dict[str, np.ndarray]) -> pd.DataFrame:
    is_test = (index["split"] == TEST).to_numpy()
    target = index["target"].to_numpy()[is_test]
    parts = [
        pd.DataFrame(metrics.roc_curve(target, probability[is_test])).assign(model=model)
        for model, probability in scores.items()
    ]
    columns = ["model", "false_positive_fraction", "sensitivity", "threshold"]
    return pd.concat(parts)[columns]


def _confusion_rows(predictions: pd.DataFrame, selected: str) -> pd.DataFrame:
    rows = predictions[(predictions["split"] == TEST) & (predictions["model"] == selected)]
    truth = np.where(rows["target"] == 1, "malignant", "benign")
    return pd.DataFrame({"truth": truth, "decision": rows["decision"].to_numpy()})


def _figures(measured: dict[str, Any], roc: pd.DataFrame, note: str) -> dict[str, dict[str, Figure]]:
    made = {}
    for model in ("baseline", "tuned"):
        entry = measured[model][TEST]["auc_roc"]
        label = f"{model}: {entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
        made[model] = {
            "roc.png": figures.roc_figure(
                {model: roc[roc["model"] == model]}, {model: label}, title="ROC curve", note=note
            ),
            "confusion.png": figures.confusion_figure(
                measured[model][TEST], title=f"{model} at its operating point", note=note
            ),
        }
    return made
