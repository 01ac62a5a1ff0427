"""Stage `promote`: register the selected model and give it the alias `staging` if it passes all gates.

Run by `dvc repro promote`. Reads params.yaml section `promote`. If a gate
fails, the reasons are written, no alias is moved, and the exit code is 0.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import promote
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the verdict."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="JSON file of model URIs")
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--slices", type=Path, required=True)
    parser.add_argument("--audit", type=Path, required=True)
    parser.add_argument(
        "--references", type=Path, required=True, help="CSV file of the audit's reference scores"
    )
    parser.add_argument("--assigned", type=Path, required=True, help="table of assigned images")
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument("--split", type=Path, required=True, help="JSON report of the cohort's splits")
    parser.add_argument("--seeds", type=Path, required=True, help="comparison of the models over seeds")
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the verdict to write")
    parser.add_argument("--card", type=Path, required=True, help="model card to write")
    parser.add_argument("--headline", type=Path, required=True, help="JSON summary of the cohort to write")
    args = parser.parse_args(argv)

    _cli.say(f"promote@{args.cohort}", promote.run(args, config.load(args.params)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
