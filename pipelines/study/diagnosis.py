"""Stage `diagnosis`: compare networks of several classes and of two by their score.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:diagnosis`; interrupted runs resume. Reads
sections `study.diagnosis`, `baseline`, `backbone`, `model`, `augment`, `train` and `evaluate` of params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.study import diagnosis_results, experiment
from melanoma.study.stages import diagnosis
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write results with intervals, their tables and figures, and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed cohort")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of tables and figures to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table of predictions to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    networks = diagnosis.open_experiment(args.cohort, params, args.packed, figures=args.figures)
    results = experiment.run(networks, results_path=args.out, predictions_path=args.predictions)
    _cli.say(networks.label, diagnosis_results.finding(results))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
