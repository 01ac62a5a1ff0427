"""Write what a reader should label next, from the records of served answers.

Not a stage. Draws the audit of all groups (patients or lesions) whose first day is over; needs the server's
`MELANOMA_RECORDS_KEY`. Lists all drawn images without a label, then others in turn: referral band, unlike the
reference, disagreement. Fill in the column `label` of the CSV, positive or negative, and give it as --labels.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.serving.records import RECORDS
from melanoma.stages import queue
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the queue, and print what is in it."""
    parser = _cli.parser(__doc__)
    parser.add_argument(
        "--records",
        default=os.environ.get(RECORDS),
        help=f"folder or s3://bucket/folder; default: {RECORDS} of the environment",
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--model", help="registered model, for instance melanoma-ph2, if there are several")
    parser.add_argument("--since", type=_cli.utc_time, help="first day or time of images beside the audit")
    parser.add_argument("--until", type=_cli.utc_time, help="day or time (UTC) before which they lie")
    parser.add_argument("--reference-until", type=_cli.utc_time, help="answers before it say what is usual")
    parser.add_argument("--labels", type=Path, nargs="+", default=[], help="CSV files with labels")
    parser.add_argument("--size", type=int, help="images beside the audit; default: queue.size")
    parser.add_argument("--images", type=Path, help="folder of the images, for a contact sheet beside --out")
    args = parser.parse_args(argv)
    if not args.records:
        parser.error(f"name the records: --records FOLDER, or {RECORDS} in the environment")

    settings = config.load(args.params).queue
    if args.size is not None:
        settings = settings.model_validate(settings.model_dump() | {"size": args.size})
    period = (args.since, args.until, args.reference_until)
    wanted = queue.Wanted(args.records, args.model, *period, args.labels)
    for line in queue.write(wanted, settings, args.out, args.images):
        _cli.say("queue", line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
