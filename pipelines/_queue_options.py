"""The options of `queue`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines import _cli, _records_options


def parse(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed options; either `out` or `labelled_out` is given."""
    parser = _cli.parser(description)
    _records_options.add_records(parser)
    written = parser.add_mutually_exclusive_group(required=True)
    written.add_argument("--out", type=Path, help="CSV file to write")
    written.add_argument("--labelled-out", type=Path, help="folder to write the images of --labels to")
    parser.add_argument("--model", help="registered model, for instance melanoma-ph2, if there are several")
    parser.add_argument(
        "--since", type=_cli.utc_time, help="first day or time (UTC) of images beside the audit"
    )
    parser.add_argument("--until", type=_cli.utc_time, help="day or time (UTC) before which they lie")
    parser.add_argument("--reference-until", type=_cli.utc_time, help="answers before it say what is usual")
    _records_options.add_labels(parser)
    parser.add_argument("--size", type=int, help="images beside the audit; default: queue.size")
    parser.add_argument("--images", type=Path, help="folder of the images; draws a contact sheet with --out")
    parser.add_argument("--as-of", type=_cli.utc_time, help="time of the draw, for a replay; default: now")
    args = parser.parse_args(argv)
    if args.labelled_out and not (args.labels and args.images):
        parser.error("--labelled-out needs --labels and --images")
    return args
