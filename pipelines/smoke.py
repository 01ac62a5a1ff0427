"""Post accepted images to a served model and compare with the predictions of the last evaluation.

Not a stage: run it after a deployment. The exit code is 1 if any answer differs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import smoke
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line; exit code 1 when an answer differs or a bad request is not refused."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--url", required=True, help="server address, for instance http://127.0.0.1:5001")
    parser.add_argument("--cohort", help="cohort; default: the first active one")
    parser.add_argument(
        "--num-images", type=int, help="number of images, spread over the cohort; default: all"
    )
    parser.add_argument("--accepted", type=Path, default=Path("data/accepted"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    args = parser.parse_args(argv)

    report = smoke.run(
        args.url,
        config.load(args.params),
        cohort=args.cohort,
        num_images=args.num_images,
        accepted=args.accepted,
        reports=args.reports,
    )
    _cli.say("smoke", report)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
