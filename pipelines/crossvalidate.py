"""Cross-validate the whole recipe over all images of a packed cohort, by group; an interrupted run resumes.

Not a stage: run it after `dvc repro pack`. Reads params.yaml sections `crossvalidate`, `train`, `baseline`,
`model`, `augment` and `evaluate`. Writes `reports/<cohort>/crossvalidation.json` and its folds as CSV. Its
networks are never registered, and each fold counts as a look at its test images.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.schema import MODEL_NAMES
from melanoma.stages import crossvalidate
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results of each fold and their means, and print these."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument(
        "--model", choices=MODEL_NAMES, default="baseline", help="tuned: the best of the search"
    )
    args = parser.parse_args(argv)

    reports = Path("reports") / args.cohort
    summary_line = crossvalidate.run(
        args.cohort,
        config.load(args.params),
        model=args.model,
        paths=crossvalidate.Paths(
            packed=Path("data/packed") / args.cohort,
            tuning=reports / "tuning.json",
            metrics=reports / "metrics.json",
            out=reports / "crossvalidation.json",
        ),
    )
    _cli.say(f"{crossvalidate.NAME}@{args.cohort}", f"{summary_line}; `make page` shows it")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
