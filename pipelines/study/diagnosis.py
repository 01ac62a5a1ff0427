"""Stage `diagnosis`: several classes instead of two, and whether the melanoma score gains by it.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:diagnosis`; a killed one goes
on where it stopped. Reads params.yaml sections `diagnosis`, `baseline`, `model`, `augment`, `train` and
`evaluate`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import config, files
from melanoma.data import packed
from melanoma.study import diagnosis_results, runs
from melanoma.study.stages import diagnosis
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write results with intervals, their tables and pictures, and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of tables and pictures to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    stage = diagnosis.open_stage(args.cohort, params, packed.open_packed(args.packed))
    with runs.trained(stage) as (outcome, parent):
        results = diagnosis.summarize(stage, outcome)
        _write(args.figures, stage, outcome.predictions, results)
        files.write_parquet(outcome.predictions, args.predictions)
        files.write_json(results, args.out)
        parent.log_file(args.out, stage.name)
    _cli.say(stage.label, diagnosis_results.finding(results))
    return 0


def _write(
    folder: Path, stage: diagnosis.Stage, predictions: pd.DataFrame, results: dict[str, object]
) -> None:
    with files.atomic_folder(folder) as unfinished:
        for name, table in diagnosis_results.tables(results).items():
            files.write_csv(table, unfinished / name)
        pictures = diagnosis_results.figures(predictions, results, stage.settings, note=stage.note)
        for name, figure in pictures.items():
            figure.savefig(unfinished / name, dpi=90)
        files.write_json(diagnosis_results.captions(results), unfinished / "captions.json")


if __name__ == "__main__":
    sys.exit(_cli.run(main))
