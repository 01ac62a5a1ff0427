"""Refuse in one line what `make page` cannot draw yet: run as `python -m pipelines._needs`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma.stages import needs
from pipelines import _cli

REPORTS = Path("reports")


def main(argv: Sequence[str] | None = None) -> int:
    """Check that there are results; silent if there are."""
    _cli.parser(__doc__).parse_args(argv)
    needs.require_results(REPORTS)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
