"""Print all moves of a model's aliases (who, when, why), and what was served on a day.

Run as `python -m pipelines.history melanoma-ph2 [--alias production] [--on 2026-05-17]`. Changes nothing.
Days are in UTC.
"""

import sys
from collections.abc import Sequence
from datetime import date

from melanoma.stages import history, needs
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print the ledger of a model."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_alias(parser)
    parser.add_argument(
        "--on",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="show the versions that were served on that day",
    )
    args = parser.parse_args(argv)

    needs.require_store()
    history.print_history(args.model, alias=args.alias, day=args.on)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
