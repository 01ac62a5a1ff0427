"""Stage `audit`: does the selected network look at the lesion, and does it beat references without its form?

Run by `dvc repro audit`. Reads params.yaml section `audit`. Warnings stop nothing; a gate of `promote` does.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, schema
from melanoma.stages import audit
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the findings, the scores of the references and figures; add them to the model's run."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder with one table per dataset")
    parser.add_argument("--facts", type=Path, required=True, help="folder with one table per dataset")
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument("--boxes", type=Path, required=True, help="table, read where images were cut")
    parser.add_argument("--models", type=Path, required=True, help="JSON of operating points")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--references", type=Path, required=True, help="CSV to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    _cli.say(f"audit@{args.cohort}", audit.run(args, config.load(args.params)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
