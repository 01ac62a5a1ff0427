"""Score a folder of images with a registered model, through the code that is served.

Not a stage. Every file gets a row; one that is no usable image gets its reason in column `problem`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from melanoma import config, files, tracking
from melanoma.serving import folder
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write a CSV with a row for each file."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--model", help="its URI; default: what is staged for the first active cohort")
    args = parser.parse_args(argv)

    names = folder.list_files(args.images)
    tracking.client()
    cohort = config.load(args.params).run.cohorts[0]
    model = folder.load_model(args.model or f"models:/melanoma-{cohort}@staging")
    rows = []
    with tqdm(total=len(names), desc="predict", unit="image", disable=None) as bar:
        for batch in folder.score_files(model, args.images, names):
            rows += batch
            bar.update(len(batch))
    table = pd.DataFrame(rows, columns=list(folder.COLUMNS))
    files.write_csv(table, args.out)
    num_bad = int(table["problem"].notna().sum())
    _cli.say("predict", f"{len(table) - num_bad} images scored, {num_bad} files refused: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
