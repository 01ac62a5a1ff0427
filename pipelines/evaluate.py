"""Stage `evaluate`: calibration and operating points on validation, metrics with intervals.

Run by `dvc repro evaluate`. Reads params.yaml sections `evaluate` and `serve`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files, schema, tracking
from melanoma.data import crops, packed
from melanoma.evaluation import looks, report, seeds
from melanoma.serving.network import Network
from melanoma.stages import evaluate, evaluate_classes, looks_at_test
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write metrics, predictions, curves and figures; log them and the served models to their runs."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--facts", type=Path, required=True, help="folder, a table a dataset")
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument("--segmenter", type=Path, required=True, help="model folder of the U-Net")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True, help="comparison of the models over seeds")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    parser.add_argument("--models", type=Path, required=True, help="JSON of model URIs to write")
    parser.add_argument("--predictions", type=Path, required=True, help="CSV to write")
    parser.add_argument("--roc", type=Path, required=True, help="folder of ROC curves to write")
    parser.add_argument("--confusion", type=Path, required=True, help="CSV to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder to write")
    parser.add_argument("--sheets", type=Path, required=True, help="folder of images to write")
    parser.add_argument("--slices", type=Path, required=True, help="JSON to write")
    parser.add_argument("--curves", type=Path, required=True, help="folder of curves with bands to write")
    parser.add_argument("--diagnosis", type=Path, required=True, help="folder of several classes to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed)
    stage = evaluate.open_stage(args, params, data)
    networks = {name: Network(stage.network(name)) for name in schema.MODEL_NAMES}
    result = report.evaluate(
        data.index,
        {name: data.by_image(network.score(data.images)) for name, network in networks.items()},
        params.evaluate,
        described=stage.described,
        cohort=args.cohort,
        is_synthetic=data.is_synthetic,
        selected=seeds.select(files.read_json(args.seeds)),
    )
    runs = {name: tracking.resume_run(run_id) for name, run_id in files.read_json(args.runs).items()}
    figures = {name: looks.draw(result, name, note=stage.note) for name in networks}
    sheets = {name: evaluate.sheets(stage, result, name, network) for name, network in networks.items()}
    models = {
        name: evaluate.log(stage, result, name, run, figures[name] | sheets[name])
        for name, run in runs.items()
    }
    for entry in models.values():
        looks_at_test.record(f"melanoma-{args.cohort}", data, entry, purpose="evaluate")
    evaluate_classes.write(stage, networks, runs, args.diagnosis)
    files.write_json({"selected": result.selected, **models}, args.models)
    evaluate.save(stage, result, figures, sheets)
    _cli.say(f"evaluate@{args.cohort}", result.headline())
    if crops.kind_of(data.crop) == crops.MASK:
        _cli.say(
            f"evaluate@{args.cohort}", "cut by hand-drawn masks: these models can be judged, but not served"
        )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
