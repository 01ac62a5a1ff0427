"""Accept a refused version: move the alias `staging` to it, and record who did it and why.

Run as `python -m pipelines.accept --cohort ph2 --by "A. Name" --reason "…"` (by default the version that was
judged last). Only comparisons with other models that could not be shown may be accepted, for instance because
the test set is small; see `registry/acceptance.py`.
"""

import sys
from collections.abc import Sequence

from melanoma.stages import accept, needs
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Move the alias and report which version held it before."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True, help="cohort of the registered model")
    _cli.add_who_and_why(parser)
    parser.add_argument("--version", type=int, help="its number; by default the version judged last")
    args = parser.parse_args(argv)

    needs.require_store()
    _cli.say("accept", accept.run(args.cohort, args.version, by=args.by, reason=args.reason))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
