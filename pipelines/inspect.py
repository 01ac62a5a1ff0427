"""Stage `inspect`: measure what each image file of a dataset really is.

Run by `dvc repro inspect`. Reads params.yaml sections `inspect` and `execution`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import facts
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the facts of a dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="facts to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    measured = facts.inspect_images(
        files.read_parquet(args.records),
        root=Path(),
        working_size=params.inspect.working_size,
        num_workers=params.execution.num_workers,
        description=f"inspect@{args.dataset}",
    )
    files.write_parquet(measured, args.out)
    num_broken = int((~measured["decodes"]).sum())
    _cli.say(
        f"inspect@{args.dataset}",
        f"{len(measured)} files measured, {num_broken} cannot be decoded wholly",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
