"""Part of the stage `evaluate` for networks of several classes: metrics, tables and figures by class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from melanoma import files, metric_names, schema, tracking
from melanoma.config.evaluation import Evaluate
from melanoma.data import classes
from melanoma.data.classes import NOT_TOLD
from melanoma.data.packed import Packed
from melanoma.errors import DataError
from melanoma.evaluation import diagnosis, diagnosis_report
from melanoma.evaluation.figures import test_set_note
from melanoma.serving.network import Network

NOT_ASKED = "Metrics by class need model.target: diagnosis; these networks distinguish two classes only."


def write(
    data: Packed,
    networks: Mapping[str, Network],
    softmax: Mapping[str, np.ndarray | None],
    runs: Mapping[str, tracking.Run],
    folder: Path,
    *,
    cohort: str,
    settings: Evaluate,
) -> None:
    """Write `diagnosis.json`, and for networks of several classes also tables and figures; log them.

    Test images of a class that no network learns are left out and counted (`num_without_class`); training
    images of rare classes are counted by class (`learnt_as_other`), see `data.classes`.

    Args:
        data: Packed cohort.
        networks: Network of each model.
        softmax: Class probabilities of the test images by model, in the order of the test split; None for a
            network without classes.
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
            answers = _answers(data, network, softmax[model])
            measured = content[model] = diagnosis.measure(answers, draws)
            files.write_csv(diagnosis_report.class_table(measured), unfinished / f"{model}_classes.csv")
            bands = diagnosis.roc_bands(answers, draws)
            for name, figure in _figures(model, measured, bands, note=note).items():
                figure.savefig(unfinished / f"{model}_{name}", dpi=90)
                runs[model].log_figure(figure, f"classes_{name}")
            runs[model].log_metrics(
                metric_names.in_section(metric_names.TEST, diagnosis.flat_metrics(measured))
            )
        if has_classes:
            content["classes"] = list(data.classes)
            content["learnt_as_other"] = classes.learnt_as_other(data.index, data.classes)
            content["num_without_class"] = int(np.sum(data.part(schema.TEST).classes == NOT_TOLD))
        else:
            content["note"] = NOT_ASKED
        files.write_json(content, unfinished / "diagnosis.json")


def _answers(data: Packed, network: Network, softmax: np.ndarray | None) -> diagnosis.Answers:
    part = data.part(schema.TEST)
    if part.classes is None or softmax is None:
        raise DataError(
            "The networks predict several classes, but an earlier version packed the cohort without them. "
            "Run `dvc repro` to pack it again."
        )
    if network.classes != part.class_names:
        raise DataError(
            f"The networks tell the classes {list(network.classes)} apart, but the packed cohort has "
            f"{list(part.class_names)}. Run `dvc repro` to train them again."
        )
    # Classes, groups and probabilities are all in the order of the part.
    group_ids, is_told = data.rows_of(part)["group_id"], part.classes != NOT_TOLD
    return diagnosis.Answers(
        part.classes[is_told], group_ids.to_numpy()[is_told], softmax[None, is_told], part.class_names
    )


def _figures(model: str, measured: dict[str, Any], bands: dict[str, Any], *, note: str) -> dict[str, Figure]:
    return {
        "roc.png": diagnosis_report.roc_figure(
            bands, measured, title=f"{model}: ROC curve of each class against the rest", note=note
        ),
        "confusion.png": diagnosis_report.confusion_figure(
            measured, title=f"{model}: confusion matrix of the classes", note=note
        ),
    }
