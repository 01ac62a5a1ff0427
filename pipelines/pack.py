"""Stage `pack`: decode the images of a cohort once, into one array.

Run by `dvc repro pack`. Reads params.yaml sections `pack`, `cohorts` and `execution`, and of `segment` by
what boxes were found.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import crops, lesions, packed, tables
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the packed cohort."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--boxes", type=Path, required=True, help="table, read where pack.crop is not none")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    members = params.members(args.cohort)
    names = {"image_id": "string", "group_id": "string"}
    assigned = files.read_csv(args.split, dtype=names, keep_default_na=False)
    cutting = lesions.read_cutting(
        args.boxes,
        params.pack.crop,
        image_ids=assigned["image_id"],
        margin_fraction=params.pack.crop_margin_fraction,
        min_lesion_fraction=params.segment.min_lesion_fraction,
    )
    digest = packed.pack(
        assigned,
        tables.read_tables(args.accepted, members, [*tables.ACCEPTED_COLUMNS, "diagnosis"]),
        args.out,
        size=params.pack.image_size,
        execution=params.execution,
        cutting=cutting,
    )
    text = f"{len(assigned)} images of {params.pack.image_size} px, digest {digest[:12]} -> {args.out}"
    _cli.say(f"pack@{args.cohort}", text + _cut_in_words(assigned["image_id"].tolist(), cutting))
    return 0


def _cut_in_words(image_ids: list[str], cutting: crops.Cutting | None) -> str:
    if cutting is None:
        return ""
    num_cut = sum(image_id in cutting.boxes for image_id in image_ids)
    return f"; {num_cut} cut by {cutting.crop.kind}, {len(image_ids) - num_cut} whole, as they have no box"


if __name__ == "__main__":
    sys.exit(_cli.run(main))
