"""Compare local raw data with the published manifests: which files are changed, missing or extra.

Run by `make data-check`. The exit code is 0 only if all datasets of the published results are here and
identical.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma.errors import DataError
from melanoma.stages import data_check
from pipelines import _cli

HINT = "missing. Import it first, see `python -m pipelines.fetch {} --help`"


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="folder of the datasets")
    parser.add_argument(
        "--manifests", type=Path, default=Path("reports/published/raw"), help="folder of the manifests"
    )
    parser.add_argument("--dataset", help="check this dataset only")
    args = parser.parse_args(argv)

    found = {path.stem: path for path in sorted(args.manifests.glob("*.csv"))}
    if not found or args.dataset not in {None, *found}:
        raise DataError(
            f"{args.manifests} has no manifest of {args.dataset or 'any dataset'}; found {sorted(found)}."
        )
    is_equal = True
    for name in [args.dataset] if args.dataset else found:
        difference = data_check.compare(args.raw / name, found[name])
        is_equal &= difference.is_equal
        is_here = (args.raw / name).is_dir()
        _cli.say("data_check", f"{name}: {difference if is_here else HINT.format(name)}")
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(_cli.run(main))
