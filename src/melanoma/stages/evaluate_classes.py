"""What the script `evaluate` adds for networks of several classes: metrics, tables and pictures of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from melanoma import files, schema, tracking
from melanoma.errors import DataError
from melanoma.evaluation import diagnosis, diagnosis_report
from melanoma.serving.network import Network
from melanoma.stages.evaluate import Stage

NOT_ASKED = "The networks tell malignant from benign only. With model.target: diagnosis, classes stand here."


def write(
    stage: Stage, networks: Mapping[str, Network], runs: Mapping[str, tracking.Run], folder: Path
) -> None:
    """Write `diagnosis.json`, and for networks of several classes tables and pictures, also to their runs."""
    tells_classes = all(network.tells_classes for network in networks.values())
    content: dict[str, Any] = {
        "cohort": stage.args.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "split": schema.TEST,
        "target": "diagnosis" if tells_classes else "malignant",
    }
    with files.atomic_folder(folder) as unfinished:
        if tells_classes:
            for model, network in networks.items():
                content[model] = _evaluate(stage, model, network, runs[model], unfinished)
        else:
            content["note"] = NOT_ASKED
        files.write_json(content, unfinished / "diagnosis.json")


def _evaluate(stage: Stage, model: str, network: Network, run: tracking.Run, folder: Path) -> dict[str, Any]:
    answers = _answers(stage, network)
    settings = diagnosis.Settings(
        num_draws=stage.params.evaluate.num_bootstrap_draws,
        seed=stage.params.evaluate.seed,
        min_groups=stage.params.evaluate.min_slice_groups,
    )
    measured = diagnosis.measure(answers, settings)
    files.write_csv(diagnosis_report.class_table(measured), folder / f"{model}_classes.csv")
    for name, figure in _figures(stage, model, measured, answers, settings).items():
        figure.savefig(folder / f"{model}_{name}", dpi=90)
        run.log_figure(figure, f"classes_{name}")
    run.log_metrics({f"test_{name}": value for name, value in diagnosis.flat_metrics(measured).items()})
    return measured


def _answers(stage: Stage, network: Network) -> diagnosis.Answers:
    part = stage.data.part(schema.TEST)
    if part.classes is None:
        raise DataError(
            "The networks tell classes apart, but the cohort was packed without them, by an earlier version. "
            "Run `dvc repro` to pack it again."
        )
    # Classes, groups and answers are all in the order of the part.
    softmax = network.score_classes(part.take(slice(None)))
    return diagnosis.Answers(
        part.classes, stage.data.rows_of(part)["group_id"].to_numpy(), np.stack([softmax])
    )


def _figures(
    stage: Stage,
    model: str,
    measured: dict[str, Any],
    answers: diagnosis.Answers,
    settings: diagnosis.Settings,
) -> dict[str, Figure]:
    bands = diagnosis.roc_bands(answers, settings)
    return {
        "roc.png": diagnosis_report.roc_figure(
            bands, measured, title=f"{model}: each class against the rest", note=stage.note
        ),
        "confusion.png": diagnosis_report.confusion_figure(
            measured, title=f"{model}: who is taken for whom", note=stage.note
        ),
    }
