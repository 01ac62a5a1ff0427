"""Move an alias back to its previous version, and record who did it and why.

Run as `python -m pipelines.rollback melanoma-ph2 --by "A. Name" --reason "…"` (of `production`, unless
`--alias staging` or `--alias staging-<clinic>`). A second rollback goes further back, unless it was started
before the first had ended.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from melanoma.registry.versions import PRODUCTION
from melanoma.stages import needs, rollback
from pipelines import STARTED_AT, _cli


def main(argv: Sequence[str] | None = None, *, started_at: datetime | None = None) -> int:
    """Move the alias back, unless somebody moved it after `started_at` (by default, now)."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_who_and_why(parser)
    _cli.add_alias(parser, default=PRODUCTION)
    parser.add_argument(
        "--from",
        dest="expected",
        type=int,
        metavar="VERSION",
        help="fail unless this version has the alias now",
    )
    args = parser.parse_args(argv)

    needs.require_store()
    report = rollback.run(
        args.model,
        args.alias,
        by=args.by,
        reason=args.reason,
        expected=args.expected,
        started_at=started_at or datetime.now(UTC),
    )
    _cli.say("rollback", report)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(partial(main, started_at=STARTED_AT)))
