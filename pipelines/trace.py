"""Print what a registered version was made from, and check that it still lies in DVC as it did.

Run as `python -m pipelines.trace models:/melanoma-ph2@staging [--ids] [--out images.csv]`. Changes nothing.
The exit code is 1 when something differs or is gone, and when that cannot be told.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from melanoma import files
from melanoma.registry import origin
from melanoma.stages import trace
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print images, data, code, parameters, trial and environment, then the checks."""
    parser = _cli.parser(__doc__)
    parser.add_argument("version", help="models:/<name>@<alias> or models:/<name>/<number>")
    parser.add_argument("--ids", action="store_true", help="print the id of every image")
    parser.add_argument("--out", type=Path, help="write the images with their licences to this CSV")
    args = parser.parse_args(argv)

    with tempfile.TemporaryDirectory(prefix="trace-") as folder:
        found = origin.trace(origin.find(args.version), Path(folder))
    console = Console(highlight=False, markup=False)
    for line in trace.describe(found, with_ids=args.ids):
        console.print(line, soft_wrap=True)
    if args.out is not None:
        files.write_csv(found.images, args.out)
    model, data = (trace.check_code(found), trace.check_model(found.version)), trace.check_data(found)
    doubts = [check for check in model if not check.is_ok]
    for check in (*doubts, *data):
        console.print(check.line(), soft_wrap=True)
    num_ok = sum(check.is_ok for check in data)
    counted = f"{num_ok} of {len(data)} checks"
    of_model = "".join(f"; {check.what}: {check.problem}" for check in doubts)
    _cli.say("trace", f"{counted} of data ok{of_model}" if doubts else f"{counted} ok")
    return 0 if not doubts and data and num_ok == len(data) else 1


if __name__ == "__main__":
    sys.exit(_cli.run(main))
