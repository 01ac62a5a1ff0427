"""Score a folder of images with a registered model, using the code of the server.

Not a stage. Every file gets a row; for an unusable file, the column `problem` has the reason.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.registry import versions
from melanoma.stages import needs, predict
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write a CSV with a row for each file."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument(
        "--model", help="URI of the model; default: the staging model of the first active cohort"
    )
    args = parser.parse_args(argv)

    if args.model is None:
        needs.require_store()
    cohort = config.load(args.params).run.cohorts[0]
    table = predict.score_folder(args.images, args.model or f"models:/{versions.model_name(cohort)}@staging")
    files.write_csv(table, args.out)
    num_bad = int(table["problem"].notna().sum())
    _cli.say("predict", f"{len(table) - num_bad} images scored, {num_bad} files refused: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
