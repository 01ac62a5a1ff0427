"""Stage `validate`: check the records and facts of a dataset.

Images that fail a check are quarantined; a critical failure stops the pipeline. Run by `dvc repro validate`.
Reads params.yaml section `validate`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import validate
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write report, Data Docs, contact sheet, accepted and quarantined rows."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="table of accepted images to write")
    parser.add_argument("--quarantine", type=Path, required=True, help="table of quarantined images to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--docs", type=Path, required=True, help="Data Docs folder to write")
    parser.add_argument("--sheet", type=Path, required=True, help="contact sheet to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    validate.validate(args, params.checks, positive=params.target.positive)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
