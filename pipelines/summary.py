"""Print the results of the active cohorts and where to look next.

Run by `make demo` after `dvc repro`, or alone. Changes nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import needs, summary
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print the files of the last run."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    args = parser.parse_args(argv)

    needs.require_results(args.reports)
    summary.print_summary(config.load(args.params).run.cohorts, args.reports)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
