"""What the script `evaluate` does for one model: its pictures, its run, the model to serve."""

import argparse
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, fingerprint, schema, tracking
from melanoma.config import Params
from melanoma.data import tables
from melanoma.data.packed import Packed
from melanoma.evaluation import looks, slices
from melanoma.evaluation.report import Report
from melanoma.registry.origin import ENVIRONMENT, IMAGES
from melanoma.serving import export
from melanoma.serving.network import Network

TRACED = ("image_id", "dataset", "licence", "attribution", "sha256")


@dataclass(frozen=True)
class Stage:
    """What all models of a cohort share."""

    args: argparse.Namespace
    params: Params
    data: Packed
    described: pd.DataFrame

    @property
    def note(self) -> str:
        """Stands under every picture."""
        kind = ", SYNTHETIC images" if self.data.is_synthetic else ""
        return f"cohort {self.args.cohort}, test split{kind}"

    def network(self, model: str) -> Path:
        """The exported network of a model."""
        return Path(getattr(self.args, model)) / "model.onnx"


def open_stage(args: argparse.Namespace, params: Params, data: Packed) -> Stage:
    """With all that is known of the images, in their order."""
    described = tables.describe_images(
        data.index,
        accepted=args.accepted,
        facts=args.facts,
        datasets=params.members(args.cohort),
        fact_columns=[slices.QUALITY],
    )
    return Stage(args, params, data, described)


def sheets(stage: Stage, report: Report, model: str, network: Network) -> dict[str, Figure]:
    """Sheets of test images by file name."""
    return looks.draw_images(
        report,
        model,
        stage.data.part(schema.TEST),
        network.score,
        num=stage.params.evaluate.num_shown,
        note=stage.note,
    )


def log(
    stage: Stage, report: Report, model: str, run: tracking.Run, figures: dict[str, Figure]
) -> dict[str, Any]:
    """Add results, origin and the served model to the model's run; its entry of `models.json`."""
    run.log_metrics(report.flat_metrics(model))
    run.set_tags({"is_selected": str(model == report.selected).lower()})
    for name, figure in figures.items():
        run.log_figure(figure, name)
    _log_origin(stage, run)
    point, network, limits = report.points[model], stage.network(model), stage.params.serve
    uri = export.log_served_model(
        run.run_id,
        network=network,
        operating_point=point,
        limits=limits.model_dump(),
        is_synthetic=stage.data.is_synthetic,
        example=export.example_image(max(stage.data.images.shape[1], limits.min_image_side)),
        crop=stage.data.crop,
        segmenter=stage.args.segmenter / "model.onnx",
    )
    return {
        "run_id": run.run_id,
        "model_uri": uri,
        "limits": limits.model_dump(),
        fingerprint.CODE_TAG: fingerprint.digest_of_code(),
        fingerprint.FILES_TAG: _digest_of_logged(uri),
        "network_sha256": fingerprint.sha256_of_file(network),
        "operating_point": point.to_dict(),
        "crop": None if stage.data.crop is None else stage.data.crop.to_dict(),
    }


def _digest_of_logged(uri: str) -> str:
    """Digest of all files of the model that was just logged, as the artifact store has them."""
    with tempfile.TemporaryDirectory(prefix="logged-") as folder:
        return fingerprint.digest_of_files(tracking.download(uri, Path(folder)))


def _log_origin(stage: Stage, run: tracking.Run) -> None:
    """The images with their licences, and the environment: what `trace` prints."""
    origin = stage.data.index[["image_id", "split", "group_id", "target"]].merge(
        stage.described[list(TRACED)], on="image_id", validate="one_to_one"
    )
    with tempfile.TemporaryDirectory(prefix="origin-") as folder:
        path = Path(folder) / IMAGES
        files.write_csv(origin, path)
        run.log_file(path, "data")
    installed = sorted({f"{found.name}=={found.version}" for found in distributions()}, key=str.lower)
    run.log_text("\n".join([f"python=={platform.python_version()}", *installed, ""]), ENVIRONMENT)


def save(
    stage: Stage,
    report: Report,
    figures: dict[str, dict[str, Figure]],
    sheets: dict[str, dict[str, Figure]],
) -> None:
    """Write all files of the stage but `models.json`; `metrics.json` last.

    Sheets show patients' images: they lie in a folder of their own, which DVC keeps and Git does not.
    """
    args = stage.args
    for pictures, path in ((figures, args.figures), (sheets, args.sheets)):
        with files.atomic_folder(path) as folder:
            for model, by_name in pictures.items():
                for name, figure in by_name.items():
                    figure.savefig(folder / f"{model}_{name}", dpi=110)
    files.write_csv(report.predictions, args.predictions)
    with files.atomic_folder(args.roc) as folder:
        for model in schema.MODEL_NAMES:
            files.write_csv(report.curves[model]["roc"].assign(model=model), folder / f"{model}.csv")
    with files.atomic_folder(args.curves) as folder:
        report.save_curves(folder)
    files.write_csv(report.confusion, args.confusion)
    head = {"cohort": args.cohort, "is_synthetic": stage.data.is_synthetic, "split": schema.TEST}
    files.write_json(head | report.slices, args.slices)
    files.write_json(report.metrics, args.metrics)
