"""Release a version: let the alias `production` point to it, and enter who did it and why.

Run as `python -m pipelines.release melanoma-ph2 --version 3 --by "A. Name" --reason "…"`. A person decides;
the version must have passed the gates, and its files must be those that passed.
"""

import sys
from collections.abc import Sequence

from melanoma.registry import ledger, moves, versions
from melanoma.stages import alias_moves
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Move the alias; say what it held before."""
    parser = _cli.parser(__doc__)
    alias_moves.add_who_and_why(parser)
    parser.add_argument("--version", type=int, required=True, help="its number")
    args = parser.parse_args(argv)

    with moves.exclusive(args.model):
        version = versions.get_version(args.model, args.version)
        evidence = alias_moves.require_releasable(version)
        previous = moves.move_alias(
            args.model,
            versions.PRODUCTION,
            args.version,
            kind=ledger.RELEASE,
            by=args.by,
            reason=args.reason,
            evidence=evidence,
        )
    if previous == args.version:
        _cli.say("release", f"{args.model} version {args.version} holds the alias production already")
    else:
        before = "nothing" if previous is None else f"version {previous}"
        _cli.say("release", f"{args.model}: production is version {args.version} now, {before} before")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
