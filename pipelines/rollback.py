"""Put the version back that held an alias before, and enter who did it and why.

Run as `python -m pipelines.rollback melanoma-ph2 --by "A. Name" --reason "…"` (of `production`, unless
`--alias staging`). A second rollback goes further back.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from melanoma.errors import TrackingError
from melanoma.registry import ledger, moves, versions
from pipelines import _cli, _registry


def main(argv: Sequence[str] | None = None) -> int:
    """Move the alias back."""
    parser = _cli.parser(__doc__)
    _registry.add_who_and_why(parser)
    parser.add_argument(
        "--alias", choices=(versions.PRODUCTION, versions.STAGING), default=versions.PRODUCTION
    )
    args = parser.parse_args(argv)

    with moves.turn(args.model):
        current, target = _current_and_target(args.model, args.alias)
        with tempfile.TemporaryDirectory(prefix="rollback-") as folder:
            versions.require_untouched(versions.get_version(args.model, target), Path(folder))
        moves.move_alias(
            args.model,
            args.alias,
            target,
            kind=ledger.ROLLBACK,
            by=args.by,
            reason=args.reason,
            evidence={"rolled_back_from": current},
        )
    _cli.say("rollback", f"{args.model}: {args.alias} is version {target} again, version {current} before")
    return 0


def _current_and_target(name: str, alias: str) -> tuple[int, int]:
    holder, way = moves.holder_of(name, alias), moves.way_back(name, alias)
    if holder is None:
        raise TrackingError(f"No version of {name} holds the alias {alias}: there is nothing to roll back.")
    if not way or way[-1] != holder:
        known = f"version {way[-1]}" if way else "none"
        raise TrackingError(
            f"The alias {alias} of {name} holds version {holder}, but the ledger says {known}: it was moved "
            "by other means. Nothing was moved. Release the version you want: `python -m pipelines.release`."
        )
    if len(way) < 2:
        raise TrackingError(
            f"Before version {holder} nothing held the alias {alias} of {name}: there is no way back."
        )
    return holder, way[-2]


if __name__ == "__main__":
    sys.exit(_cli.run(main))
