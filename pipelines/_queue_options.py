"""The options of `queue`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from melanoma.serving.records import RECORDS
from pipelines import _cli


def parse(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed options; either `out` or `labelled_out` is given."""
    parser = _cli.parser(description)
    parser.add_argument(
        "--records",
        default=os.environ.get(RECORDS),
        help=f"folder or s3://bucket/folder; default: {RECORDS} of the environment",
    )
    written = parser.add_mutually_exclusive_group(required=True)
    written.add_argument("--out", type=Path, help="CSV file to write")
    written.add_argument("--labelled-out", type=Path, help="folder to write the images of --labels to")
    parser.add_argument("--model", help="registered model, for instance melanoma-ph2, if there are several")
    parser.add_argument(
        "--since", type=_cli.utc_time, help="first day or time (UTC) of images beside the audit"
    )
    parser.add_argument("--until", type=_cli.utc_time, help="day or time (UTC) before which they lie")
    parser.add_argument("--reference-until", type=_cli.utc_time, help="answers before it say what is usual")
    parser.add_argument("--labels", type=Path, nargs="+", default=[], help="CSV files with labels")
    parser.add_argument("--size", type=int, help="images beside the audit; default: queue.size")
    parser.add_argument("--images", type=Path, help="folder of the images; draws a contact sheet with --out")
    parser.add_argument("--as-of", type=_cli.utc_time, help="time of the draw, for a replay; default: now")
    args = parser.parse_args(argv)
    if not args.records:
        parser.error(f"name the records: --records FOLDER, or {RECORDS} in the environment")
    if args.labelled_out and not (args.labels and args.images):
        parser.error("--labelled-out needs --labels and --images")
    return args
