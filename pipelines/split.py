"""Stage `split`: group images that belong together and give each group one of train, validation, test.

Run by `dvc repro split`. Reads params.yaml sections `split`, `cohorts` and `run`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import cohorts
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the splits of a cohort and their report."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--facts", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--out", type=Path, required=True, help="splits to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    members, names = params.members(args.cohort), params.run.datasets
    assigned, report = cohorts.split_cohort(
        args.cohort,
        records=cohorts.read_tables(args.accepted, names),
        facts=cohorts.read_tables(args.facts, names),
        datasets=members,
        settings=params.split,
    )
    files.write_csv(assigned, args.out)
    files.write_json(report, args.report)
    sizes = ", ".join(
        f"{split} {count['num_images']} ({count['num_malignant']} malignant)"
        for split, count in report["splits"].items()
    )
    _cli.say(f"split@{args.cohort}", f"{sizes}; {len(report['groups_of_several'])} groups of several")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
