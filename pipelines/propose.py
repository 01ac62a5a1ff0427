"""Say whether new labels or an alarm justify a new training, and what would run; nothing is run.

Not a stage. Run as `python -m pipelines.propose melanoma-isic --records records --labels labelled.csv`. Reads
section `propose` of params.yaml. Writes the proposal to a run in the experiment `melanoma-monitoring` and to
the ledger. A person runs the commands.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import needs, propose
from melanoma.stages.propose import Asked
from pipelines import _cli, _records_options


def main(argv: Sequence[str] | None = None) -> int:
    """Write a proposal, and print it with its commands."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _records_options.add_records(parser)
    _records_options.add_version(parser)
    _records_options.add_labels(parser)
    parser.add_argument("--images", type=Path, default=Path("images"), help="folder of the labelled images")
    parser.add_argument("--clinic", default="clinic", help="name of the clinic, for a new calibration")
    args = parser.parse_args(argv)

    needs.require_store()
    asked = Asked(args.model, args.version, args.records, args.labels, args.images, args.clinic)
    line, *commands = propose.run(asked, config.load(args.params))
    _cli.say("propose", line)
    for command in commands:
        print(command)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
