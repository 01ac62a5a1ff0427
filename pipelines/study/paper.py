"""Stage `paper`: check the published figures against each other.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:paper`. Reads section `study.paper` of
params.yaml, and no image.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.study.stages import paper
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the published figures with their checks."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    agreeing, total = paper.run(args.out, tolerance=config.load(args.params).study.paper.tolerance)
    _cli.say("paper", f"{agreeing} of {total} published figures agree with each other")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
