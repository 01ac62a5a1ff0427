"""Register a version for one clinic: the same network, calibration and operating point from its labels.

Not a stage. Run as `python -m pipelines.recalibrate melanoma-isic --clinic north --records records --labels
labelled.csv`. Only labels of the audit count. Reads sections `recalibrate`, `evaluate` and `promote` of
params.yaml. Refused with exit code 1 if labels are too few, if cross-fitting does not show that it helps, or
if a gate fails on the clinic's images. Otherwise the alias `staging-<clinic>` moves to the new version.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import needs, recalibrate
from pipelines import _cli, _records_options


def main(argv: Sequence[str] | None = None) -> int:
    """Recalibrate a version for a clinic, and print a line."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    parser.add_argument("--clinic", required=True, help="name: lower-case letters, digits and hyphens")
    _records_options.add_records(parser)
    _records_options.add_labels(parser, required=True)
    _records_options.add_version(parser)
    parser.add_argument("--since", type=_cli.utc_time, help="first day or time (UTC) of the answers")
    parser.add_argument("--until", type=_cli.utc_time, help="day or time (UTC) before which they lie")
    parser.add_argument("--out", type=Path, default=Path("reports/recalibration"), help="folder to write")
    args = parser.parse_args(argv)

    needs.require_store()
    asked = recalibrate.Asked(
        model=args.model,
        clinic=args.clinic,
        number=args.version,
        place=args.records,
        labels=args.labels,
        since=args.since,
        until=args.until,
        out=args.out / args.model / f"{args.clinic}.json",
    )
    _cli.say("recalibrate", recalibrate.run(asked, config.load(args.params)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
