"""Stage `pack`: decode the images of a cohort once into one array.

Run by `dvc repro pack`. Reads params.yaml sections `pack`, `cohorts` and `execution`, and
`segment.min_lesion_fraction`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import pack
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the packed cohort."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument(
        "--boxes", type=Path, required=True, help="boxes of the lesions; not read if pack.crop is none"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the packed cohort to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    summary_line = pack.run(
        args.cohort, params, split=args.split, accepted=args.accepted, boxes=args.boxes, out=args.out
    )
    _cli.say(f"pack@{args.cohort}", summary_line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
