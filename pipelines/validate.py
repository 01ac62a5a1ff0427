"""Stage `validate`: check records and facts of one dataset; quarantine bad rows, stop on bad tables.

Run by `dvc repro validate`. Reads params.yaml section `validate`.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.data import validation
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write report, Data Docs, accepted and quarantined rows."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="rows that passed, to write")
    parser.add_argument("--quarantine", type=Path, required=True, help="rows that left, to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--docs", type=Path, required=True, help="Data Docs folder to write")
    args = parser.parse_args(argv)

    limits = config.load(args.params).checks
    records, facts = files.read_parquet(args.records), files.read_parquet(args.facts)
    with tempfile.TemporaryDirectory(prefix="validate-") as folder:
        result = validation.validate(records, facts, limits, dataset=args.dataset, folder=folder)
        files.copy_folder(result.docs, args.docs)
    files.write_json(result.report, args.report)
    files.write_csv(result.quarantined, args.quarantine)
    _cli.say(f"validate@{args.dataset}", f"{validation.headline(result)} -> {args.report}")
    validation.require_passed(result, args.report)
    files.write_parquet(result.accepted, args.accepted)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
