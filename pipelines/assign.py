"""Stage `assign`: assign each group of related images to train, validation or test, for all cohorts.

Run by `dvc repro assign`. Reads params.yaml sections `assign` and `run`, and its own earlier output: an image
keeps its split, however many images are added.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import assign
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the splits of all images, and what relates them."""
    parser = _cli.parser(__doc__)
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument("--duplicates", type=Path, required=True, help="table of copies")
    parser.add_argument("--relations", type=Path, required=True, help="table of related images to write")
    parser.add_argument("--out", type=Path, required=True, help="table of assigned images to update")
    args = parser.parse_args(argv)

    line = assign.assign(
        args.accepted,
        args.duplicates,
        relations=args.relations,
        out=args.out,
        params=config.load(args.params),
    )
    _cli.say("assign", line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
