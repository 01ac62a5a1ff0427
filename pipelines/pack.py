"""Stage `pack`: decode the images of a cohort once, into one array.

Run by `dvc repro pack`. Reads params.yaml sections `pack`, `cohorts` and `execution`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import packed, tables
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the packed cohort."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    members = params.members(args.cohort)
    names = {"image_id": "string", "group_id": "string"}
    assigned = files.read_csv(args.split, dtype=names, keep_default_na=False)
    digest = packed.pack(
        assigned,
        tables.read_tables(args.accepted, members, [*tables.ACCEPTED_COLUMNS, "diagnosis"]),
        args.out,
        size=params.pack.image_size,
        execution=params.execution,
    )
    _cli.say(
        f"pack@{args.cohort}",
        f"{len(assigned)} images of {params.pack.image_size} px, digest {digest[:12]} -> {args.out}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
