"""Print what a registered version was made from, and check that code, model and data are unchanged.

Run as `python -m pipelines.trace models:/melanoma-ph2@staging [--ids] [--out images.csv]`. Changes nothing.
The exit code is 1 if anything differs, is missing or cannot be checked.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import files
from melanoma.stages import needs, trace
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print images, data, code, parameters, trial and environment, then the checks."""
    parser = _cli.parser(__doc__)
    parser.add_argument("version", help="URI: models:/<name>@<alias> or models:/<name>/<number>")
    parser.add_argument("--ids", action="store_true", help="print the id of every image")
    parser.add_argument("--out", type=Path, help="write the images with their licences to this CSV file")
    args = parser.parse_args(argv)

    needs.require_store()
    found = trace.run(args.version, with_ids=args.ids)
    if args.out is not None:
        files.write_csv(found.images, args.out)
    _cli.say("trace", found.report)
    return 0 if found.is_ok else 1


if __name__ == "__main__":
    sys.exit(_cli.run(main))
