"""Stage `inspect`: measure each image file of a dataset: format, completeness, quality, hashes.

Run by `dvc repro inspect`. Reads params.yaml sections `inspect` and `execution`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the facts of a dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="table of facts to write")
    args = parser.parse_args(argv)
    # Not at the top: each worker process imports this file, and needs no tables.
    from melanoma import files
    from melanoma.data.checks import facts

    params = config.load(args.params)
    num_images = files.num_parquet_rows(args.records)
    measured = facts.inspect_groups(
        files.read_parquet_groups(args.records, facts.NEEDED_COLUMNS, size=facts.ROWS_AT_HAND),
        root=Path(),
        settings=params.inspect,
        num_images=num_images,
        execution=params.execution,
        description=f"inspect@{args.dataset}",
    )
    files.write_parquet_groups(measured, args.out, facts.arrow_schema())
    num_broken = sum(
        int((~group["decodes"]).sum())
        for group in files.read_parquet_groups(args.out, ["decodes"], size=facts.ROWS_AT_HAND)
    )
    _cli.say(
        f"inspect@{args.dataset}",
        f"{num_images} images measured, {num_broken} of them damaged",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
