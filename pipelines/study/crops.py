"""Stage `crops`: does it help to cut out the lesion first? The baseline on whole pictures and on crops.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:crops`; a killed one goes on
where it stopped. Reads params.yaml sections `crops`, `cohorts`, `pack`, `segment`, `baseline`, `model`,
`augment`, `train` and `execution`.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import tables
from melanoma.study import runs
from melanoma.study.stages import crops
from pipelines import _cli


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
    columns = [*tables.ACCEPTED_COLUMNS, "diagnosis", "mask_path"]
    records = tables.read_tables(args.accepted, params.members(args.cohort), columns)
    overlap = crops.read_overlap(args.segmentation)
    cuttings = crops.find_cuttings(args.boxes, params, assigned, records)
    folder = Path(params.train.checkpoints) / f"crops-{args.cohort}-packed"
    with files.exclusive_lock(folder / "lock", f"the packs of crops@{args.cohort}"):
        data = crops.pack(cuttings, params, assigned, records, folder)
        stage = crops.Stage(args.cohort, params, data, cuttings)
        with runs.trained(stage) as (outcome, parent):
            results = crops.summarize(stage, outcome)
            files.write_parquet(outcome.predictions, args.predictions)
            crops.draw(results, overlap, args.pictures)
            files.write_json(results, args.out)
            parent.log_file(args.out, stage.name)
        shutil.rmtree(folder)
    for line in results["in_words"]:
        _cli.say(stage.label, line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
