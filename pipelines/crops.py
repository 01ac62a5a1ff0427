"""Stage `crops`: does it help to cut out the lesion first? The baseline on whole pictures and on crops.

Run by `make study`, or by `dvc repro crops` where params.yaml: run.study names cohorts; a killed one goes on
where it stopped. Reads params.yaml sections `crops`, `pack`, `segment`, `baseline`, `model`, `augment` and
`train`.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import config, files
from melanoma.data import tables
from pipelines import _cli, _crops, _resumable, _study_runs


def main(argv: Sequence[str] | None = None) -> int:
    """Write the comparison, its tables and figure, and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--boxes", type=Path, required=True, help="table of the stage segment")
    parser.add_argument("--segmentation", type=Path, required=True, help="report of the stage segment")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of tables and figures to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    names = {"image_id": "string", "group_id": "string"}
    assigned = files.read_csv(args.split, dtype=names, keep_default_na=False)
    columns = [*tables.ACCEPTED_COLUMNS, "diagnosis"]
    records = tables.read_tables(args.accepted, params.members(args.cohort), columns)
    segmentation = files.read_json(args.segmentation)
    with tempfile.TemporaryDirectory(prefix="crops-") as folder:
        stage = _crops.Stage(args.cohort, params, _crops.pack(args, params, assigned, records, Path(folder)))
        with (
            files.held(stage.checkpoints / "lock", f"the crops of {args.cohort}"),
            _study_runs.open_parent() as parent,
        ):
            scored, runs = _train_all(stage, parent.run_id)
            predictions = pd.concat(scored, ignore_index=True)
            results = _crops.summarize(stage, predictions, runs, segmentation)
            files.write_parquet(predictions, args.predictions)
            _crops.draw(results, segmentation, args.pictures)
            files.write_json(results, args.out)
            parent.log_file(args.out, "crops")
            _resumable.forget(stage.checkpoints, _study_runs.EXPERIMENT)
    for line in results["in_words"]:
        _cli.say(f"crops@{args.cohort}", line)
    return 0


def _train_all(stage: _crops.Stage, parent_id: str) -> tuple[list[pd.DataFrame], list[dict[str, object]]]:
    scored, runs = [], []
    for arm in stage.arms():
        with _resumable.trained(stage.job(arm, parent_id), stage.checkpoints) as (result, run):
            scored.append(stage.score(arm, result))
            runs.append(_crops.run_row(arm, result, run))
            line = _crops.log_test(scored[-1], run)
        _cli.say(f"crops@{stage.cohort}", f"{arm.name}: {line}")
    return scored, runs


if __name__ == "__main__":
    sys.exit(_cli.run(main))
