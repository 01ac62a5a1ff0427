"""Write what a reader should label next, from the records of served answers.

Not a stage. Draws the audit of all groups (patients or lesions) whose first day is over; needs the server's
`MELANOMA_RECORDS_KEY`. Lists all drawn images without a label, then others in turn: referral band, unlike the
reference, disagreement. Fill in the column `label` of the CSV, positive or negative, and give it as --labels.
With --labelled-out it writes the images of --labels for `python -m pipelines.fetch clinic` instead.
"""

import argparse
import sys
from collections.abc import Sequence

from melanoma import config
from melanoma.stages import queue
from pipelines import _cli, _queue_options


def main(argv: Sequence[str] | None = None) -> int:
    """Write the queue or the labelled images, and print what is in it."""
    args = _queue_options.parse(__doc__, argv)
    source = (args.records, args.labels, args.images, args.labelled_out)
    for line in queue.write_source(*source) if args.labelled_out else _write_queue(args):
        _cli.say("queue", line)
    return 0


def _write_queue(args: argparse.Namespace) -> list[str]:
    settings = config.load(args.params).queue
    if args.size is not None:
        settings = settings.model_validate(settings.model_dump() | {"size": args.size})
    period = (args.since, args.until, args.reference_until)
    wanted = queue.Wanted(args.records, args.model, *period, args.labels, args.as_of)
    return queue.write(wanted, settings, args.out, args.images)


if __name__ == "__main__":
    sys.exit(_cli.run(main))
