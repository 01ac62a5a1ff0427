"""Stage `segment`: where the lesion is in each image of a cohort, by masks and, at wish, by a U-Net.

Run by `dvc repro segment`; a killed training goes on. Reads params.yaml sections `segment`, `augment`,
`cohorts` and `execution`. The U-Net learns from the training split; validation chooses its epoch, test is
only measured.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import tables
from melanoma.stages import segment
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write boxes, report and, where it is trained, the U-Net."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--boxes", type=Path, required=True, help="table to write")
    parser.add_argument("--segmenter", type=Path, required=True, help="model folder to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    names = {"image_id": "string", "group_id": "string"}
    assigned = files.read_csv(args.split, dtype=names, keep_default_na=False)
    columns = ["image_id", "path", "sha256", "mask_path", "is_synthetic"]
    records = tables.read_tables(args.accepted, params.members(args.cohort), columns)
    stage = segment.open_stage(args.cohort, params, assigned, records)
    boxes, report = segment.by_masks(stage)
    with files.atomic_folder(args.segmenter) as folder:
        if params.segment.train:
            boxes, report = segment.by_network(stage, folder, boxes, report)
        files.write_json({"is_trained": params.segment.train}, folder / "segmenter.json")
    files.write_parquet(boxes, args.boxes)
    files.write_json(report, args.report)
    _cli.say(f"segment@{args.cohort}", segment.headline(report))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
