"""Stage `split`: take a cohort's part of the assignment, and check it.

Run by `dvc repro split`. Reads params.yaml sections `split`, `assign` and `cohorts`.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from melanoma import config, files, schema
from melanoma.data import tables
from melanoma.data.groups import cohorts, splits
from melanoma.errors import DataError
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the splits of a cohort, their report and its Data Docs."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--assigned", type=Path, required=True, help="sides of all images")
    parser.add_argument("--relations", type=Path, required=True, help="pairs with reasons")
    parser.add_argument("--out", type=Path, required=True, help="splits to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--docs", type=Path, required=True, help="Data Docs folder to write")
    args = parser.parse_args(argv)
    from melanoma.data.checks import validation

    params = config.load(args.params)
    members = params.members(args.cohort)
    rows, report = cohorts.split_cohort(
        args.cohort,
        accepted=tables.read_tables(args.accepted, members, tables.ACCEPTED_COLUMNS),
        assigned=splits.read_assigned(args.assigned),
        relations=tables.read_pairs(args.relations),
        datasets=members,
    )
    with tempfile.TemporaryDirectory(prefix="split-") as folder:
        result = validation.validate_splits(
            rows,
            settings=params.split,
            fractions=splits.fractions_of(params.assign),
            cohort=args.cohort,
            is_synthetic=report["is_synthetic"],
            folder=folder,
        )
        files.copy_folder(result.docs, args.docs)
    files.write_json(report | {"checks": result.report, "failures": result.failures}, args.report)
    _require_passed(args.cohort, result.failures, args.report)
    files.write_csv(rows[list(schema.SPLIT_COLUMNS)], args.out)
    _cli.say(f"split@{args.cohort}", _headline(report))
    return 0


def _require_passed(cohort: str, failures: list[str], report: Path) -> None:
    if failures:
        raise DataError(
            f"The splits of cohort {cohort!r} fail {len(failures)} checks:\n  "
            + "\n  ".join(failures)
            + f"\nSee {report}. Add images, or widen the bounds in params.yaml: split."
        )


def _headline(report: dict[str, Any]) -> str:
    sizes = ", ".join(
        f"{split} {count['num_images']} ({count['num_malignant']} malignant)"
        for split, count in report["splits"].items()
    )
    return (
        f"{sizes}; {len(report['groups_of_several'])} groups of several, {len(report['withheld'])} withheld"
    )


if __name__ == "__main__":
    sys.exit(_cli.run(main))
