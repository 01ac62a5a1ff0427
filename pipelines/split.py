"""Stage `split`: select the assigned images of a cohort and check its splits.

Run by `dvc repro split`. Reads params.yaml sections `split`, `assign` and `cohorts`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the splits of a cohort, their report and its Data Docs."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument("--assigned", type=Path, required=True, help="table of assigned images")
    parser.add_argument("--relations", type=Path, required=True, help="table of related images")
    parser.add_argument("--out", type=Path, required=True, help="splits to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--docs", type=Path, required=True, help="Data Docs folder to write")
    args = parser.parse_args(argv)
    from melanoma.stages import split  # Great Expectations takes seconds to import

    _cli.say(f"split@{args.cohort}", split.split(args, config.load(args.params)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
