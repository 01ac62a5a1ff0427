"""Stage `paper`: the published figures, and whether they agree with each other.

Run by `dvc repro paper`. Reads params.yaml section `paper`; looks at no image.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.study import paper_figures
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the figures with the checks."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    args = parser.parse_args(argv)

    figures = paper_figures.load()
    checked = paper_figures.check(figures, tolerance=config.load(args.params).study.paper.tolerance)
    files.write_json({"published": figures} | checked, args.out)
    agreeing = sum(entry["agrees"] for entry in checked["checks"])
    _cli.say("paper", f"{agreeing} of {len(checked['checks'])} published figures agree with each other")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
