"""Refuse in one line what a make target cannot do yet: run as `python -m pipelines._needs TARGET`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import needs
from pipelines import _cli, relocate

REPORTS = Path("reports")


def main(argv: Sequence[str] | None = None) -> int:
    """Check what the target needs; silent if it is there."""
    parser = _cli.parser(__doc__)
    targets = parser.add_subparsers(dest="target", required=True)
    targets.add_parser("page")
    serve = targets.add_parser("serve")
    serve.add_argument("--port", type=_cli.port, required=True)
    serve.add_argument("--cohort", required=True)
    args = parser.parse_args(argv)

    if args.target == "page":
        needs.require_results(REPORTS)
        return 0
    needs.require_store()
    relocate.main(["--check"])
    needs.require_staging(args.cohort, config.load(args.params).cohorts)
    needs.require_free_port(args.port, f"make serve COHORT={args.cohort} PORT=")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
