"""Keep the records of served answers in order: compact, expire or erase them.

Not a stage. `compact` turns the files of the spool that no server has open into Parquet (and uploads them to
S3); run it every hour. `expire` removes records that are older than `records.keep_days` of params.yaml.
`erase` removes those of one patient or lesion, by the `group_id` that was posted; the environment needs
the same `MELANOMA_RECORDS_KEY` as the server.
"""

import sys
from collections.abc import Sequence

from melanoma import config
from melanoma.stages import records
from pipelines import _cli, _records_options


def main(argv: Sequence[str] | None = None) -> int:
    """Do one of the three, and print what was done."""
    parser = _cli.parser(__doc__)
    parser.add_argument("action", choices=("compact", "expire", "erase"))
    _records_options.add_records(parser)
    parser.add_argument("--group-id", help="erase: the patient or lesion, as posted")
    args = parser.parse_args(argv)
    if (args.action == "erase") != (args.group_id is not None):
        parser.error("--group-id is needed for erase, and only for it")

    match args.action:
        case "compact":
            done = records.compact(args.records)
            counts = (
                f"{done.num_rows} records of {done.num_files} files compacted, {done.num_in_use} files in use"
            )
            words = ", ".join([counts, *done.describe()])
        case "expire":
            days = config.load(args.params).records.keep_days
            num_rows = records.expire(args.records, keep_days=days)
            words = f"{num_rows} records older than {days} days removed"
        case _:
            words = f"{records.erase(args.records, args.group_id)} records of this group removed"
    _cli.say("records", f"{words}: {args.records}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
