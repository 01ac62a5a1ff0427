"""Stage `evaluate`: choose calibration and operating points on validation, and measure both models.

Run by `dvc repro evaluate`. Reads params.yaml sections `evaluate`, `serve`, `inspect` and
`validate`, and `baseline.sampling_power`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, schema
from melanoma.stages import evaluate
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write metrics, predictions, curves and figures; log them and the served models to their runs."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument(
        "--facts", type=Path, required=True, help="folder of image facts, one table per dataset"
    )
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument("--segmenter", type=Path, required=True, help="model folder of the U-Net")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True, help="comparison of the models over seeds")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file of metrics to write")
    parser.add_argument(
        "--scores", type=Path, required=True, help="JSON file of main scores to write, for DVC"
    )
    parser.add_argument("--models", type=Path, required=True, help="JSON file of model URIs to write")
    parser.add_argument("--predictions", type=Path, required=True, help="CSV file of predictions to write")
    parser.add_argument(
        "--unlike", type=Path, required=True, help="folder of descriptions of training images to write"
    )
    parser.add_argument("--roc", type=Path, required=True, help="CSV file of points of ROC curves to write")
    parser.add_argument("--plots", type=Path, required=True, help="folder of tables to write, for DVC")
    parser.add_argument("--figures", type=Path, required=True, help="folder of figures to write")
    parser.add_argument("--sheets", type=Path, required=True, help="folder of image sheets to write")
    parser.add_argument("--slices", type=Path, required=True, help="JSON file of metrics by slice to write")
    parser.add_argument(
        "--diagnosis", type=Path, required=True, help="folder of metrics by diagnosis to write"
    )
    args = parser.parse_args(argv)

    _cli.say(f"evaluate@{args.cohort}", evaluate.run(args, config.load(args.params)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
