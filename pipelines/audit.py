"""Stage `audit`: check that the selected network uses the lesion and beats references that do not.

Run by `dvc repro audit`. Reads params.yaml section `audit`. Warnings do not stop the
pipeline; the gates of `promote` decide.
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
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument(
        "--facts", type=Path, required=True, help="folder of image facts, one table per dataset"
    )
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument(
        "--boxes", type=Path, required=True, help="boxes of the lesions; read only for cropped images"
    )
    parser.add_argument("--models", type=Path, required=True, help="JSON file of operating points")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions of all models")
    parser.add_argument(
        "--unlike", type=Path, required=True, help="folder of descriptions of the training images"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--references", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of figures to write")
    parser.add_argument("--plots", type=Path, required=True, help="folder of tables that DVC draws")
    args = parser.parse_args(argv)

    _cli.say(f"audit@{args.cohort}", audit.run(args, config.load(args.params)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
