"""Stage `transfer`: train without one source (clinic or collection) and test on it.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:transfer`; interrupted runs resume. Reads
sections `study.transfer`, `cohorts`, `baseline`, `backbone`, `model`, `augment`, `train` and `audit` of
params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.data import packed
from melanoma.study import experiment
from melanoma.study.stages.transfer import TransferExperiment
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results, tables, a figure and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed cohort")
    parser.add_argument("--accepted", type=Path, required=True, help="folder of accepted records")
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of tables and figure to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table of predictions to write")
    args = parser.parse_args(argv)

    params, tuned = config.load(args.params), experiment.best_of_search(args.tuning)
    data = packed.open_packed(args.packed)
    networks = TransferExperiment(args.cohort, params, data, args.accepted, tuned, args.figures)
    results = experiment.run(networks, results_path=args.out, predictions_path=args.predictions)
    _cli.say(networks.label, f"{len(results['sources'])} sources left out -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
