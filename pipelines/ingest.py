"""Stage `ingest`: convert the metadata of one dataset to the common schema.

Run by `dvc repro ingest`. Reads params.yaml sections `ingest` and `target`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import targets
from melanoma.data.sources import readers
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the records of a dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True, choices=sorted(readers.READERS))
    parser.add_argument("--raw", type=Path, required=True, help="raw folder of the dataset")
    parser.add_argument("--out", type=Path, required=True, help="records to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    defaults = params.ingest[args.dataset]
    records = readers.read_records(
        args.dataset,
        args.raw,
        licence=defaults.licence,
        attribution=defaults.attribution,
        positive=params.target.positive,
        malignant_without_diagnosis=params.target.malignant_without_diagnosis,
    )
    files.write_parquet(records, args.out)
    _cli.say(f"ingest@{args.dataset}", f"{len(records)} images: {targets.describe(records)}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
