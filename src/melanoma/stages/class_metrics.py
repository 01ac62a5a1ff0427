"""Part of the stage `evaluate` for networks of several classes: metrics, tables and figures by class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from melanoma import files, metric_names, schema, tracking
from melanoma.config.evaluation import Evaluate
from melanoma.data.packed import Packed
from melanoma.errors import DataError
from melanoma.evaluation import diagnosis, diagnosis_report
from melanoma.evaluation.figures import test_set_note
from melanoma.serving.network import Network

NOT_ASKED = "Metrics by class need model.target: diagnosis; these networks distinguish two classes only."


def write(
    data: Packed,
    networks: Mapping[str, Network],
    runs: Mapping[str, tracking.Run],
    folder: Path,
    *,
    cohort: str,
    settings: Evaluate,
) -> None:
    """Write `diagnosis.json`, and for networks of several classes also tables and figures; log them.

    Args:
        data: Packed cohort.
        networks: Network of each model.
        runs: MLflow run of each model.
        folder: Output folder; it is replaced.
        cohort: Name of the cohort.
        settings: Section `evaluate` of params.yaml.
    """
    has_classes = all(network.tells_classes for network in networks.values())
    content: dict[str, Any] = {
        "cohort": cohort,
        "is_synthetic": data.is_synthetic,
        "positive_means": data.positive_means,
        "split": schema.TEST,
        "target": "diagnosis" if has_classes else "positive",
    }
    draws = diagnosis.Settings(
        num_draws=settings.num_bootstrap_draws, seed=settings.seed, min_groups=settings.min_slice_groups
    )
    note = test_set_note(cohort, is_synthetic=data.is_synthetic, positive_means=data.positive_means)
    with files.atomic_folder(folder) as unfinished:
        for model, network in networks.items() if has_classes else ():
            answers = _answers(data, network)
            measured = content[model] = diagnosis.measure(answers, draws)
            files.write_csv(diagnosis_report.class_table(measured), unfinished / f"{model}_classes.csv")
            bands = diagnosis.roc_bands(answers, draws)
            for name, figure in _figures(model, measured, bands, note=note).items():
                figure.savefig(unfinished / f"{model}_{name}", dpi=90)
                runs[model].log_figure(figure, f"classes_{name}")
            runs[model].log_metrics(
                metric_names.in_section(metric_names.TEST, diagnosis.flat_metrics(measured))
            )
        if not has_classes:
            content["note"] = NOT_ASKED
        files.write_json(content, unfinished / "diagnosis.json")


def _answers(data: Packed, network: Network) -> diagnosis.Answers:
    part = data.of_size(network.image_size).part(schema.TEST)
    if part.classes is None:
        raise DataError(
            "The networks predict several classes, but an earlier version packed the cohort without them. "
            "Run `dvc repro` to pack it again."
        )
    # Classes, groups and probabilities are all in the order of the part.
    softmax = network.score_classes(part.take(slice(None)))
    return diagnosis.Answers(part.classes, data.rows_of(part)["group_id"].to_numpy(), np.stack([softmax]))


def _figures(model: str, measured: dict[str, Any], bands: dict[str, Any], *, note: str) -> dict[str, Figure]:
    return {
        "roc.png": diagnosis_report.roc_figure(
            bands, measured, title=f"{model}: ROC curve of each class against the rest", note=note
        ),
        "confusion.png": diagnosis_report.confusion_figure(
            measured, title=f"{model}: confusion matrix of the classes", note=note
        ),
    }
