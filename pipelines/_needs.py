"""Check that there are results to draw; run by `make page` and `make plots`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma.stages import needs
from pipelines import _cli

REPORTS = Path("reports")


def main(argv: Sequence[str] | None = None) -> int:
    """Print nothing if there are results."""
    _cli.parser(__doc__).parse_args(argv)
    needs.require_results(REPORTS)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
