"""Stage `protocols`: train the paper's networks under its own leaking protocol and under a leak-free one.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:protocols`; interrupted runs resume. Reads
sections `study.protocols`, `baseline`, `model`, `augment`, `assign` and `train` of params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.data import packed
from melanoma.study import experiment
from melanoma.study.stages.protocols import ProtocolExperiment
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write results with intervals, histories, ROC curves and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed cohort")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of results to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV file of all epochs to write")
    parser.add_argument("--roc", type=Path, required=True, help="CSV file of ROC curves to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table of predictions to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed).of_size(params.baseline.image_size)
    networks = ProtocolExperiment(args.cohort, params, data, args.history, args.roc)
    results = experiment.run(networks, results_path=args.out, predictions_path=args.predictions)
    _cli.say(networks.label, f"{len(results['networks'])} kinds of networks -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
