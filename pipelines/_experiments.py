"""Print the experiments of DVC with their scores and main parameters; run by `make experiments`."""

import sys
from collections.abc import Sequence

from melanoma.stages import experiment_table
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    _cli.parser(__doc__).parse_args(argv)
    experiment_table.print_experiments()
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
