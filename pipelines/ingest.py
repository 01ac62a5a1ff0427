"""Stage `ingest`: convert the metadata of one dataset to the common schema.

Run by `dvc repro ingest`. Reads params.yaml section `ingest`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data.sources import readers
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the records of a dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True, choices=sorted(readers.READERS))
    parser.add_argument("--raw", type=Path, required=True, help="raw folder of the dataset")
    parser.add_argument("--out", type=Path, required=True, help="records to write")
    args = parser.parse_args(argv)

    defaults = config.load(args.params).ingest[args.dataset]
    records = readers.read_records(
        args.dataset, args.raw, licence=defaults.licence, attribution=defaults.attribution
    )
    files.write_parquet(records, args.out)
    target = records["target"]
    _cli.say(
        f"ingest@{args.dataset}",
        f"{len(records)} images: {int((target == 1).sum())} malignant, "
        f"{int((target == 0).sum())} benign, {int(target.isna().sum())} without a clear label",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
