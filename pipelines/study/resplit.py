"""Stage `resplit`: test whether the test set overestimates performance, with simple methods on other splits.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:resplit`. Reads sections `study.resplit`,
`baseline`, `backbone`, `assign`, `audit`, `execution`, `model`, `augment` and `train` of params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.study import resplit_results
from melanoma.study.stages import resplit
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results, a table and a figure."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True, help="folder of the packed cohort")
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of table and figure to write")
    args = parser.parse_args(argv)

    results = resplit.run(
        args.cohort,
        config.load(args.params),
        args.packed,
        tuning=args.tuning,
        results_path=args.out,
        figures=args.figures,
    )
    _cli.say(f"resplit@{args.cohort}", resplit_results.finding(results))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
