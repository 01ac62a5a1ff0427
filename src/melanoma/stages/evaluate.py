"""Stage `evaluate`: measure both models of a cohort, draw the results and log the models to serve."""

import argparse
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, fingerprint, schema, tracking
from melanoma.config import Params
from melanoma.data import crops, packed, tables
from melanoma.evaluation import asked_and_got, report, result_figures, seeds, slices
from melanoma.evaluation.figures import test_set_note
from melanoma.monitoring import reference
from melanoma.registry import versions
from melanoma.registry.origin import ENVIRONMENT, IMAGES
from melanoma.scoring.unlike import Unlike
from melanoma.serving import export
from melanoma.serving.network import Network
from melanoma.stages import class_metrics, experiments, network_answers, test_set_looks

TRACED = ("image_id", "dataset", "licence", "attribution", "sha256")
NOT_SERVED = "cropped by hand-drawn masks, so these models can be evaluated but not served"
MAX_PASSES = 16  # networks * views per image, above which an answer takes too long on two cores
Figures = dict[str, Figure]  # by file name


@dataclass(frozen=True)
class Inputs:
    """What is common to the evaluation of both models.

    Attributes:
        args: Command line of `pipelines.evaluate`.
        params: Content of params.yaml.
        data: Packed cohort.
        described: Records of its images and their sharpness.
    """

    args: argparse.Namespace
    params: Params
    data: packed.Packed
    described: pd.DataFrame

    @property
    def note(self) -> str:
        """Note under every figure."""
        return test_set_note(
            self.args.cohort, is_synthetic=self.data.is_synthetic, positive_means=self.data.positive_means
        )

    def network(self, model: str) -> Path:
        """Path of a model's exported network."""
        return Path(getattr(self.args, model)) / "model.onnx"

    def unlike(self, model: str) -> Path | None:
        """Path of the description of a model's training images; None if unlike images are not referred."""
        is_on = self.params.serve.unlike_fraction is not None
        return self.args.unlike / f"{model}.npz" if is_on else None


def run(args: argparse.Namespace, params: Params) -> str:
    """Write and log all results; return a summary line.

    Args:
        args: Command line of `pipelines.evaluate`.
        params: Content of params.yaml.
    """
    inputs = _load(args, params)
    data, run_ids, comparison = inputs.data, files.read_json(args.runs), files.read_json(args.seeds)
    num_views = params.serve.num_views
    networks = {name: Network(inputs.network(name), num_views=num_views) for name in schema.MODEL_NAMES}
    answers = {
        name: network_answers.ask(data, network, inputs.described, params)
        for name, network in networks.items()
    }
    result = report.evaluate(
        data.index,
        {name: answer.score for name, answer in answers.items()},
        params.evaluate,
        described=inputs.described,
        cohort=args.cohort,
        is_synthetic=data.is_synthetic,
        positive_means=data.positive_means,
        selected=seeds.select(comparison),
        sampling_powers=seeds.hyperparameter(comparison, "sampling_power", params.baseline.sampling_power),
        reasons={name: one.reasons for name, one in answers.items() if one.reasons is not None},
    )
    _save_unlike(answers, args.unlike)
    runs = {name: tracking.resume_run(run_id) for name, run_id in run_ids.items()}
    figures = {name: result_figures.draw(result, name, note=inputs.note) for name in networks}
    num_shown, sheets = params.evaluate.num_shown, {}
    for name, network in networks.items():
        part, score = data.of_size(network.image_size).part(schema.TEST), network.with_views(1).score
        sheets[name] = result_figures.draw_images(result, name, part, score, num=num_shown, note=inputs.note)
    models = {
        name: _log(
            inputs, result, name, run, figures[name] | sheets[name], validation=answers[name].validation
        )
        for name, run in runs.items()
    }
    for model, entry in models.items():
        test_set_looks.record(versions.model_name(args.cohort), data, model, entry, purpose="evaluate")
    softmax = {name: answer.classes for name, answer in answers.items()}
    class_metrics.write(
        data, networks, softmax, runs, args.diagnosis, cohort=args.cohort, settings=params.evaluate
    )
    files.write_json({"selected": result.selected, **models}, args.models)
    files.write_json(result.scores(comparison), args.scores)
    _save(inputs, result, figures, sheets)
    is_cropped_by_mask = crops.kind_of(data.crop) == crops.MASK
    lines = [result.summary_line() + (f"; {NOT_SERVED}" if is_cropped_by_mask else "")]
    lines += _slow_models(comparison, num_views)
    for model, point in result.points.items():
        lines += [f"warning: operating point of {model}: {why}" for why in point.evidence["warnings"]]
    return "\n".join(lines)


def _save_unlike(answers: Mapping[str, network_answers.Answers], path: Path) -> None:
    """Write `<model>.npz` for each model; an empty folder if unlike images are not referred."""
    with files.atomic_folder(path) as folder:
        for model, answer in answers.items():
            if answer.unlike is not None:
                answer.unlike.save(folder / f"{model}.npz")


def _slow_models(comparison: Mapping[str, Any], num_views: int) -> list[str]:
    """A warning for each model whose answers take too long to be served."""
    networks = comparison.get("networks", {})  # absent in earlier files
    num_passes = {model: len(found["seeds"]) * num_views for model, found in networks.items()}
    return [
        f"warning: {model} scores each image {num} times (networks * views), more than {MAX_PASSES}: answers "
        "are slow. Lower serve.num_views or train.num_networks."
        for model, num in num_passes.items()
        if num > MAX_PASSES
    ]


def _load(args: argparse.Namespace, params: Params) -> Inputs:
    data = packed.open_packed(args.packed)
    described = tables.describe_images(
        data.index,
        accepted=args.accepted,
        facts=args.facts,
        datasets=params.members(args.cohort),
        fact_columns=[slices.QUALITY, slices.TONE],
    )
    return Inputs(args, params, data, described)


def _log(
    inputs: Inputs,
    result: report.Report,
    model: str,
    run: tracking.Run,
    figures: Figures,
    *,
    validation: pd.DataFrame,
) -> dict[str, Any]:
    """Add results, origin and the served model to the model's run; return its entry of `models.json`."""
    run.log_metrics(result.flat_metrics(model))
    parts = {split: inputs.data.part(split) for split in report.MEASURED_SPLITS}
    run.log_datasets(experiments.datasets(inputs.args.cohort, parts))
    run.set_tags({"is_selected": str(model == result.selected).lower()})
    for name, figure in figures.items():
        run.log_figure(figure, name)
    _log_origin(inputs, run)
    data, network, serve = inputs.data, inputs.network(model), inputs.params.serve
    point = result.points[model].to_dict()
    with tempfile.TemporaryDirectory(prefix="logged-") as folder:
        reference.write(validation, result.points[model], Path(folder) / export.REFERENCE_FILE)
        uri = export.log_served_model(
            run.run_id,
            network=network,
            operating_point=result.points[model],
            asked_and_got=files.as_json(asked_and_got.described(point, result.metrics[model][schema.TEST])),
            limits=serve.limits,
            is_synthetic=data.is_synthetic,
            positive_means=data.positive_means,
            example=export.example_image(max(Network(network).image_size, serve.min_image_side)),
            crop=data.crop,
            segmenter=inputs.args.segmenter / "model.onnx",
            num_views=serve.num_views,
            unlike=inputs.unlike(model),
            keep_images=serve.keep_images,
            reference=Path(folder) / export.REFERENCE_FILE,
        )
        # Downloaded from the artifact store, because the registry's digest is of the files stored there.
        digest_of_files = fingerprint.digest_of_files(tracking.download(uri, Path(folder) / "model"))
    return {
        "run_id": run.run_id,
        "model_uri": uri,
        "limits": serve.limits,
        "num_views": serve.num_views,
        "unlike": _describe_unlike(inputs, model),
        fingerprint.CODE_TAG: fingerprint.digest_of_code(),
        fingerprint.FILES_TAG: digest_of_files,
        "network_sha256": fingerprint.sha256_of_file(network),
        "operating_point": point,
        "crop": None if data.crop is None else data.crop.to_dict(),
    }


def _describe_unlike(inputs: Inputs, model: str) -> dict[str, Any] | None:
    """How unlike images are recognised; None if they are not."""
    path = inputs.unlike(model)
    if path is None:
        return None
    return {
        "fraction": inputs.params.serve.unlike_fraction,
        "max_distance": Unlike.load(path).max_distance,
        "sha256": fingerprint.sha256_of_file(path),
    }


def _log_origin(inputs: Inputs, run: tracking.Run) -> None:
    """Log the images with their licences and the installed packages, which `trace` prints."""
    origin = inputs.data.index[["image_id", "split", "group_id", "target"]].merge(
        inputs.described[list(TRACED)], on="image_id", validate="one_to_one"
    )
    with tempfile.TemporaryDirectory(prefix="origin-") as folder:
        path = Path(folder) / IMAGES
        files.write_csv(origin, path)
        run.log_file(path, "data")
    installed = sorted({f"{found.name}=={found.version}" for found in distributions()}, key=str.lower)
    run.log_text("\n".join([f"python=={platform.python_version()}", *installed, ""]), ENVIRONMENT)


def _save(
    inputs: Inputs, result: report.Report, figures: Mapping[str, Figures], sheets: Mapping[str, Figures]
) -> None:
    """Write the other files of the stage; `metrics.json` is written last.

    Sheets show images of patients, so they have their own folder and are never published.
    """
    args = inputs.args
    for by_model, path in ((figures, args.figures), (sheets, args.sheets)):
        with files.atomic_folder(path) as folder:
            for model, by_name in by_model.items():
                for name, figure in by_name.items():
                    figure.savefig(folder / f"{model}_{name}", dpi=110)
    files.write_csv(result.predictions, args.predictions)
    files.write_csv(result.both_models("roc"), args.roc)
    for name, table in result.plots().items():
        files.write_csv(table, args.plots / f"{name}.csv")
    head = {name: result.metrics[name] for name in ("cohort", "is_synthetic", "positive_means")}
    head["split"] = schema.TEST
    files.write_json(head | result.slices, args.slices)
    files.write_json(result.metrics, args.metrics)
