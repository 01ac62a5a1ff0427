"""Run the wide search of a cohort as an experiment of DVC, and all stages after it with its winner, on folds.

Run as `python -m pipelines._search --cohort NAME` by `make search`.
"""

import os
import sys
from collections.abc import Sequence

from melanoma import config
from pipelines import _cli

NUM_FOLDS = 4  # each network of the winner is trained without one; the mean of all is served


def main(argv: Sequence[str] | None = None) -> int:
    """Check the cohort, then become `dvc exp run`."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    args = parser.parse_args(argv)
    datasets = config.load(args.params).members(args.cohort)
    values = {
        "tune.wide": "true",
        "train.ensemble": "folds",
        "train.num_networks": NUM_FOLDS,
        "train.num_seeds": NUM_FOLDS,
        "run.datasets": f"[{','.join(datasets)}]",
        "run.cohorts": f"[{args.cohort}]",
        "study.cohorts": "[]",
    }
    settings = [word for name, value in values.items() for word in ("-S", f"{name}={value}")]
    sys.stdout.flush()
    os.execvp("dvc", ["dvc", "exp", "run", *settings])  # noqa: S606  takes the place of this process


if __name__ == "__main__":
    sys.exit(_cli.run(main))
