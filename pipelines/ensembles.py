"""Compare an ensemble over seeds with one over folds, by training groups that no network learned from.

Not a stage: run it after `dvc repro pack` (for the tuned model: `tune`). Reads params.yaml sections `train`
(`num_networks`), `crossvalidate` (outer folds), `baseline`, `model`, `augment` and `evaluate`. Writes
`reports/<cohort>/ensembles.json`. An interrupted run resumes. No validation or test image is read, and its
networks are never registered.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.schema import MODEL_NAMES
from melanoma.stages import ensembles
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results of both ensembles and their difference, and print them."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--model", choices=MODEL_NAMES, default="tuned", help="tuned: the best of the search")
    parser.add_argument("--outer", type=int, default=1, help="outer folds that are held out in turn")
    args = parser.parse_args(argv)

    reports = Path("reports") / args.cohort
    summary_line = ensembles.run(
        args.cohort,
        config.load(args.params),
        model=args.model,
        num_outer=args.outer,
        paths=ensembles.Paths(
            packed=Path("data/packed") / args.cohort,
            tuning=reports / "tuning.json",
            out=reports / "ensembles.json",
        ),
    )
    _cli.say(f"{ensembles.NAME}@{args.cohort}", summary_line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
