"""Stage `duplicates`: find copies among the images of all active datasets.

Run by `dvc repro duplicates`. Reads params.yaml sections `duplicates` and `run`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import tables
from melanoma.data.groups import duplicates
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pairs of copies and their report."""
    parser = _cli.parser(__doc__)
    parser.add_argument(
        "--facts", type=Path, required=True, help="folder of image facts, one table per dataset"
    )
    parser.add_argument("--out", type=Path, required=True, help="table of pairs to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    facts = tables.read_tables(args.facts, params.run.datasets, duplicates.FACT_COLUMNS)
    pairs = duplicates.find_duplicates(facts, **params.duplicates.model_dump())
    report = duplicates.summarize(pairs, facts)
    files.write_csv(pairs, args.out)
    files.write_json(report, args.report)
    counts = ", ".join(f"{number} {reason}" for reason, number in report["num_pairs_by_reason"].items())
    _cli.say(
        "duplicates",
        f"{report['num_pairs']} pairs of copies among {report['num_images']} readable images ({counts}) -> "
        f"{args.report}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
