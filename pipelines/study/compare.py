"""Stage `compare`: compare the published tables with ours under both protocols, in tables, figures and text.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:compare`; uses all cohorts with results of the
stage `protocols`. Reads section `study.compare` of params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.study.stages import compare
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write tables (CSV), figures (PNG), their captions and `page.md` to one folder."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the result files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the comparison to write")
    args = parser.parse_args(argv)

    dots_per_inch = config.load(args.params).study.compare.dots_per_inch
    cohorts, number = compare.run(args.results, args.out, dots_per_inch=dots_per_inch)
    compared = ", ".join(cohorts) or "no cohort yet, only the published figures"
    _cli.say("compare", f"{compared}: {number} tables and figures -> {args.out}/page.md")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
