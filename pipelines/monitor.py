"""Compare the answers of a served model in a window of time with its reference; exit code 2 on alarm.

Not a stage. Run as `python -m pipelines.monitor melanoma-isic --records records --since 2026-05-01 --until
2026-06-01`. Times are in UTC. Reads section `monitor` of params.yaml. Writes a page, JSON and Data Docs to
`--out`, a run in the experiment `melanoma-monitoring`, and an entry of the ledger.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import monitor, needs
from melanoma.stages.monitor import Asked, Period
from pipelines import _cli, _records_options

ALARM = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a window, write the report and print a line."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _records_options.add_records(parser)
    _records_options.add_version(parser)
    parser.add_argument("--since", type=_cli.utc_time, required=True, help="begin of the window, UTC")
    parser.add_argument("--until", type=_cli.utc_time, required=True, help="end of the window, UTC")
    parser.add_argument("--accepted-since", type=_cli.utc_time, help="begin of an accepted period")
    parser.add_argument("--accepted-until", type=_cli.utc_time, help="its end: it replaces the reference")
    _records_options.add_labels(parser)
    parser.add_argument("--out", type=Path, default=Path("reports/monitoring"), help="folder to write")
    args = parser.parse_args(argv)
    if (args.accepted_since is None) != (args.accepted_until is None):
        parser.error("--accepted-since and --accepted-until belong together")

    needs.require_store()
    accepted = args.accepted_since and Period(args.accepted_since, args.accepted_until)
    window = Period(args.since, args.until)
    asked = Asked(
        args.model, args.version, args.records, window, accepted, args.labels, args.out / args.model
    )
    line, is_alarm = monitor.run(asked, config.load(args.params))
    _cli.say("monitor", line)
    return ALARM if is_alarm else 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
