"""Stage `transfer`: leave one source out: networks tested on a clinic or collection that they never saw.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:transfer`; a killed one goes on where it
stopped. Reads params.yaml sections `transfer`, `cohorts`, `baseline`, `model`, `augment`, `train` and
`audit`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from melanoma import config, files
from melanoma.data import packed
from melanoma.stages import experiments
from melanoma.study import runs, transfer_results
from melanoma.study.stages import transfer
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results, a table, a figure and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder of the records")
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--out", type=Path, required=True, help="JSON of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of table and figure to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table to write")
    args = parser.parse_args(argv)

    params, found = config.load(args.params), runs.best_of_search(args.tuning)
    data = packed.open_packed(args.packed)
    stage = transfer.Stage(args.cohort, params, data, args.accepted, found)
    with runs.trained(stage) as (outcome, parent):
        results = transfer.summarize(stage, outcome)
        _write(args, stage, results)
        files.write_parquet(outcome.predictions, args.predictions)
        files.write_json(results, args.out)
        parent.log_file(args.out, stage.name)
    return 0


def _write(args: argparse.Namespace, stage: transfer.Stage, results: dict[str, Any]) -> None:
    """Table, figure and their captions."""
    rows, note = results["sources"], experiments.data_note(args.cohort, stage.data)
    with files.atomic_folder(args.figures) as folder:
        files.write_csv(transfer_results.better(results), folder / "better.csv")
        files.write_csv(transfer_results.table(rows), folder / "transfer.csv")
        figure = transfer_results.figure(rows, title=f"sources left out of {args.cohort}", note=note)
        figure.savefig(folder / "transfer.png", dpi=stage.params.study.transfer.dots_per_inch)
        files.write_json(transfer_results.captions(results), folder / "captions.json")


if __name__ == "__main__":
    sys.exit(_cli.run(main))
