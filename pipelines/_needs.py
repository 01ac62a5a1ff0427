"""Refuse in one line what a make target cannot do yet: run as `python -m pipelines._needs TARGET`."""

import argparse
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
    targets.add_parser("ui").add_argument("--port", type=_port, required=True)
    serve = targets.add_parser("serve")
    serve.add_argument("--port", type=_port, required=True)
    serve.add_argument("--cohort", required=True)
    args = parser.parse_args(argv)

    if args.target == "page":
        needs.require_results(REPORTS)
        return 0
    needs.require_store()
    relocate.main(["--check"])
    if args.target == "serve":
        needs.require_staging(args.cohort, config.load(args.params).cohorts)
    variable = "UI_PORT" if args.target == "ui" else f"COHORT={args.cohort} PORT"
    needs.require_free_port(args.port, f"make {args.target} {variable}=")
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= needs.MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected a number from 1 to {needs.MAX_PORT}")
    return int(text)


if __name__ == "__main__":
    sys.exit(_cli.run(main))
