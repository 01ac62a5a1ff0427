"""Release a version: move the alias `production` to it, and record who did it and why.

Run as `python -m pipelines.release melanoma-ph2 --version 3 --by "A. Name" --reason "…"`. The version
must have passed the gates, or a person accepted it (`pipelines.accept`); its files must be unchanged since.
"""

import sys
from collections.abc import Sequence

from melanoma.stages import needs, release
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Move the alias and report which version held it before."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_who_and_why(parser)
    parser.add_argument("--version", type=int, required=True, help="its number")
    args = parser.parse_args(argv)

    needs.require_store()
    _cli.say("release", release.run(args.model, args.version, by=args.by, reason=args.reason))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
