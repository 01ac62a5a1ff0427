"""Stage `evaluate`: choose the operating points on validation, measure both models with intervals.

Run by `dvc repro evaluate`. Reads params.yaml section `evaluate`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files, schema, tracking
from melanoma.data import packed
from melanoma.evaluation import report, seeds
from melanoma.serving import export
from melanoma.serving.network import Network
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write metrics, predictions, curves and figures; log them and the served models to their runs."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True, help="comparison of the models over seeds")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    parser.add_argument("--models", type=Path, required=True, help="JSON of model URIs to write")
    parser.add_argument("--predictions", type=Path, required=True, help="CSV to write")
    parser.add_argument("--roc", type=Path, required=True, help="folder of ROC curves to write")
    parser.add_argument("--confusion", type=Path, required=True, help="CSV to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    settings = config.load(args.params).evaluate
    data = packed.open_packed(args.packed)
    networks = {name: getattr(args, name) / "model.onnx" for name in schema.MODEL_NAMES}
    scores = {name: Network(path).score(data.images) for name, path in networks.items()}
    result = report.evaluate(
        data.index,
        scores,
        settings,
        cohort=args.cohort,
        is_synthetic=data.is_synthetic,
        selected=seeds.select(files.read_json(args.seeds)),
    )
    runs = {name: tracking.resume_run(run_id) for name, run_id in files.read_json(args.runs).items()}
    example = export.example_image(data.images.shape[1])
    models = {}
    for name, run in runs.items():
        run.log_metrics(result.flat_metrics(name))
        run.set_tags({"is_selected": str(name == result.selected).lower()})
        for figure_name, figure in result.figures[name].items():
            run.log_figure(figure, figure_name)
        uri = export.log_served_model(
            run.run_id, network=networks[name], threshold=result.thresholds[name], example=example
        )
        models[name] = {
            "run_id": run.run_id,
            "model_uri": uri,
            "threshold": result.thresholds[name],
        }
    with files.atomic_folder(args.figures) as folder:
        result.save_figures(folder)
    files.write_csv(result.predictions, args.predictions)
    with files.atomic_folder(args.roc) as folder:
        for name in schema.MODEL_NAMES:
            files.write_csv(result.roc[result.roc["model"] == name], folder / f"{name}.csv")
    files.write_csv(result.confusion, args.confusion)
    files.write_json({"selected": result.selected, **models}, args.models)
    files.write_json(result.metrics, args.metrics)
    _cli.say(f"evaluate@{args.cohort}", result.headline())
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
