"""Stage `protocols`: the paper, rebuilt: networks under its own protocol and under one without leakage.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:study`; a killed one goes on
where it stopped. Reads params.yaml sections `study`, `baseline`, `model`, `augment`, `assign` and `train`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import packed
from melanoma.study import results as study_results
from melanoma.study import runs
from melanoma.study.stages import protocols
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write results with intervals, histories, ROC curves and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON of results to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV of all epochs to write")
    parser.add_argument("--roc", type=Path, required=True, help="CSV of ROC curves to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    stage = protocols.Stage(args.cohort, params, packed.open_packed(args.packed))
    with runs.trained(stage) as (outcome, parent):
        results = protocols.summarize(stage, outcome)
        files.write_parquet(outcome.predictions, args.predictions)
        files.write_csv(outcome.history, args.history)
        files.write_csv(study_results.roc_points(outcome.predictions), args.roc)
        files.write_json(results, args.out)
        parent.log_file(args.out, stage.name)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
